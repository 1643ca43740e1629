"""Cameras to a fraction of a pixel: each frame is laid over the first one, through its depth.

Pointmaps tell depth well and motion roughly, and motion is what pixels tell well once depth is
known. A point of the first frame has to show the same colour wherever a camera sees it; the
cameras are moved until it does. From coarse pictures to fine ones, and frame by frame in order of
time, so that the camera of one frame is a start for the next.

Shapes: T frames, P pixels of the first frame, N cameras that are tried for one frame.

Source: own derivation; direct image alignment after Lucas and Kanade 1981 and DSO (Engel et al.
2016, arXiv 1607.02565), without its photometric calibration and windows.
"""

from dataclasses import dataclass, replace
from typing import Any

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from jog3r.alignment.pairs import Alignment
from jog3r.errors import InputError
from jog3r.geometry import invert, project, rigid, unproject
from jog3r.geometry.checks import check_finite
from jog3r.geometry.precision import full_precision

SIGMAS = (4.0, 2.0, 1.0, 0.5)
"""Blur of the pictures [px], coarse to fine."""
STEPS = 6
"""Second-order steps at each."""
COLOUR_NOISE = 0.02
"""Error of a colour in [0, 1] beyond which it counts as an outlier (Cauchy)."""
HIDDEN = 2.0
"""Cost of a point that leaves the picture, as if its colour were off by 0.05."""
FAR = 6.0
"""Points farther than this many median depths are left out: sky, and what nothing is known of."""
NEAREST = 1e-3
"""Smallest depth, in median depths, at which a point is seen."""
USABLE = 0.99
"""Share of a mask around a point's place from which on the pixel counts."""
BORDER = 1.0
"""Width of the picture's margin that is not used [px]."""


@dataclass(frozen=True)
class _Level:
    """All frames at one blur.

    `pictures` (T, 9, h, w): colours, their derivatives along x, and along y; `usable` (T, 1, h, w):
    1 where a pixel counts, or None for all. Of the first frame's pixels in use: `points` (P, 3),
    `colours` (P, 3), `weight` (P).
    """

    pictures: Tensor
    usable: Tensor | None
    points: Tensor
    colours: Tensor
    weight: Tensor


@full_precision
def refine_photometrically(
    alignment: Alignment,
    video: Float[Tensor, "t 3 h w"],
    *,
    masks: Bool[Tensor, "t h w"] | None = None,
    known: Bool[Tensor, " t"] | None = None,
) -> Alignment:
    """Move the cameras until the frames show the first one's points in the same colours.

    Depth, confidence and K stay as they are, each depth in its own camera. No camera ends with
    larger differences of colour than it began with; the first one stays where it is. Where the
    first frame has no depth at all, nothing is moved.

    Args:
        alignment: to begin with.
        video: its frames in [-1, 1], of the size of its depth.
        masks: True = use; pixels outside show nothing that stands still.
        known: which cameras stay where they are.

    Raises:
        InputError: a video of another length or size, or with NaN, or masks or known cameras that
            are not one per frame.
    """
    frames, height, width = alignment.depth.shape
    _check_shape("video", video, (frames, 3, height, width))
    check_finite("video", video)
    if masks is not None:
        _check_shape("masks", masks, (frames, height, width))
    if known is not None:
        _check_shape("known", known, (frames,))
    seen = alignment.depth[0] > 0
    seen = seen if masks is None else seen & masks[0]
    if not bool(seen.any()):
        return alignment  # nothing of the first frame can be laid over another
    unit = alignment.depth[0][seen].median()  # distances near 1, whatever the scale
    depth = torch.where(seen, alignment.depth[0] / unit, 0.0)
    levels = [_level(video.float() / 2.0, masks, depth, alignment.K[0], sigma) for sigma in SIGMAS]
    first = alignment.world_from_camera[:1]
    start = _at_scale(invert(invert(first) @ alignment.world_from_camera), 1.0 / unit)
    path = [start[0]]
    for frame in range(1, len(start)):
        if known is not None and bool(known[frame]):
            path.append(start[frame])
            continue
        tries = [start[frame], path[-1]]
        if frame > 1:  # go on as before
            tries.append(path[-1] @ invert(path[-2]) @ path[-1])
        best = _best(levels, frame, alignment.K[frame], torch.stack(tries))
        # Products of many rotations drift away from being one. Any: roma gives pairs on request.
        rotation: Any = roma.special_procrustes(best[:3, :3])
        path.append(rigid(rotation, best[:3, 3]))
    return replace(alignment, world_from_camera=first @ _at_scale(invert(torch.stack(path)), unit))


def _check_shape(name: str, value: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(value.shape) != expected:
        raise InputError(f"{name}: expected {expected}, got {tuple(value.shape)}")


def _at_scale(transform: Tensor, scale: Tensor) -> Tensor:
    return rigid(transform[..., :3, :3], scale * transform[..., :3, 3])


def _level(frames: Tensor, masks: Tensor | None, depth: Tensor, K: Tensor, sigma: float) -> _Level:
    blurred = _blurred(frames, sigma)
    by_y, by_x = torch.gradient(blurred, dim=(2, 3))
    stride = 2 if sigma >= 2 else 1  # a blurred picture says nothing new at every pixel
    points = unproject(depth, K)[::stride, ::stride].reshape(-1, 3)
    return _Level(
        pictures=torch.cat([blurred, by_x, by_y], dim=1),
        usable=None if masks is None else masks[:, None].to(frames.dtype),
        points=points,
        colours=blurred[0, :, ::stride, ::stride].flatten(1).T,
        weight=((points[:, 2] > 0) & (points[:, 2] < FAR)).to(points.dtype),
    )


def _blurred(frames: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian; beyond the border its colours go on, so any size of picture will do."""
    reach = round(3 * sigma)
    steps = torch.arange(-reach, reach + 1, device=frames.device, dtype=frames.dtype)
    kernel = torch.softmax(-0.5 * (steps / sigma) ** 2, dim=0)
    planes = F.pad(frames, (reach,) * 4, mode="replicate").flatten(0, 1)[:, None]
    by_row = F.conv2d(planes, kernel[None, None, None, :])
    return F.conv2d(by_row, kernel[None, None, :, None]).reshape(frames.shape)


def _best(levels: list[_Level], frame: int, K: Tensor, tries: Tensor) -> Tensor:
    """Refine several starts of one frame's camera_from_world and return the best that was found.

    Also with the finer half of the levels alone, and with none: blur can lead away from a good
    start.
    """
    unmoved = tries, _terms(levels[-1], frame, K, tries)[0]
    fits = [_fit(levels[skip:], frame, K, tries) for skip in (0, len(levels) // 2)]
    found, cost = (torch.cat(parts) for parts in zip(unmoved, *fits, strict=True))
    return found[cost.argmin()]


def _fit(levels: list[_Level], frame: int, K: Tensor, tries: Tensor) -> tuple[Tensor, Tensor]:
    """Refine several starts; returns them with their costs at the last level."""
    cost = tries.new_zeros(len(tries))
    for level in levels:
        damping = torch.full_like(cost, 1e-3)
        cost, hessian, gradient = _terms(level, frame, K, tries)
        for _ in range(STEPS):
            diagonal = hessian.diagonal(dim1=1, dim2=2) * damping[:, None] + 1e-6
            step = -torch.linalg.solve(hessian + torch.diag_embed(diagonal), gradient)
            moved = _exp(step) @ tries
            terms = _terms(level, frame, K, moved)
            better = terms[0] < cost
            damping = torch.where(better, 0.3 * damping, 10.0 * damping)
            tries = torch.where(better[:, None, None], moved, tries)
            cost = torch.where(better, terms[0], cost)
            hessian = torch.where(better[:, None, None], terms[1], hessian)
            gradient = torch.where(better[:, None], terms[2], gradient)
    return tries, cost


def _terms(
    level: _Level, frame: int, K: Tensor, camera_from_world: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return cost (N), Gauss-Newton's matrix (N, 6, 6) and gradient (N, 6); turn first, then shift.

    The step is applied in the camera's frame, after the camera.
    """
    rotation, shift = camera_from_world[:, :3, :3], camera_from_world[:, None, :3, 3]
    points = level.points @ rotation.transpose(1, 2) + shift
    pixels, depth = project(points, K)
    height, width = level.pictures.shape[-2:]
    limits = pixels.new_tensor([width, height]) - BORDER
    seen = (depth > NEAREST) & (pixels > BORDER).all(-1) & (pixels < limits).all(-1)
    if level.usable is not None:
        seen &= _sample(level.usable[frame], pixels)[..., 0] > USABLE
    colours, by_x, by_y = _sample(level.pictures[frame], pixels).split(3, dim=-1)
    error = colours - level.colours
    ratio2 = error.square().sum(dim=-1) / COLOUR_NOISE**2
    total = level.weight.sum().clamp(min=1.0)
    cost = (torch.where(seen, ratio2.log1p(), HIDDEN) * level.weight).sum(dim=1) / total
    by_step = by_x[..., None] * _pixel_by_step(points, K[0])[..., None, :]
    by_step = by_step + by_y[..., None] * _pixel_by_step(points, K[1])[..., None, :]
    weight = (seen * level.weight / (1.0 + ratio2))[..., None, None]
    jacobian = by_step.flatten(1, 2)
    weighted = (weight * by_step).flatten(1, 2)
    return (
        cost,
        weighted.transpose(1, 2) @ jacobian,
        (weighted.transpose(1, 2) @ error.flatten(1, 2)[..., None])[..., 0],
    )


def _pixel_by_step(points: Tensor, row: Tensor) -> Tensor:
    """Differentiate one pixel coordinate, a row of K times point / z, by turn and shift."""
    z = points[..., 2:].clamp(min=NEAREST)
    value = (points * row).sum(dim=-1, keepdim=True) / z
    by_point = (row - F.pad(value, (2, 0))) / z
    return torch.cat([torch.linalg.cross(points, by_point), by_point], dim=-1)


def _sample(picture: Tensor, pixels: Tensor) -> Tensor:
    """Read a picture (c, h, w) at pixels (N, P, 2), bilinearly: (N, P, c)."""
    height, width = picture.shape[-2:]
    grid = 2.0 * pixels / pixels.new_tensor([width, height]) - 1.0
    read = F.grid_sample(picture[None], grid[None], align_corners=False, padding_mode="border")
    return read[0].permute(1, 2, 0)


def _exp(step: Tensor) -> Tensor:
    """Turn and shift (N, 6) as transforms."""
    return rigid(roma.rotvec_to_rotmat(step[:, :3]), step[:, 3:])

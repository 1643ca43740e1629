"""Verified matches, and whether cameras explain them, or rotations alone."""

from dataclasses import dataclass

import roma
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from jog3r.geometry import relative

AGREE_PX = 2.0
"""A match agrees with cameras if it lies this near to its epipolar line."""
PARALLAX_PX = 1.5
"""A pair shows parallax if the median of its matches is off by more than this after the best
rotation: more than the error of features, doubled by two pictures."""
MIN_PAIR_MATCHES = 15
TURNS = (0.5, 0.6, 0.75, 0.95, 1.2, 1.6, 2.2)
"""Focal lengths, as shares of the longer side, to explain a video by turning alone."""


@dataclass(frozen=True)
class Matches:
    """Matches of all pairs of frames that two-view geometry has verified.

    Args:
        frames: (M, 2) the two frames of each match, the earlier one first.
        pixels: (M, 2, 2) where it lies in each of them, (x, y).
        count: number of frames of the video.
    """

    frames: Int[Tensor, "m 2"]
    pixels: Float[Tensor, "m 2 2"]
    count: int

    def between(self, chosen: Bool[Tensor, " t"]) -> "Matches":
        """Return the matches whose frames are both chosen."""
        keep = chosen[self.frames].all(dim=1)
        return Matches(self.frames[keep], self.pixels[keep], self.count)

    def __len__(self) -> int:
        return len(self.frames)


def agreement(
    matches: Matches,
    world_from_camera: Float[Tensor, "t 4 4"],
    K: Float[Tensor, "t 3 3"],
    registered: Bool[Tensor, " t"] | None = None,
) -> float:
    """Return the share of matches that cameras explain, to `AGREE_PX`.

    Args:
        matches: verified, from any pair.
        world_from_camera: of every frame.
        K: of every frame.
        registered: frames that have a camera; a match of another one does not agree.
    """
    if not len(matches):
        return 0.0
    good = epipolar_error(matches, world_from_camera, K) < AGREE_PX
    if registered is not None:
        good &= registered[matches.frames].all(dim=1)
    return float(good.double().mean())


def epipolar_error(
    matches: Matches, world_from_camera: Float[Tensor, "t 4 4"], K: Float[Tensor, "t 3 3"]
) -> Float[Tensor, " m"]:
    """Return how far every match is from its epipolar lines (Sampson's distance) [px]."""
    i, j = matches.frames.unbind(dim=1)
    j_from_i = relative(world_from_camera.double()[j], world_from_camera.double()[i])
    shift = torch.nn.functional.normalize(j_from_i[:, :3, 3], dim=1)
    essential = _cross(shift) @ j_from_i[:, :3, :3]
    inverse = torch.linalg.inv(K.double())
    fundamental = inverse[j].transpose(1, 2) @ essential @ inverse[i]
    a, b = (_homogeneous(pixels) for pixels in matches.pixels.unbind(dim=1))
    line_j = (fundamental @ a[..., None])[..., 0]
    line_i = (fundamental.transpose(1, 2) @ b[..., None])[..., 0]
    size = (line_i[:, :2].square().sum(1) + line_j[:, :2].square().sum(1)).clamp(min=1e-300)
    return ((b * line_j).sum(1).square() / size).sqrt()


def only_turns(matches: Matches, K: Float[Tensor, "t 3 3"], known: bool) -> bool:
    """Return whether rotations explain all matches, so that nothing tells where the camera is.

    Args:
        matches: verified, from any pair.
        K: of every frame.
        known: False tries other focal lengths than those of K as well.
    """
    if known:
        return _turns(matches, K)
    longer = 2 * K[:, :2, 2].max()
    for share in TURNS:
        scaled = K.clone()
        scaled[:, 0, 0], scaled[:, 1, 1] = share * longer, share * longer * K[0, 1, 1] / K[0, 0, 0]
        if _turns(matches, scaled):
            return True
    return False


def _turns(matches: Matches, K: Tensor) -> bool:
    """Return whether one rotation per pair explains the matches of all but a tenth of the pairs."""
    i, j = matches.frames.unbind(dim=1)
    _, pair, size = (i * matches.count + j).unique(return_inverse=True, return_counts=True)
    inverse = torch.linalg.inv(K.double())
    rays = [
        (inverse[f] @ _homogeneous(matches.pixels[:, side])[..., None])[..., 0]
        for side, f in enumerate((i, j))
    ]
    a, b = (torch.nn.functional.normalize(ray, dim=1) for ray in rays)
    focal = (K[j, 0, 0] * K[j, 1, 1]).sqrt().double()
    error = torch.zeros_like(focal)
    for _ in range(5):
        # Outliers must not hide that the rest only turns.
        weight = 1 / (1 + (error / PARALLAX_PX).square())
        moments = a.new_zeros(len(size), 3, 3)
        moments.index_add_(0, pair, weight[:, None, None] * b[:, :, None] * a[:, None, :])
        rotation = roma.special_procrustes(moments)
        error = focal * (b - (rotation[pair] @ a[..., None])[..., 0]).norm(dim=1)
    off = torch.bincount(pair, (error > PARALLAX_PX).double()) / size
    enough = size >= MIN_PAIR_MATCHES
    return bool((off[enough] > 0.5).double().mean() <= 0.1)


def _homogeneous(pixels: Tensor) -> Tensor:
    return torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=1)


def _cross(vectors: Tensor) -> Tensor:
    """Return the matrices that take the cross product with vectors."""
    x, y, z = vectors.unbind(dim=1)
    zero = torch.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    return torch.stack(rows, dim=1).reshape(-1, 3, 3)

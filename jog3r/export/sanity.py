"""Is an export sane? Its points, seen by its cameras, must look like its images.

Every point is projected into every camera; of those that fall on the same pixel the nearest is
seen. Then, per camera: how many points are in front of it and inside its image, how well the colour
of what is seen agrees with the image, and its depth with the depth map. Cameras that were inverted
or transposed, axes of another library, images attached to the wrong cameras and K of another size
all make the colours disagree; the report says so, and which of the usual mistakes would explain it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from jog3r.geometry import invert, project, transform_points
from jog3r.results import Cameras

SAME_DEPTH = 0.05
"""A seen point agrees with a depth map that differs by at most this share."""

LEAST_COLOR_AGREEMENT = 0.4
LEAST_DEPTH_AGREEMENT = 0.5
"""Below these a camera is suspect. Exact scenes of the controlled world reach 0.9 and more."""

UNEXPLAINED = "are the images attached to the right cameras, and is K in their pixels?"
"""What to ask where none of the usual mistakes explains colours that disagree."""

MAX_POINTS = 1_000_000
"""Larger clouds are sampled."""


@dataclass(frozen=True)
class CameraSanity:
    """What one camera sees of the exported points.

    Args:
        in_front: share of all points.
        in_image: share of all points that are in front and inside the image.
        color: agreement of the colours that are seen with the image: 1 the same, 0 no better than
            the same colours on pixels drawn at random; None where that tells nothing (nothing is
            seen, or one colour everywhere).
        depth: share of what is seen that agrees with the depth map; None without one.
    """

    in_front: float
    in_image: float
    color: float | None
    depth: float | None


@dataclass(frozen=True)
class SanityReport:
    """One entry per camera, and what is wrong, in sentences; empty if nothing is."""

    cameras: tuple[CameraSanity, ...]
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        """Return a table of one line per camera, then the warnings."""
        lines = ["camera  in front  in image  colour  depth"]
        for index, camera in enumerate(self.cameras):
            shares = f"{camera.in_front:8.1%}  {camera.in_image:8.1%}"
            lines.append(
                f"{index:6d}  {shares}  {_cell(camera.color, 6)}  {_cell(camera.depth, 5)}"
            )
        return "\n".join([*lines, *(f"WARNING: {warning}" for warning in self.warnings)])


def check_export(
    points: Float[Tensor, "n 3"],
    colors: UInt8[Tensor, "n 3"],
    cameras: Cameras,
    frames: UInt8[Tensor, "t h w 3"],
    depth: Float[Tensor, "t h w"] | None = None,
) -> SanityReport:
    """Compare points with the images of their cameras.

    Args:
        points: world frame.
        colors: RGB of the points.
        cameras: of the frames, in their order.
        frames: the images that belong to the cameras.
        depth: z-depth of every pixel; 0 = no value.
    """
    points, colors = _sampled(points, colors)
    seen = tuple(
        _camera_sanity(points, colors, cameras, index, frames[index], _at(depth, index))
        for index in range(len(cameras))
    )
    return SanityReport(seen, _warnings(seen, points, colors, cameras, frames))


def _sampled(points: Tensor, colors: Tensor) -> tuple[Tensor, Tensor]:
    if len(points) <= MAX_POINTS:
        return points, colors
    chosen = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:MAX_POINTS]
    return points[chosen], colors[chosen]


def _at(depth: Tensor | None, index: int) -> Tensor | None:
    return None if depth is None else depth[index]


def _camera_sanity(
    points: Tensor,
    colors: Tensor,
    cameras: Cameras,
    index: int,
    frame: Tensor,
    depth: Tensor | None,
) -> CameraSanity:
    height, width = cameras.image_size
    camera_from_world = invert(cameras.world_from_camera[index])
    pixel, z = project(transform_points(camera_from_world, points), cameras.K[index])
    front = z > 0
    inside = front & (pixel >= 0).all(-1) & (pixel < pixel.new_tensor([width, height])).all(-1)
    column, row = pixel[inside].long().unbind(-1)
    seen = _nearest(row * width + column, z[inside], height * width)
    row, column = row[seen], column[seen]
    share = max(1, len(points))
    return CameraSanity(
        int(front.sum()) / share,
        int(inside.sum()) / share,
        _color_agreement(colors[inside][seen], frame[row, column]),
        None if depth is None else _depth_agreement(z[inside][seen], depth[row, column]),
    )


def _nearest(cell: Tensor, z: Tensor, cells: int) -> Tensor:
    """Tell which points are the nearest on their pixel."""
    nearest = z.new_full((cells,), torch.inf).scatter_reduce(0, cell, z, "amin")
    return z == nearest[cell]


def _color_agreement(colors: Tensor, image: Tensor) -> float | None:
    difference = (colors.float() - image.float()).abs().mean() if len(colors) else torch.tensor(0.0)
    shuffled = torch.randperm(len(colors), generator=torch.Generator().manual_seed(0))
    chance = (colors[shuffled].float() - image.float()).abs().mean()
    # One colour everywhere: nothing could disagree.
    return float(1 - difference / chance) if len(colors) and float(chance) > 1 else None


def _depth_agreement(z: Tensor, depth: Tensor) -> float | None:
    known = depth > 0
    agreeing = (z - depth).abs()[known] <= SAME_DEPTH * depth[known]
    return float(agreeing.float().mean()) if len(agreeing) else None


def _warnings(
    seen: tuple[CameraSanity, ...],
    points: Tensor,
    colors: Tensor,
    cameras: Cameras,
    frames: Tensor,
) -> tuple[str, ...]:
    if len(points) == 0:
        return ("there are no points to compare with the images",)
    # Every frame gave a part of the points; its camera must see about that many.
    few = [i for i, camera in enumerate(seen) if camera.in_image < 0.5 / len(seen)]
    wrong = [i for i, camera in enumerate(seen) if _below(camera.color, LEAST_COLOR_AGREEMENT)]
    deep = [i for i, camera in enumerate(seen) if _below(camera.depth, LEAST_DEPTH_AGREEMENT)]
    told = []
    if few:
        told.append(
            f"{_names(few, seen)} less than half a frame's share of the points in the image"
        )
    if wrong:
        told.append(f"{_names(wrong, seen)} colours that are not those of the image")
    if deep:
        told.append(f"{_names(deep, seen)} depths that are not those of the depth map")
    if few or wrong:
        told += _explanations(points, colors, cameras, frames, seen)
    return tuple(told)


def _explanations(
    points: Tensor,
    colors: Tensor,
    cameras: Cameras,
    frames: Tensor,
    seen: tuple[CameraSanity, ...],
) -> list[str]:
    """Try the usual mistakes: which of them would make the colours agree?"""
    given = cameras.world_from_camera
    opengl = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    guesses = {
        "the transforms are inverted: camera_from_world was taken for world_from_camera": invert(
            given
        ),
        "the cameras have OpenGL axes (y up, z back): turn them, world_from_camera @"
        " diag(1, -1, -1, 1)": given @ opengl,
        "the transforms are inverted and have OpenGL axes": invert(given) @ opengl,
        "the rotations are transposed, the positions are not": _transposed(given),
        "the order of the images is reversed": given.flip(0),
    }
    best, told = _mean_color(seen) + 0.2, []
    for sentence, world_from_camera in guesses.items():
        guess = Cameras(world_from_camera, cameras.K, cameras.image_size)
        tried = tuple(
            _camera_sanity(points, colors, guess, index, frames[index], None)
            for index in range(len(guess))
        )
        if _mean_color(tried) > best:
            best, told = _mean_color(tried), [f"it would fit if {sentence}"]
    return told or [UNEXPLAINED]


def _transposed(world_from_camera: Tensor) -> Tensor:
    turned = world_from_camera.clone()
    turned[:, :3, :3] = world_from_camera[:, :3, :3].transpose(-1, -2)
    return turned


def _mean_color(seen: tuple[CameraSanity, ...]) -> float:
    """Return the mean agreement; a camera that sees next to nothing agrees with nothing."""
    counted = [
        0.0 if camera.color is None or camera.in_image < 0.5 / len(seen) else camera.color
        for camera in seen
    ]
    return sum(counted) / len(counted)


def _below(value: float | None, least: float) -> bool:
    return value is not None and value < least


def _names(indices: list[int], seen: tuple[CameraSanity, ...]) -> str:
    some = ", ".join(map(str, indices[:5])) + (", ..." if len(indices) > 5 else "")
    return f"{len(indices)} of {len(seen)} cameras ({some}) see"


def _cell(value: float | None, width: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.2f}"

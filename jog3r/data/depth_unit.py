"""Whether depth and cameras speak of the same unit, by laying frames over each other.

Depth in millimetres beside cameras in metres trains a model to see nothing move, and no check of
shapes notices. A point of one frame, moved by the cameras into another, has to lie at the depth
that is stored there. Where the camera moves sideways or forward, that holds for one unit only.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.data.clip import Clip
from jog3r.errors import FileError, InputError
from jog3r.geometry import invert, project, transform_points, unproject

FACTORS = (1.0, 10.0, 0.1, 100.0, 0.01, 1000.0, 0.001)
"""What depth is said to be off by, where it comes near to one of these."""

# Twenty steps to a factor of ten. At the last everything is so far away that no camera moves.
_GRID = torch.logspace(-4, 4, 161)
_PIXELS = 1000
_MOST_FRAMES = 10  # that are all compared
_FURTHEST = 128  # [frames] from the first: a long film leaves its place
_LEAST_SEEN = 0.1  # share of the pixels that the other frame has to see
_GOOD = 0.05  # relative difference of depth that is agreement
_CLEAR = 2.0  # so much better has the right unit to be than a wrong one
_ROUNDING = 1e-3  # differences below this are none
_NEAR = math.log(1.6)  # a factor within this of 1 is that of noise, not of a unit

Verdict = Literal["right", "wrong", "cannot tell"]


@dataclass(frozen=True, kw_only=True)
class DepthUnit:
    """What reprojection says of the unit of a clip's depth.

    Attributes:
        verdict: `cannot tell` where depths agree, or disagree, alike in any unit: the camera hardly
            moves, or depth is too noisy.
        factor: What depth has to be multiplied by to be in the unit of the cameras; 1 where it is
            right, None where nothing can be told.
        error: Median relative difference of depth as it is stored.
        best_error: The same in the unit that fits best.
    """

    verdict: Verdict
    factor: float | None
    error: float
    best_error: float

    def __str__(self) -> str:
        if self.factor is None:
            return self.verdict
        stored = f"by {self.error:.1%}" if math.isfinite(self.error) else "beyond measure"
        return f"times {self.factor:g} (depths differ {stored}, at best by {self.best_error:.1%})"


def depth_unit(clip: Clip) -> DepthUnit:
    """Compare depth with cameras, in some of the frames.

    Args:
        clip: With depth, K and cameras.

    Raises:
        InputError: A clip without these.
    """
    if clip.depth is None or clip.K is None or clip.world_from_camera is None:
        raise InputError(
            f"{clip.id}: expected a clip with depth, K and world_from_camera, got one without"
            f" {', '.join(clip.missing)}"
        )
    errors = _errors(clip.depth, clip.K, clip.world_from_camera)
    stored, best = errors[len(_GRID) // 2], int(errors.argmin())
    factor = float(_GRID[best])
    told = {"error": float(stored), "best_error": float(errors[best])}
    clearly_worse = _CLEAR * max(float(errors[best]), _ROUNDING)
    if float(errors[best]) > _GOOD or float(errors[-1]) < clearly_worse:
        return DepthUnit(verdict="cannot tell", factor=None, **told)
    if abs(math.log(factor)) < _NEAR:
        return DepthUnit(verdict="right", factor=1.0, **told)
    if float(stored) < clearly_worse:
        return DepthUnit(verdict="cannot tell", factor=None, **told)
    return DepthUnit(verdict="wrong", factor=_named(factor), **told)


def compared_frames(length: int) -> list[int]:
    """Choose the frames of a clip that are compared, the first with each of the others.

    Args:
        length: Of the clip.

    Example:
        >>> compared_frames(4), compared_frames(16), compared_frames(1000)
        ([0, 1, 2, 3], [0, 1, 2, 4, 8, 15], [0, 1, 2, 4, 8, 16, 32, 64, 128])
    """
    if length <= _MOST_FRAMES:
        return list(range(length))
    last = min(length - 1, _FURTHEST)
    return [0, *(1 << k for k in range(last.bit_length()) if 1 << k < last), last]


def require_depth_unit(clips: Iterable[Clip]) -> list[DepthUnit]:
    """Stop where depth is in the wrong unit, before a training is built on it.

    Args:
        clips: Some of a data set; those without depth or cameras say nothing.

    Returns:
        What each of those with depth and cameras says.

    Raises:
        FileError: More of them are wrong than right.
    """
    units = [depth_unit(clip) for clip in clips if clip.has("depth", "K", "world_from_camera")]
    check_depth_units(units)
    return units


def check_depth_units(units: Iterable[DepthUnit]) -> None:
    """Check what several clips of a data set say.

    Args:
        units: What each says.

    Raises:
        FileError: More of them are wrong than right.
    """
    told = [unit for unit in units if unit.factor is not None]
    wrong = sorted(unit.factor or 1.0 for unit in told if unit.verdict == "wrong")
    if len(wrong) > len(told) - len(wrong):
        factor = wrong[len(wrong) // 2]
        raise FileError(
            f"depth: expected the unit of the cameras, got {len(wrong)} of {len(told)} clips whose"
            f" depth fits when multiplied by {factor:g}; correct the scale of the depth files"
        )


def _errors(
    depth: Float[Tensor, "t h w"],
    K: Float[Tensor, "t 3 3"],
    world_from_camera: Float[Tensor, "t 4 4"],
) -> Float[Tensor, " factors"]:
    """Return the median relative difference of depth for every factor, the least of all pairs.

    The pair with the clearest answer counts: most pairs of a clip see too little parallax or no
    common part.
    """
    camera_from_world = invert(world_from_camera)
    rows = []
    first, *others = compared_frames(len(depth))
    for other in others:
        other_from_first = camera_from_world[other] @ world_from_camera[first]
        maps, lenses = (depth[first], depth[other]), (K[first], K[other])
        rows.append(_pair_errors(*maps, *lenses, other_from_first))
    table = torch.stack(rows) if rows else torch.full((1, len(_GRID)), torch.inf)
    # What only just comes into view is the border of the picture, not evidence.
    table = table.where(table.roll(1, dims=1).isfinite(), torch.inf)
    contrast = table[:, -1] / table.amin(dim=1).clamp(min=_ROUNDING)
    return table[int(contrast.nan_to_num(0.0, posinf=0.0).argmax())]


def _pair_errors(
    depth_a: Tensor, depth_b: Tensor, K_a: Tensor, K_b: Tensor, b_from_a: Tensor
) -> Tensor:
    pixels = depth_a.flatten().nonzero()[:, 0]
    if len(pixels) == 0:
        return torch.full((len(_GRID),), torch.inf)
    pixels = pixels[:: max(1, len(pixels) // _PIXELS)]
    points = unproject(depth_a, K_a).reshape(-1, 3)[pixels]
    places, moved = project(transform_points(b_from_a, points * _GRID[:, None, None]), K_b)
    stored = _at(depth_b, places) * _GRID[:, None]
    known = (stored > 0) & (moved > 0)
    difference = (moved / stored).log().abs().where(known, torch.nan)
    enough = known.sum(dim=1) >= max(10, _LEAST_SEEN * len(pixels))
    return difference.nanmedian(dim=1).values.where(enough, torch.inf)


def _at(depth: Tensor, places: Tensor) -> Tensor:
    """Return the depth at places of the picture; 0 outside of it."""
    height, width = depth.shape
    inside = ((places >= 0) & (places < places.new_tensor([width, height]))).all(dim=-1)
    columns, rows = places.where(inside[..., None], 0.0).long().unbind(dim=-1)
    return depth[rows, columns].where(inside, 0.0)


def _named(factor: float) -> float:
    nearest = min(FACTORS, key=lambda known: abs(math.log(known / factor)))
    return nearest if abs(math.log(nearest / factor)) < _NEAR else float(f"{factor:.2g}")

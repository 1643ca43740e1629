"""Which pixels and points of a reconstruction make its point cloud: one rule for every export."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry import normals_from_pointmap, unproject
from jog3r.result_checks import whole_number

DROP_FRACTION = 0.2
"""Share of the valid pixels, the least confident, that `Reconstruction.points` leaves out."""


@dataclass(frozen=True, kw_only=True)
class PointSelection:
    """What is left out of a point cloud, and what is done to the rest; docs/points.md.

    A pixel is *valid* if it has a depth and no mask excludes it. The first three say which of the
    valid pixels are taken, each on its own; the others then work on the merged points, in the order
    in which they are listed. None switches a step off.

    Args:
        drop_fraction: share of the valid pixels, the least confident, to leave out; in [0, 1).
        max_depth_ratio: leave out pixels deeper than this many times the median depth of the valid
            pixels.
        max_slant_deg: leave out pixels whose surface is turned further than this away from the
            camera, in (0, 90]: at the edge between a near and a far thing, points lie in the air
            between both. 85 takes most of these and little else.
        voxel_ratio: edge of the voxels to down-sample by, as a share of `PointCloud.extent`.
        outlier_neighbours: remove points that stand alone, among so many neighbours.
        outlier_std_ratio: how far alone, as in `PointCloud.without_outliers`.
        normal_neighbours: estimate normals from so many points.
        max_points: keep a random choice of so many points, the same each time.

    Raises:
        InputError: a value out of its range.

    Example:
        >>> from dataclasses import asdict
        >>> selection = PointSelection(drop_fraction=0.1, voxel_ratio=1 / 512)
        >>> PointSelection(**asdict(selection)) == selection
        True
    """

    drop_fraction: float = DROP_FRACTION
    max_depth_ratio: float | None = None
    max_slant_deg: float | None = None
    voxel_ratio: float | None = None
    outlier_neighbours: int | None = None
    outlier_std_ratio: float = 2.0
    normal_neighbours: int | None = None
    max_points: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.drop_fraction < 1:
            raise InputError(
                f"drop_fraction: expected a share in [0, 1), got {self.drop_fraction!r}"
            )
        highest = {"max_depth_ratio": math.inf, "max_slant_deg": 90.0, "voxel_ratio": 1.0}
        for name, most in (highest | {"outlier_std_ratio": math.inf}).items():
            value = getattr(self, name)
            if value is not None and not 0 < value <= most:
                raise InputError(f"{name}: expected above 0 and at most {most:g}, got {value!r}")
        lowest = {"outlier_neighbours": 1, "normal_neighbours": 3, "max_points": 1}
        for name, least in lowest.items():
            value = getattr(self, name)
            if value is not None and whole_number(name, value) < least:
                raise InputError(f"{name}: expected at least {least}, got {value!r}")


DEFAULT_SELECTION = PointSelection()
"""What `Reconstruction.points` uses."""


def chosen_pixels(
    selection: PointSelection,
    valid: Bool[Tensor, "t h w"],
    depth: Float32[Tensor, "t h w"],
    confidence: Float32[Tensor, "t h w"],
    K: Float32[Tensor, "t 3 3"],
) -> Bool[Tensor, "t h w"]:
    """Return which of the valid pixels a selection takes, frame by frame to save memory."""
    surest = _ranked(confidence, valid, selection.drop_fraction, -math.inf)
    deepest = math.inf
    if selection.max_depth_ratio is not None:
        deepest = selection.max_depth_ratio * _ranked(depth, valid, 0.5, math.inf)
    chosen = valid.clone()
    for index in range(len(depth)):
        chosen[index] &= (confidence[index] >= surest) & (depth[index] <= deepest)
        if selection.max_slant_deg is not None:
            chosen[index] &= _slant_deg(depth[index], K[index]) <= selection.max_slant_deg
    return chosen


def _ranked(
    values: Float32[Tensor, "t h w"], valid: Bool[Tensor, "t h w"], share: float, empty: float
) -> float:
    """Return the value that this share of the valid ones, rounded down, comes before."""
    # numpy: torch writes down three 64-bit indices of every valid pixel to gather them.
    taken = values.numpy()[valid.numpy()]
    if not len(taken):
        return empty
    rank = int(share * len(taken))
    taken.partition(rank)
    return float(taken[rank])


def _slant_deg(depth: Float32[Tensor, "h w"], K: Float32[Tensor, "3 3"]) -> Float32[Tensor, "h w"]:
    """Return the angle between each pixel's ray and its surface's normal, 90 where there is none.

    A pixel beside one without depth counts as seen from the side.
    """
    points = unproject(depth, K)
    toward = -torch.nn.functional.normalize(points, dim=-1)
    cosine = (normals_from_pointmap(points) * toward).sum(dim=-1)
    return torch.rad2deg(torch.acos(cosine.clamp(0, 1)))

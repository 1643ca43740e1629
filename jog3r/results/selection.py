"""Which pixels and points of a reconstruction make its point cloud: one rule for every export."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt32
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry import normals_from_pointmap, unproject
from jog3r.result_checks import whole_number

DROP_FRACTION = 0.2
"""Share of the valid pixels, the least confident, that `Reconstruction.points` leaves out."""

MOST_POINTS = 4_000_000
"""Points that a cloud has at most, unless more are asked for: a hundred frames of 224x224 pixels.

Without a limit the files of a long video would outgrow every viewer, and the memory.
"""


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
        max_points: keep a random choice of so many points, the same each time; 4,000,000 unless
            given. Without one of the three steps above every frame gives its share of them before
            anything is merged, so that a long video needs no more memory than a short one.

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
    max_points: int | None = MOST_POINTS

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

    @property
    def needs_all_points(self) -> bool:
        """Whether a step looks at the merged points, so that none may be left out before."""
        steps = (self.voxel_ratio, self.outlier_neighbours, self.normal_neighbours)
        return any(step is not None for step in steps)


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


def thinned_pixels(chosen: Bool[Tensor, "t h w"], max_points: int) -> Bool[Tensor, "t h w"]:
    """Return at most so many of the pixels, a random choice that is the same each time.

    Every frame keeps its share, to one pixel.
    """
    counts = [int(torch.count_nonzero(frame)) for frame in chosen]
    total, passed = sum(counts), 0
    if total <= max_points:
        return chosen
    thin, generator = torch.zeros_like(chosen), torch.Generator().manual_seed(0)
    for index, count in enumerate(counts):
        share = (passed + count) * max_points // total - passed * max_points // total
        places = chosen[index].nonzero()[torch.randperm(count, generator=generator)[:share]]
        thin[index][tuple(places.T)] = True
        passed += count
    return thin


def _ranked(
    values: Float32[Tensor, "t h w"], valid: Bool[Tensor, "t h w"], share: float, empty: float
) -> float:
    """Return the value that this share of the valid ones, rounded down, comes before.

    Found in two passes, the upper 16 bits and then the lower ones, so that nothing is copied.
    """
    count = int(torch.count_nonzero(valid))
    if not count:
        return empty
    rank = min(int(share * count), count - 1)
    upper, rank = _nth((bits >> 16 for bits in _bits(values, valid)), rank)
    lower, _ = _nth((bits[bits >> 16 == upper] & 0xFFFF for bits in _bits(values, valid)), rank)
    return float(np.uint32(upper << 16 | lower).view(np.float32))


def _bits(
    values: Float32[Tensor, "t h w"], valid: Bool[Tensor, "t h w"]
) -> Iterator[UInt32[np.ndarray, " n"]]:
    """Yield each frame's valid values as whole numbers, which order alike: none is negative."""
    for frame, here in zip(values.numpy(), valid.numpy(), strict=True):
        yield frame[here].view(np.uint32)


def _nth(parts: Iterable[UInt32[np.ndarray, " n"]], rank: int) -> tuple[int, int]:
    """Return the number of 16 bits that so many come before, and its rank among its equals."""
    counts = np.zeros(1 << 16, dtype=np.int64)
    for part in parts:
        counts += np.bincount(part, minlength=len(counts))
    passed = counts.cumsum()
    number = int(passed.searchsorted(rank, side="right"))
    return number, rank - int(passed[number] - counts[number])


def _slant_deg(depth: Float32[Tensor, "h w"], K: Float32[Tensor, "3 3"]) -> Float32[Tensor, "h w"]:
    """Return the angle between each pixel's ray and its surface's normal, 90 where there is none.

    A pixel beside one without depth counts as seen from the side.
    """
    points = unproject(depth, K)
    toward = -torch.nn.functional.normalize(points, dim=-1)
    cosine = (normals_from_pointmap(points) * toward).sum(dim=-1)
    return torch.rad2deg(torch.acos(cosine.clamp(0, 1)))

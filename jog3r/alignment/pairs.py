"""What alignment takes and gives: pairwise pointmaps in, one set of cameras and depths out."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry.checks import check_finite, check_tensor
from jog3r.results.reconstruction import Scale

MIN_SPREAD = 1e-6
"""Smallest extent of a pointmap across its longest direction, relative to its distance, that counts
as a surface."""
MIN_PIXELS = 6
"""Fewest pixels of confidence above 1 that a pointmap needs: a camera has up to seven unknowns."""
MOST_CONFIDENCE = 1e12
"""Weights beyond this leave the others nothing of a float's digits, and their squares overflow."""
SPREAD_PIXELS = 100
"""About this many points of a pointmap show whether it is a surface."""


@dataclass(frozen=True)
class PairPointmaps:
    """Pointmaps of image pairs (i, j), each in the frame of camera i and at its own free scale.

    Args:
        pairs: frame numbers (i, j).
        points_i: the points seen in the pixels of image i.
        points_j: the points seen in the pixels of image j, **in camera i's frame as well**.
        confidence_i: per pixel, at least 1; 1 means that nothing is known.
        confidence_j: likewise.
        metric: the network meant metres: the result then says so.
    """

    pairs: Int[Tensor, "e 2"]
    points_i: Float[Tensor, "e h w 3"]
    points_j: Float[Tensor, "e h w 3"]
    confidence_i: Float[Tensor, "e h w"]
    confidence_j: Float[Tensor, "e h w"]
    metric: bool = False

    def __len__(self) -> int:
        return self.pairs.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images [px]."""
        height, width = self.points_i.shape[1:3]
        return height, width

    def chosen(self, index: Int[Tensor, " n"]) -> "PairPointmaps":
        """Return some of the pairs, in the given order.

        Args:
            index: their numbers.
        """
        parts = (self.pairs, self.points_i, self.points_j, self.confidence_i, self.confidence_j)
        return PairPointmaps(*(part[index] for part in parts), metric=self.metric)


@dataclass(frozen=True)
class Alignment:
    """Cameras and depths that explain the pairs.

    The first camera is the world, unless some cameras were known.

    Args:
        world_from_camera: rigid transforms.
        K: intrinsics in pixels of the pointmaps.
        depth: z-depth; zero where a fitted point does not lie in front of its camera.
        confidence: of the depth, at least 1.
        scale: unit of length: `metric` [m], `relative` (arbitrary), `given-poses`.
        flags: findings about the result, each "code: sentence".
        position_std: standard deviation of each position along its least certain direction, in the
            unit of length; 0 where a camera is held; None where nothing was refined.
    """

    world_from_camera: Float[Tensor, "t 4 4"]
    K: Float[Tensor, "t 3 3"]
    depth: Float[Tensor, "t h w"]
    confidence: Float[Tensor, "t h w"]
    scale: Scale = "relative"
    flags: tuple[str, ...] = ()
    position_std: Float[Tensor, " t"] | None = None


def check_pairs(pairs: PairPointmaps) -> None:
    """Check shapes, values and that there is something to align.

    Raises:
        InputError: no tensors, shapes that do not belong together, gradients, NaN, confidence below
            1, or a pointmap whose points are all equal or on one line.
    """
    if not isinstance(pairs, PairPointmaps):
        kind = type(pairs).__name__
        raise InputError(f"pairs: expected PairPointmaps, got {kind}; make them of your tensors")
    if not isinstance(pairs.metric, bool):
        raise InputError(f"metric: expected True or False, got {pairs.metric!r}; choose one")
    check_tensor("points_i", pairs.points_i, ("height", "width", 3))
    if pairs.points_i.ndim != 4:
        got = tuple(pairs.points_i.shape)
        raise InputError(f"points_i: expected (pairs, height, width, 3), got {got}")
    edges = pairs.points_i.shape[0]
    if not edges:
        raise InputError("pairs: expected at least one, got none; run the network on some")
    _check_numbers(pairs.pairs, edges)
    for name, shape in (
        ("points_j", pairs.points_i.shape),
        ("confidence_i", pairs.points_i.shape[:-1]),
        ("confidence_j", pairs.points_i.shape[:-1]),
    ):
        value: Tensor = getattr(pairs, name)
        check_tensor(name, value, ())
        if value.shape != shape:
            raise InputError(f"{name}: expected {tuple(shape)}, got {tuple(value.shape)}")
    for side in "ij":
        _check_side(side, getattr(pairs, f"points_{side}"), getattr(pairs, f"confidence_{side}"))


def _check_numbers(pairs: object, edges: int) -> None:
    if not isinstance(pairs, Tensor):
        kind = type(pairs).__name__
        raise InputError(
            f"pairs: expected a tensor ({edges}, 2), got {kind}; use torch.as_tensor()"
        )
    if tuple(pairs.shape) != (edges, 2) or pairs.dtype != torch.int64:
        got = f"{tuple(pairs.shape)} {pairs.dtype}"
        raise InputError(f"pairs: expected whole numbers ({edges}, 2), got {got}; use .long()")
    largest = int(pairs.max())
    if largest >= 2 * edges:  # some frames before it are in no pair, and they could be billions
        raise InputError(
            f"pairs: expected every frame in a pair, got frame {largest} among {edges} pairs;"
            " number the frames from 0 without gaps"
        )


def _check_side(side: str, points: Tensor, confidence: Tensor) -> None:
    for name, value in ((f"points_{side}", points), (f"confidence_{side}", confidence)):
        if value.requires_grad:
            raise InputError(f"{name}: expected a plain tensor, got one with grad; use .detach()")
        if not bool(torch.isfinite(value.sum())):  # fast; a finite sum could also overflow
            check_finite(name, value)
    lowest = float(confidence.min())
    if lowest < 1:
        raise InputError(f"confidence_{side}: expected values >= 1, got {lowest:g}")
    highest = float(confidence.max())
    if highest > MOST_CONFIDENCE:
        raise InputError(
            f"confidence_{side}: expected values up to {MOST_CONFIDENCE:g}, got {highest:g}; divide"
            " what lies above 1"
        )
    height, width = confidence.shape[1:]
    stride = max(1, round(math.sqrt(height * width / SPREAD_PIXELS)))
    suspects = _collapsed(points[:, ::stride, ::stride])
    if suspects.numel():  # of a thinned pointmap, which may hold less than the whole
        suspects = suspects[_collapsed(points[suspects])]
    if suspects.numel():
        raise InputError(
            f"points_{side}: expected a surface, got equal or collinear points in pair"
            f" {int(suspects[0])}; drop this frame or give another"
        )


def _collapsed(points: Tensor) -> Tensor:
    """Return the numbers of the pointmaps (E, h, w, 3) whose points are equal or on one line."""
    flat = points.double().flatten(1, 2).mT.contiguous()
    centred = flat - flat.median(dim=2, keepdim=True).values
    distance2, reach2 = (p.square().sum(dim=1) for p in (centred, flat))
    # Without the farthest tenth: a single wild point would make everything else look like a dot.
    pixels = flat.shape[2]
    near = distance2 <= distance2.kthvalue(1 + int(0.9 * (pixels - 1)), 1, True).values
    centred = centred * near[:, None]
    variance = torch.linalg.eigvalsh(centred @ centred.mT / pixels)[:, 1]
    limit = MIN_SPREAD**2 * reach2.median(dim=1).values
    return torch.nonzero(variance <= limit).flatten()

"""What alignment takes and gives: pairwise pointmaps in, one set of cameras and depths out."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry.checks import check_finite, check_tensor

MIN_SPREAD = 1e-6
"""Smallest extent of a pointmap across its longest direction, relative to its distance, that counts
as a surface."""
MIN_PIXELS = 6
"""Fewest pixels of confidence above 1 that a pointmap needs: a camera has up to seven unknowns."""


@dataclass(frozen=True)
class PairPointmaps:
    """Pointmaps of image pairs (i, j), each in the frame of camera i and at its own free scale.

    Args:
        pairs: frame numbers (i, j).
        points_i: the points seen in the pixels of image i.
        points_j: the points seen in the pixels of image j, **in camera i's frame as well**.
        confidence_i: per pixel, at least 1; 1 means that nothing is known.
        confidence_j: likewise.
    """

    pairs: Int[Tensor, "e 2"]
    points_i: Float[Tensor, "e h w 3"]
    points_j: Float[Tensor, "e h w 3"]
    confidence_i: Float[Tensor, "e h w"]
    confidence_j: Float[Tensor, "e h w"]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images [px]."""
        height, width = self.points_i.shape[1:3]
        return height, width


@dataclass(frozen=True)
class Alignment:
    """Cameras and depths that explain the pairs; the first camera is the world.

    Args:
        world_from_camera: rigid transforms; the first is the identity.
        K: intrinsics in pixels of the pointmaps.
        depth: z-depth; zero where a fitted point does not lie in front of its camera.
        confidence: of the depth, at least 1.
    """

    world_from_camera: Float[Tensor, "t 4 4"]
    K: Float[Tensor, "t 3 3"]
    depth: Float[Tensor, "t h w"]
    confidence: Float[Tensor, "t h w"]


def check_pairs(pairs: PairPointmaps) -> None:
    """Check shapes, values and that there is something to align.

    Raises:
        InputError: shapes that do not belong together, NaN, confidence below 1, a pointmap whose
            points are all equal or on one line, or one with too few points of confidence above 1.
    """
    check_tensor("points_i", pairs.points_i, ("height", "width", 3))
    if pairs.points_i.ndim != 4:
        got = tuple(pairs.points_i.shape)
        raise InputError(f"points_i: expected (pairs, height, width, 3), got {got}")
    edges = pairs.points_i.shape[0]
    if tuple(pairs.pairs.shape) != (edges, 2) or pairs.pairs.is_floating_point():
        got = f"{tuple(pairs.pairs.shape)} {pairs.pairs.dtype}"
        raise InputError(f"pairs: expected whole numbers ({edges}, 2), got {got}")
    for name, shape in (
        ("points_j", pairs.points_i.shape),
        ("confidence_i", pairs.points_i.shape[:-1]),
        ("confidence_j", pairs.points_i.shape[:-1]),
    ):
        value: Tensor = getattr(pairs, name)
        if value.shape != shape:
            raise InputError(f"{name}: expected {tuple(shape)}, got {tuple(value.shape)}")
    for side in "ij":
        _check_side(side, getattr(pairs, f"points_{side}"), getattr(pairs, f"confidence_{side}"))


def _check_side(side: str, points: Tensor, confidence: Tensor) -> None:
    for name, value in ((f"points_{side}", points), (f"confidence_{side}", confidence)):
        check_finite(name, value)
    if bool((confidence < 1).any()):
        lowest = float(confidence.min())
        raise InputError(f"confidence_{side}: expected values >= 1, got {lowest:g}")
    flat = points.double().flatten(1, 2)
    centred = flat - flat.median(dim=1, keepdim=True).values
    distance2, reach2 = (p.square().sum(dim=-1) for p in (centred, flat))
    # Without the farthest tenth: a single wild point would make everything else look like a dot.
    near = distance2 <= distance2.quantile(0.9, dim=1, keepdim=True)
    centred = centred * near[..., None]
    variance = torch.linalg.eigvalsh(centred.transpose(1, 2) @ centred / flat.shape[1])[:, 1]
    collapsed = torch.nonzero(variance <= MIN_SPREAD**2 * reach2.median(dim=1).values).flatten()
    if collapsed.numel():
        raise InputError(
            f"points_{side}: expected a surface, got equal or collinear points in pair"
            f" {int(collapsed[0])}; drop this frame or give another"
        )
    seen = (confidence > 1).flatten(1).sum(dim=1)
    blind = torch.nonzero(seen < MIN_PIXELS).flatten()
    if blind.numel():
        raise InputError(
            f"confidence_{side}: expected at least {MIN_PIXELS} pixels above 1, got"
            f" {int(seen[blind[0]])} in pair {int(blind[0])}; too little is known about this frame"
            " (for equal weights use any constant above 1)"
        )

"""The factor that brings estimated depth into the unit of the cameras.

`jog3r.data.depth_unit` judges the depth of a data set and names the unit; here the factor itself is
wanted, as exactly as depth and cameras tell it, and quickly, for every clip of a preparation.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.geometry import project, unproject
from jog3r.geometry.transforms import invert, transform_points

PAIRS, PIXELS_PER_SIDE = 8, 40
DECADES = 4.0
"""Factors from 10^-4 to 10^4 are tried: millimetres for metres are 10^3."""
FAR_OFF = 0.2
"""Disagreement in the logarithm of depth at which a pixel counts as wrong, and no more than that;
pixels that leave the other frame count as wrong too."""
CLEAR = 0.7
"""The best factor must lower the disagreement to this share of that without any translation."""
GOOD, CLEARLY_WRONG, UNITS_APART = 0.03, 0.3, 2.5
"""Depth is in a wrong unit where another fits to within 3 %, at less than 0.3 of the disagreement
as stored and of that without translation, and differs by more than two and a half times: feet are
three to the metre."""


def depth_scale(
    depth: Float[Tensor, "t h w"],
    K: Float[Tensor, "t 3 3"],
    world_from_camera: Float[Tensor, "t 4 4"],
) -> float | None:
    """Find the factor that brings depth into the unit of the cameras.

    The depth of a frame, seen from another camera, should be the depth of that camera's frame. How
    far it moves on the way depends on the ratio of depth to translation, so the right ratio is the
    one at which the frames agree.

    Args:
        depth: Along z, 0 where unknown.
        K: Intrinsics [px of the depth].
        world_from_camera: Camera poses.

    Returns:
        The factor, 1 where both are in one unit; None where it cannot be told, since the camera
        hardly moves or little depth is known.

    Source: own derivation.
    """
    pairs = _pairs(depth, K, world_from_camera)
    if not pairs:
        return None
    factor, error = _best(pairs)
    still = _disagreement(pairs, torch.tensor([torch.inf]))
    return factor if error < CLEAR * float(still) else None


def wrong_unit(
    depth: Float[Tensor, "t h w"],
    K: Float[Tensor, "t 3 3"],
    world_from_camera: Float[Tensor, "t 4 4"],
) -> float | None:
    """Find depth that is clearly in another unit than the cameras.

    Args:
        depth: As for `depth_scale`.
        K: Likewise.
        world_from_camera: Likewise.

    Returns:
        The factor that would bring it into theirs, above `UNITS_APART` or below its inverse; None
        where depth is right, or where nothing can be told for certain.
    """
    factor = depth_scale(depth, K, world_from_camera)
    if factor is None or 1 / UNITS_APART < factor < UNITS_APART:
        return None
    pairs = _pairs(depth, K, world_from_camera)
    # A camera that moves too little for its pixels agrees with depth of any unit.
    best, stored, still = _disagreement(pairs, torch.tensor([factor, 1.0, torch.inf])).tolist()
    return factor if best < GOOD and best < CLEARLY_WRONG * min(stored, still) else None


def _pairs(depth: Tensor, K: Tensor, world_from_camera: Tensor) -> "list[_Pair]":
    """Pair frames that are half of the clip apart."""
    frames = len(depth)
    first = range(0, frames - 1, max((frames - 1) // PAIRS, 1))[:PAIRS]
    gap = max(frames // 2, 1)
    found = [_Pair.of(depth, K, world_from_camera, i, min(i + gap, frames - 1)) for i in first]
    return [pair for pair in found if pair is not None]


def _best(pairs: "list[_Pair]") -> tuple[float, float]:
    """Return the factor of the least disagreement, and that."""
    coarse = torch.logspace(-DECADES, DECADES, 161)
    near = coarse[_disagreement(pairs, coarse).argmin()]
    fine = near * torch.logspace(-0.05, 0.05, 41)
    errors = _disagreement(pairs, fine)
    return float(fine[errors.argmin()]), float(errors.min())


class _Pair:
    """Points of one frame in the axes of another, apart from the translation between them."""

    def __init__(self, turned: Tensor, shift: Tensor, K: Tensor, depth: Tensor) -> None:
        self.turned, self.shift, self.K, self.depth = turned, shift, K, depth

    @classmethod
    def of(cls, depth: Tensor, K: Tensor, poses: Tensor, i: int, j: int) -> "_Pair | None":
        height, width = depth.shape[1:]
        rows = torch.linspace(0, height - 1, min(height, PIXELS_PER_SIDE)).round().long()
        columns = torch.linspace(0, width - 1, min(width, PIXELS_PER_SIDE)).round().long()
        chosen = depth[i, rows[:, None], columns]
        valid = chosen > 0
        if valid.float().mean() < 0.5 or (depth[j] > 0).float().mean() < 0.5:
            return None
        points = unproject(depth[i], K[i])[rows[:, None], columns][valid]
        j_from_i = invert(poses[j]) @ poses[i]
        shift = j_from_i[:3, 3].clone()
        j_from_i[:3, 3] = 0.0
        return cls(transform_points(j_from_i, points), shift, K[j], depth[j])

    def disagreement(self, factors: Tensor) -> Tensor:
        """Compare the depth that points would have with the depth that is there."""
        seen = self.turned + self.shift / factors[:, None, None]
        pixels, _ = project(seen, self.K)
        height, width = self.depth.shape
        column, row = pixels.floor().nan_to_num(-1.0).clamp(-1, 1e6).long().unbind(dim=-1)
        inside = (seen[..., 2] > 0) & (row >= 0) & (row < height)
        inside &= (column >= 0) & (column < width)
        there = self.depth[row.clamp(0, height - 1), column.clamp(0, width - 1)]
        wrong = (seen[..., 2].clamp(min=1e-12) / there.clamp(min=1e-12)).log().abs()
        wrong = torch.where(inside, wrong.clamp(max=FAR_OFF), FAR_OFF)
        # Depth that is unknown there says nothing; what hides or leaves the picture is outvoted.
        return wrong.masked_fill(inside & (there <= 0), torch.nan).nanmedian(dim=1).values


def _disagreement(pairs: list[_Pair], factors: Tensor) -> Tensor:
    return torch.stack([pair.disagreement(factors) for pair in pairs]).mean(dim=0)

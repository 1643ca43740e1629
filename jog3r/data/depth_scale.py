"""The factor between depth and cameras, by laying frames over each other.

A point of one frame, moved by the cameras into another, has to lie at the depth that is stored
there. How far it moves on the way depends on the ratio of depth to translation, so where the camera
moves, frames agree for one ratio only.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.geometry import invert, project, transform_points, unproject

SIDE = 24
"""Pixels along the longer side that are compared: enough for a median, and quick."""
MOST_FRAMES, FURTHEST = 10, 128
"""That are all compared, and how far from the first: a long film leaves its place."""
FAR_OFF = 0.3
"""Disagreement in the logarithm of depth that counts no further; pixels that leave the other frame
count as much."""
LEAST_KNOWN = 0.3
"""Share of the pixels whose depth has to be known."""
NOISE, CLEAR = 0.01, 0.5
"""A factor is clearly better than another where its disagreement and the noise of sensors are less
than half of the other's."""
SPEAKING, AGREED = 0.25, 0.75
"""Share of the pairs in which some factor has to be clearly better than a camera that stands, and
share of these that have to find the same factor, each by itself."""
SAME = 1.6
"""Factors closer than this are the same: noise and small pictures move them so much."""

# Ten steps to a factor of ten, then fifty: millimetres beside metres are 10^3.
_COARSE = torch.logspace(-4, 4, 81)
_FINE = torch.logspace(-0.1, 0.1, 11)
_FACTORS = torch.cat([_COARSE, torch.tensor([1.0, torch.inf])])  # depth as stored, camera at rest


@dataclass(frozen=True, kw_only=True)
class DepthScale:
    """The factor by which depth fits cameras, and how well it does.

    Args:
        factor: That fits best, from 10^-4 to 10^4.
        error: Disagreement that it leaves, in the logarithm of depth, up to `FAR_OFF`.
        stored: The same of depth as it is stored.
    """

    factor: float
    error: float
    stored: float


def depth_scale(
    depth: Float[Tensor, "t h w"],
    K: Float[Tensor, "t 3 3"],
    world_from_camera: Float[Tensor, "t 4 4"],
) -> DepthScale | None:
    """Measure the factor that brings depth into the unit of the cameras.

    Args:
        depth: Along z, 0 where unknown.
        K: Intrinsics [px of the depth].
        world_from_camera: Camera poses.

    Returns:
        The measurement; None where it cannot be told, since the camera hardly moves, frames show
        nothing in common, little depth is known, or pairs of frames contradict each other.

    Source: own derivation.
    """
    chosen = compared_frames(len(depth))
    pairs = _Pairs.of(depth[chosen], K[chosen], world_from_camera[chosen])
    if pairs is None:
        return None
    errors = pairs.disagreement(_FACTORS)
    coarse, stored, still = errors[:, :-2], errors[:, -2], errors[:, -1]
    speaking = coarse.amin(dim=1) + NOISE < CLEAR * still
    if speaking.float().mean() < SPEAKING:
        return None
    near = _COARSE[coarse[speaking].mean(dim=0).argmin()] * _FINE
    fine = pairs.disagreement(near)[speaking].mean(dim=0)
    factor = near[fine.argmin()]
    own = _COARSE[coarse[speaking].argmin(dim=1)]
    if ((own / factor).log().abs() < math.log(SAME)).float().mean() < AGREED:
        return None
    return DepthScale(
        factor=float(factor), error=float(fine.min()), stored=float(stored[speaking].mean())
    )


def compared_frames(length: int) -> list[int]:
    """Choose the frames of a clip that are compared; of these all are chosen again.

    Args:
        length: Of the clip.

    Example:
        >>> compared_frames(4), compared_frames(16), compared_frames(1000)
        ([0, 1, 2, 3], [0, 1, 2, 4, 8, 15], [0, 1, 2, 4, 8, 16, 32, 64, 128])
    """
    if length <= MOST_FRAMES:
        return list(range(length))
    last = min(length - 1, FURTHEST)
    return [0, *(1 << k for k in range(last.bit_length()) if 1 << k < last), last]


@dataclass(frozen=True)
class _Pairs:
    """Points of frames in the axes of others, apart from the translation between them."""

    turned: Float[Tensor, "p n 3"]
    shift: Float[Tensor, "p 1 1 3"]
    known: Float[Tensor, "p n"]
    K: Float[Tensor, "p 3 3"]
    depth: Float[Tensor, "p h w"]

    @classmethod
    def of(cls, depth: Tensor, K: Tensor, poses: Tensor) -> "_Pairs | None":
        """Pair neighbours, and frames that are half of the clip apart, in both directions."""
        some = _some_pixels(depth, K)
        seen = (some[0] > 0).flatten(1).float()
        enough = (seen.mean(dim=1) >= LEAST_KNOWN).tolist()
        half = max(len(depth) // 2, 1)
        both = [(i, i + half) for i in range(len(depth) - half)]
        both += [(i, i + 1) for i in range(0, len(depth) - 1, 2) if half > 1]
        pairs = [pair for pair in both if enough[pair[0]] and enough[pair[1]]]
        if not pairs:
            return None
        one, other = torch.tensor([*pairs, *(pair[::-1] for pair in pairs)]).unbind(dim=1)
        points = unproject(*some)[one].flatten(1, 2)
        other_from_one = invert(poses)[other] @ poses[one]
        shift = other_from_one[:, None, None, :3, 3].clone()
        other_from_one[:, :3, 3] = 0.0
        turned = transform_points(other_from_one, points)
        return cls(turned, shift, seen[one], K[other], depth[other])

    def disagreement(self, factors: Float[Tensor, " f"]) -> Float[Tensor, "p f"]:
        """Compare the depth that points would have with the depth that is there."""
        seen = self.turned[:, None] + self.shift / factors[:, None, None]
        pixels, z = project(seen, self.K)
        there = _depth_at(self.depth, pixels).where(z > 0, torch.inf)
        wrong = (z.clamp(min=1e-12) / there.clamp(min=1e-12)).log().abs().clamp(max=FAR_OFF)
        # Depth that is unknown there says nothing; what hides or leaves the picture is outvoted.
        unknown = (there <= 0) | (self.known == 0)[:, None]
        median = wrong.masked_fill(unknown, torch.nan).nanmedian(dim=2).values
        return median.nan_to_num(FAR_OFF)


def _some_pixels(depth: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """Take pixels at even steps, and the K of the small picture that they make."""
    step = -(-max(depth.shape[1:]) // SIDE)
    first = step // 2
    some_from_all = torch.diag(K.new_tensor([1 / step, 1 / step, 1.0]))
    some_from_all[:2, 2] = 0.5 - (first + 0.5) / step
    return depth[:, first::step, first::step], some_from_all @ K


def _depth_at(depth: Tensor, places: Tensor) -> Tensor:
    """Return the depth at places of each picture; infinity outside of it."""
    height, width = depth.shape[1:]
    inside = ((places >= 0) & (places < places.new_tensor([width, height]))).all(dim=-1)
    columns, rows = places.where(inside[..., None], 0.0).long().unbind(dim=-1)
    found = depth.flatten(1).gather(1, (rows * width + columns).flatten(1))
    return found.view(inside.shape).where(inside, torch.inf)

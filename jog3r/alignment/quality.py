"""How far the result can be trusted: uncertainty of the positions, and what is flagged."""

import torch
from torch import Tensor

from jog3r.alignment.observations import Observations
from jog3r.alignment.start import focals
from jog3r.alignment.unknowns import Cameras, Layout

INDEPENDENT = 16.0
"""A frame's pixels are worth this many independent ones: a network's errors vary slowly."""
LEAST_BASELINE = 1e-3
"""Cameras closer than this many median depths have not moved, whatever the noise."""
SURE = 3.0
"""A movement counts if it is this many standard deviations long."""
FOCAL_RATIO = 1.5
"""Known focal lengths may differ from those of the pointmaps by this factor."""


def position_std(hessian: Tensor, at: Layout) -> Tensor:
    """Return the standard deviation of each position along its least certain direction, (T).

    Args:
        hessian: half the data's, in units of the noise.
        at: places of its unknowns.
    """
    frames = at.of_frame.shape[0]
    place = at.of_frame[:, 3:6]
    found = hessian.new_zeros(at.free + 1, at.free + 1)
    # Jacobi scaling; the ridge stands for what the data do not tell at all.
    root = hessian.diagonal().clamp(min=1e-300).rsqrt()
    scaled = hessian * root[:, None] * root
    scaled = scaled + 1e-9 * torch.eye(at.free).to(scaled)
    factor, failed = torch.linalg.cholesky_ex(scaled)
    if bool(failed):
        return hessian.new_full((frames,), torch.inf)
    found[:-1, :-1] = torch.cholesky_inverse(factor) * root[:, None] * root
    covariance = found[place[:, :, None], place[:, None]]
    return (torch.linalg.eigvalsh(covariance)[:, -1].clamp(min=0) / INDEPENDENT).sqrt()


def parallax_flag(cameras: Cameras, std: Tensor | None, depth: float) -> list[str]:
    """Say so if the cameras have not moved, or no further than they are uncertain.

    Args:
        cameras: found.
        std: of their positions.
        depth: the median one.
    """
    way = (cameras.position - cameras.position[:1]).norm(dim=1)
    longest = float(way.max()) / depth
    doubt = 0.0 if std is None else float(std.max()) / depth
    if longest > max(LEAST_BASELINE, SURE * doubt):
        return []
    return [
        "no-parallax: as far as can be told the camera stays where it is or only turns (it moves by"
        f" {longest:.2g} median depths, uncertain by {doubt:.2g}); positions mean nothing,"
        " rotations and depths hold"
    ]


def intrinsics_flag(observed: Observations) -> list[str]:
    """Say so if known intrinsics contradict the pointmaps by a factor of focal length."""
    first = observed.pairs[:, 0]
    found, trust = focals(observed.points_own, observed.offset[first], observed.weights_own)
    ratio = found[trust > 0].log().abs().exp()  # known intrinsics make tangents: 1 is right
    worst = float(ratio.median()) if ratio.numel() else 1.0
    if worst < FOCAL_RATIO:
        return []
    return [
        "intrinsics-mismatch: the pointmaps call for a focal length that differs from the known one"
        f" by a factor of {worst:.2f}; is K in the pixels of these images?"
    ]

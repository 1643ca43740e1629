"""The first frame's pointmap, which every pair of a star shares, and the scale of each pair."""

import torch
from torch import Tensor

from jog3r.geometry.pointmaps import weighted_median

ROUNDS = 2
CUT = 3.0
"""Disagreements beyond this many times the median one lose their weight."""


def anchor_scales(points: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Bring several pointmaps of the same pixels to one scale and average them.

    The scale of a pair is the weighted median, over pixels, of the ratio of distances to the common
    pointmap. The common pointmap is the mean of the scaled ones, weighted by confidence and by less
    where a point disagrees with the others.

    Args:
        points: (E, 3, N) pointmaps of the first frame, each at its own scale, float64.
        weights: (E, N), not negative.

    Returns:
        The factors (E,) that bring every pair to the common scale, of geometric mean 1, and the
        common pointmap (3, N).
    """
    distance = length(points).clamp(min=1e-300)
    common = distance[int(weights.sum(dim=1).argmax())]
    scales, mean = torch.ones_like(weights[:, 0]), points[0]
    for _ in range(ROUNDS):
        log_scale = weighted_median((common.clamp(min=1e-300) / distance).log(), weights)
        scales = (log_scale - log_scale.mean()).exp()
        scaled = scales[:, None, None] * points
        mean = _mean(scaled, weights)
        error = length(scaled - mean) / length(mean).clamp(min=1e-300)
        typical = error.median().clamp(min=1e-9)
        mean = _mean(scaled, weights / (1.0 + (error / (CUT * typical)).square()))
        common = length(mean)
    return scales, mean


def length(vectors: Tensor) -> Tensor:
    """Return the length of vectors (*b, 3, N); several times faster than torch's norm there."""
    return vectors.square().sum(dim=-2).sqrt()


def _mean(points: Tensor, weights: Tensor) -> Tensor:
    # A pixel without any weight still gets a point: the plain mean.
    weights = torch.where(weights.sum(dim=0) > 0, weights, 1.0)
    return (weights[:, None] * points).sum(dim=0) / weights.sum(dim=0)

"""The objective of refinement: its data terms, built at the cameras to begin with."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jog3r.alignment.agreement import Agreement, changes, products
from jog3r.alignment.observations import Observations
from jog3r.alignment.regularisers import Temporal
from jog3r.alignment.reprojection import OwnReprojection, Reprojection
from jog3r.alignment.robust import NORMAL, noise_level
from jog3r.alignment.unknowns import Cameras

NEAREST = 1e-6
"""Smallest distance of a point, relative to its pointmap's median, that errors are divided by."""
NOISIER = 3.0
"""A pointmap more than this many times noisier than the median one is taken to be noisier."""
DEEPEST_FALL = 1e-3
"""No depth is taken for less than this share of the start's."""


@dataclass(frozen=True)
class Objective:
    """Reprojection, agreement of depths and regularisers.

    Args:
        observed: what they are about.
        other: reprojection of the other pointmaps.
        own: that of the own ones; None where the focal lengths are known.
        agreement: of the depths of the own pointmaps, then the other ones.
        temporal: the regularisers; None where all are off.
    """

    observed: Observations
    other: Reprojection
    own: OwnReprojection | None
    agreement: Agreement
    temporal: Temporal | None

    def with_noise_at(self, cameras: Cameras) -> "Objective":
        """Measure the noise: that of the typical pointmap, for each term."""
        first, second = self.observed.pairs.unbind(dim=1)
        moved = moved_points(self.observed, cameras)
        error = self.other.errors(moved, cameras.inverse_focal[second])
        other = replace(self.other, noise=_typical(_length_noise(error, self.other.weights)))
        own = self.own
        if own is not None:
            error = own.errors(cameras.inverse_focal[first])
            own = replace(own, noise=_typical(_length_noise(error, own.weights)))
        return replace(
            self,
            other=other,
            own=own,
            agreement=_with_noise_at(self.agreement, moved, self.observed, cameras),
        )


def objective(
    observed: Observations, cameras: Cameras, temporal: Temporal | None, *, focal_known: bool
) -> Objective:
    """Build the terms at the cameras to begin with, where points behind lose their weight."""
    first, second = observed.pairs.unbind(dim=1)
    points = torch.cat([observed.points_own, moved_points(observed, cameras)])
    frame = observed.pairs.T.flatten()
    front = points[:, 2] > 0
    weights = torch.cat([observed.weights_own, observed.weights_other])
    weights = torch.where(front, weights, 0.0)
    distance = points.square().sum(dim=1).sqrt()
    nearest = NEAREST * distance.median(dim=1, keepdim=True).values
    inverse_own, inverse_other = (1.0 / torch.maximum(distance, nearest)).chunk(2)
    weights_own, weights_other = weights.chunk(2)
    other = Reprojection(
        points=observed.points_other,
        offset=observed.offset[second],
        inverse_distance=inverse_other,
        weights=_per_frame(weights_other, second, observed.frames),
        noise=torch.ones_like(cameras.log_scale),
    )
    own = OwnReprojection(
        across=observed.points_own[:, :2] * inverse_own[:, None],
        ahead=observed.offset[first] * (observed.points_own[:, 2] * inverse_own)[:, None],
        weights=_per_frame(weights_own, first, observed.frames),
        noise=other.noise,
    )
    several = torch.bincount(frame, minlength=observed.frames)[frame] > 1  # one agrees with itself
    weights = _per_frame(weights * several[:, None], frame, observed.frames)
    agreement = _agreement(points, weights, observed, cameras)
    terms = Objective(observed, other, None if focal_known else own, agreement, temporal)
    return terms.with_noise_at(cameras)


def moved_points(observed: Observations, cameras: Cameras) -> Tensor:
    """Return the other points (E, 3, S) in camera j's frame, at their pair's scale."""
    rotation, shift = cameras.other_from_own(observed.pairs)
    return rotation @ observed.points_other + shift[..., None]


def _agreement(
    points: Tensor, weights: Tensor, observed: Observations, cameras: Cameras
) -> Agreement:
    scale = cameras.log_scale.exp().repeat(2)
    ahead = torch.where(points[:, 2] > 0, points[:, 2], points[:, 2].abs().median())
    depth = scale[:, None] * ahead
    return Agreement(
        frame=observed.pairs.T.flatten(),
        frames=observed.frames,
        weights=weights,
        least=DEEPEST_FALL * depth,
        features=products(changes(points[:, :2] / ahead[:, None], depth)),
        noise=torch.ones_like(scale),
    )


def _with_noise_at(
    term: Agreement, moved: Tensor, observed: Observations, cameras: Cameras
) -> Agreement:
    depths = torch.cat([observed.points_own[:, 2], moved[:, 2]])
    log_depths = term.log_depths(depths, cameras.log_scale)
    error = (log_depths - term.common(log_depths, term.weights)).abs()
    noise = noise_level(error, term.weights, NORMAL)
    several = term.weights.sum(dim=1) > 0
    typical = noise[several].median() if bool(several.any()) else noise.median()
    return replace(term, noise=typical.expand(len(noise)))


def _typical(noise: Tensor) -> Tensor:
    """Level the noise of pointmaps: the median, but more where one is far noisier.

    Else a camera that starts far off would look like nothing but outliers. At the start pointmaps
    agree by chance with the cameras that were made from them, so their own noise is no measure.
    """
    median = noise.median()
    return torch.where(noise > NOISIER * median, noise, median)


def _length_noise(error: Tensor, weights: Tensor) -> Tensor:
    """Return the noise of each pointmap, given errors (E, 2, S)."""
    return noise_level(error.square().sum(dim=1).sqrt(), weights)


def _per_frame(weights: Tensor, frame: Tensor, frames: int) -> Tensor:
    """Make the weights of each frame sum to one."""
    total = weights.new_zeros(frames).index_add_(0, frame, weights.sum(dim=1))
    return weights / total.clamp(min=1e-300)[frame, None]

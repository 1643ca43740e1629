"""How well the depths agree that different pairs give to the same pixels of a frame.

Every pointmap of a frame gives its pixels a depth. Their logarithms differ from that of the common
depth, which is eliminated, by an error whose Cauchy function is the cost.

Shapes: M = 2 E pointmaps, the own ones of all pairs, then the other ones; S pixels of each.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from jog3r.alignment.robust import cauchy

SYMMETRIC = torch.tensor([[0, 1, 2, 3], [1, 4, 5, 6], [2, 5, 7, 8], [3, 6, 8, 9]])
"""Where entry (i, j) of a symmetric 4x4 matrix sits among its ten numbers."""


@dataclass(frozen=True)
class Agreement:
    """The term.

    Args:
        frame: (M) whose pixels they are.
        frames: how many there are.
        weights: (M, S), summing to one in each frame.
        least: (M, S) smallest depth that is believed.
        features: (M, 10, S) products of `changes` at the start.
        noise: (M) standard deviation.
    """

    frame: Tensor
    frames: int
    weights: Tensor
    least: Tensor
    features: Tensor
    noise: Tensor

    def log_depths(self, depths: Tensor, log_scale: Tensor) -> Tensor:
        """Return the logarithm (M, S), at the common scale, of depths at their pairs' scales."""
        return torch.maximum(depths * log_scale.exp().repeat(2)[:, None], self.least).log()

    def common(self, log_depths: Tensor, weights: Tensor) -> Tensor:
        """Return the weighted mean (M, S) in each frame's pixels."""
        total = self._sums(weights).clamp(min=1e-300)
        return (self._sums(weights * log_depths) / total)[self.frame]

    def cost(self, log_depths: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cost, the common depth being that of the last weights, and new weights."""
        error = log_depths - self.common(log_depths, weights)
        cost, weight = cauchy(error.square(), self.noise)
        return (self.weights * cost).sum(), self.weights * weight

    def grams(self, weights: Tensor) -> Tensor:
        """Return the weighted products (M, 4, 4) of the four changes."""
        sums = (self.features @ weights[..., None])[..., 0]
        return sums[:, SYMMETRIC.to(sums.device)]

    def _sums(self, values: Tensor) -> Tensor:
        return values.new_zeros(self.frames, values.shape[1]).index_add_(0, self.frame, values)


def changes(tangent: Tensor, depth: Tensor) -> Tensor:
    """Return the four ways (M, 4, S) in which cameras and scales change the log of a depth.

    By x/z and y/z where the camera turns, by 1 where the pair's scale changes, and by 1/depth where
    the camera moves ahead.
    """
    inverse = 1.0 / depth
    return torch.stack([*tangent.unbind(dim=1), torch.ones_like(inverse), inverse], dim=1)


def products(features: Tensor) -> Tensor:
    """Return the ten products (M, 10, S) of four features."""
    row, column = torch.triu_indices(4, 4, device=features.device)
    return features[:, row] * features[:, column]

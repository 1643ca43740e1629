"""How well cameras explain the pointmaps by their pixels, the depths eliminated.

The error of a point is its distance from its pixel's ray, divided by its distance from the start's
camera: about an angle. The divisor stays fixed: a divisor that moved with the camera could be made
large by moving the camera back, which pulls focal length and path away from the truth as soon as
the points are noisy. A frame's cost is the weighted mean over its pixels of Cauchy's function of
the error in units of the noise.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from jog3r.alignment.robust import cauchy


@dataclass(frozen=True)
class Reprojection:
    """The term of the other pointmaps, which cameras have to move onto their pixels' rays.

    Args:
        points: (E, 3, S) in camera i's frame.
        offset: (E, 2, S) of their pixels.
        inverse_distance: (E, S) one over the distance from the start's camera.
        weights: (E, S).
        noise: (E) standard deviation of the error per axis.
    """

    points: Tensor
    offset: Tensor
    inverse_distance: Tensor
    weights: Tensor
    noise: Tensor

    def errors(self, moved: Tensor, inverse_focal: Tensor) -> Tensor:
        """Return the errors (E, 2, S) of points (E, 3, S) in camera j's frame."""
        ahead = inverse_focal[:, None] * moved[:, 2]
        return (moved[:, :2] - self.offset * ahead[:, None]) * self.inverse_distance[:, None]

    def normal_equations(
        self, moved: Tensor, inverse_focal: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the cost, half the Gauss-Newton Hessian (E, 7, 7) and half the gradient (E, 7).

        The unknowns of a pair: turn and shift of the points in camera j's frame, and the logarithm
        of that camera's focal length.
        """
        error = self.errors(moved, inverse_focal)
        cost, weight = cauchy(error.square().sum(dim=1), self.noise)
        jacobian = self._jacobian(moved, inverse_focal)
        weighted = jacobian * (weight * self.weights)[:, None, None]
        jacobian, weighted = jacobian.flatten(2), weighted.flatten(2)
        gradient = weighted @ error.flatten(1)[..., None]
        return (self.weights * cost).sum(), weighted @ jacobian.mT, gradient[..., 0]

    def _jacobian(self, moved: Tensor, inverse_focal: Tensor) -> Tensor:
        """Return the derivatives (E, 7, 2, S) of the errors."""
        x, y, z = (moved * self.inverse_distance[:, None]).unbind(dim=1)
        u, v = (inverse_focal[:, None, None] * self.offset).unbind(dim=1)
        one, none = self.inverse_distance, torch.zeros_like(x)
        rows = [-u * y, -z - v * y, z + u * x, v * x, -y, x]
        rows += [one, none, none, one, -u * one, -v * one, u * z, v * z]
        return torch.stack(rows, dim=1).unflatten(1, (7, 2))


@dataclass(frozen=True)
class OwnReprojection:
    """The term of the own pointmaps, which only the focal length can move.

    Args:
        across: (E, 2, S) x and y over the distance.
        ahead: (E, 2, S) the pixel's offset times z over the distance.
        weights: (E, S).
        noise: (E).
    """

    across: Tensor
    ahead: Tensor
    weights: Tensor
    noise: Tensor

    def errors(self, inverse_focal: Tensor) -> Tensor:
        """Return the errors (E, 2, S)."""
        return self.across - inverse_focal[:, None, None] * self.ahead

    def normal_equations(self, inverse_focal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the cost, half the Hessian (E) and gradient (E) by the log focal length."""
        error = self.errors(inverse_focal)
        cost, weight = cauchy(error.square().sum(dim=1), self.noise)
        by_focal = inverse_focal[:, None, None] * self.ahead
        weighted = by_focal * (weight * self.weights)[:, None]
        hessian, gradient = (
            (weighted * by_focal).sum(dim=(1, 2)),
            (weighted * error).sum(dim=(1, 2)),
        )
        return (self.weights * cost).sum(), hessian, gradient

"""Second-order refinement of all cameras of a star: robust pinhole fit plus regularisers."""

import math
from dataclasses import dataclass
from typing import Literal

import roma
import torch
from torch import Tensor

from jog3r.alignment.regularisers import Temporal
from jog3r.alignment.resection import CUT

MAX_STEPS = 20
DAMPING_TRIES = 8
TOLERANCE = 1e-5
"""Stop when a step lowers the objective by less than this share."""

FOCAL_RANGE = 4.0
"""A focal length may leave its start by this factor: points that call for more are no pinhole's."""

FocalMode = Literal["known", "shared", "each"]


@dataclass(frozen=True)
class Pinholes:
    """Cameras being refined: world_from_camera as rotation (T, 3, 3) and position (T, 3).

    `inverse_focal` (T) is in 1/px, or 1 where the intrinsics are known and pixels are given as
    tangents.
    """

    rotation: Tensor
    position: Tensor
    inverse_focal: Tensor

    def moved(self, step: Tensor) -> "Pinholes":
        """Apply a step (T, 7): turn, shift in the world, logarithm of the focal length."""
        return Pinholes(
            self.rotation @ roma.rotvec_to_rotmat(step[:, :3]),
            self.position + step[:, 3:6],
            self.inverse_focal * torch.exp(-step[:, 6]),
        )


@dataclass(frozen=True)
class PinholeFit:
    """How well cameras explain points by their pixels, the depths eliminated.

    The error of a point is its distance from its pixel's ray, divided by its distance from the
    start's camera: an angle. The divisor stays fixed: a divisor that moved with the camera could be
    made large by moving the camera back, which pulls focal length and path away from the truth as
    soon as the points are noisy. A frame's cost is the weighted mean over its pixels of the Cauchy
    function of the error in units of the frame's noise.

    Args:
        points: (T, 3, N) in the world.
        direction: (T, 2, N) unit vectors in the image, from the principal point to the pixel.
        radius: (T, N) length of that way, in the unit of 1 / inverse_focal.
        inverse_distance: (T, N) one over the distance from the start's camera.
        weights: (T, N), summing to 1 in each frame.
        noise: (T) standard deviation of the error per axis.
    """

    points: Tensor
    direction: Tensor
    radius: Tensor
    inverse_distance: Tensor
    weights: Tensor
    noise: Tensor

    def errors(self, cameras: Pinholes) -> tuple[Tensor, Tensor]:
        """Return the error along the image radius and around it, each (T, N)."""
        radial, around, _, _, _ = self._in_rays(cameras)
        return radial, around

    def cost(self, cameras: Pinholes) -> float:
        """Return the sum of the frames' costs."""
        radial, around = self.errors(cameras)
        scaled = (radial.square() + around.square()) / (CUT * self.noise[:, None]).square()
        return float(CUT**2 * (self.weights * torch.log1p(scaled)).sum())

    def normal_equations(self, cameras: Pinholes) -> tuple[Tensor, Tensor]:
        """Return half the Gauss-Newton Hessian (T, 7, 7) and half the gradient (T, 7)."""
        radial, around, points, sin, cos = self._in_rays(cameras)
        scaled = (radial.square() + around.square()) / (CUT * self.noise[:, None]).square()
        weight = self.weights / (1 + scaled) / self.noise[:, None].square()
        hessian, gradient = 0.0, 0.0
        for error, jacobian in zip(
            (radial, around), self._jacobians(points, sin, cos), strict=True
        ):
            weighted = jacobian * weight[:, None]
            hessian = hessian + weighted @ jacobian.transpose(1, 2)
            gradient = gradient + weighted @ error[..., None]
        # The shift was taken in the camera's axes; its unknowns are in the world's.
        turn = torch.eye(7, dtype=radial.dtype, device=radial.device).repeat(len(radial), 1, 1)
        turn[:, 3:6, 3:6] = cameras.rotation
        return turn @ hessian @ turn.transpose(1, 2), (turn @ gradient)[..., 0]

    def _in_rays(self, cameras: Pinholes) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        shifted = self.points - cameras.position[..., None]
        points = cameras.rotation.transpose(1, 2) @ shifted * self.inverse_distance[:, None]
        tangent = cameras.inverse_focal[:, None] * self.radius
        cos = (1 + tangent.square()).rsqrt()
        sin = tangent * cos
        (x, y, z), (ux, uy) = points.unbind(dim=1), self.direction.unbind(dim=1)
        return cos * (ux * x + uy * y) - sin * z, ux * y - uy * x, points, sin, cos

    def _jacobians(self, points: Tensor, sin: Tensor, cos: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivatives (T, 7, N) of the radial errors and of those around."""
        (x, y, z), (ux, uy) = points.unbind(dim=1), self.direction.unbind(dim=1)
        ax, ay, inverse, none = cos * ux, cos * uy, self.inverse_distance, torch.zeros_like(x)
        along = sin * (ux * x + uy * y) + cos * z
        radial = [ay * z + sin * y, -sin * x - ax * z, ax * y - ay * x]
        radial += [-ax * inverse, -ay * inverse, sin * inverse, along * sin * cos]
        around = [ux * z, uy * z, -uy * y - ux * x, uy * inverse, -ux * inverse, none, none]
        return torch.stack(radial, dim=1), torch.stack(around, dim=1)


def refine(fit: PinholeFit, temporal: Temporal, start: Pinholes, focal: FocalMode) -> Pinholes:
    """Minimise fit and regularisers by Levenberg-Marquardt; the first camera stays where it is.

    Only steps that lower the objective are taken, so the result is never worse than the start.

    Args:
        fit: the data.
        temporal: the regularisers.
        start: cameras to begin with.
        focal: "known" (kept), "shared" by all frames, or "each" frame its own.
    """
    cameras, damping = start, 1e-6
    cost = _objective(fit, temporal, cameras)
    free = _free_unknowns(start.position.shape[0], focal).to(start.position)
    for _ in range(MAX_STEPS):
        hessian, gradient = _system(fit, temporal, cameras, free)
        before = cost
        for _ in range(DAMPING_TRIES):
            damped = hessian + torch.diag(damping * hessian.diagonal() + 1e-300)
            step = (free @ torch.linalg.solve(damped, -gradient)).reshape(-1, 7)
            trial = cameras.moved(step)
            trial_cost = _objective(fit, temporal, trial)
            change = (trial.inverse_focal / start.inverse_focal).log().abs().max()
            if trial_cost < cost and float(change) < math.log(FOCAL_RANGE):
                cameras, cost, damping = trial, trial_cost, max(damping / 10, 1e-9)
                break
            damping = max(10 * damping, 1e-6)
        if before - cost <= TOLERANCE * before:
            break
    return cameras


def _objective(fit: PinholeFit, temporal: Temporal, cameras: Pinholes) -> float:
    residual, _ = temporal.terms(cameras.rotation, cameras.position, -cameras.inverse_focal.log())
    return fit.cost(cameras) + float(residual.square().sum())


def _system(
    fit: PinholeFit, temporal: Temporal, cameras: Pinholes, free: Tensor
) -> tuple[Tensor, Tensor]:
    blocks, gradient = fit.normal_equations(cameras)
    residual, jacobian = temporal.terms(
        cameras.rotation, cameras.position, -cameras.inverse_focal.log()
    )
    hessian = torch.block_diag(*blocks) + jacobian.T @ jacobian
    gradient = gradient.flatten() + jacobian.T @ residual
    return free.T @ hessian @ free, free.T @ gradient


def _free_unknowns(frames: int, focal: FocalMode) -> Tensor:
    """Return the matrix (7 T, n) that spreads the free unknowns over all of them."""
    every = torch.eye(7 * frames).reshape(frames, 7, 7 * frames)
    columns = [every[1:, :6].flatten(0, 1).T]
    if focal == "shared":
        columns.append(every[:, 6].sum(dim=0)[:, None])
    elif focal == "each":
        columns.append(every[:, 6].T)
    return torch.cat(columns, dim=1)

"""The pose of a camera from its pixels and the 3D points seen in them, in closed form.

A batch of cameras, each with thousands of pixels. The squared distances of the points to their
pixels' rays are a quadratic form of the nine entries of the rotation once the translation has been
eliminated, so the pixels are visited once and what follows works on 9x9 matrices: candidates from
the null space and from the rays, polished by Gauss-Newton on the rotation group. Repeated with
robust weights; no sampling, so the result is deterministic.
"""

import roma
import torch
from torch import Tensor

from jog3r.alignment.robust import CUT, noise_level
from jog3r.geometry.transforms import rigid

POLISH_STEPS = (6, 2, 2, 2)
"""Steps on the rotation group at each re-weighting."""
NULL_VECTORS = 3
"""Candidates are taken from this many eigenvectors: three span the solutions of a flat scene."""
SYMMETRIC = torch.tensor([[0, 1, 2], [1, 3, 4], [2, 4, 5]])
"""Where entry (i, j) of a symmetric 3x3 matrix sits in its six-vector (00, 01, 02, 11, 12, 22)."""


def resect(points: Tensor, rays: Tensor, weights: Tensor) -> Tensor:
    """Return camera_from_world (F, 4, 4) of each camera.

    Minimises the robust, weighted sum of squared distances between the points and their pixels'
    rays, relative to the points' distance from the camera.

    Args:
        points: (F, 3, N) in the world, float64.
        rays: (F, 3, N) unit vectors through the pixels, in the camera's frame.
        weights: (F, N), not negative.

    Source: own derivation; the elimination of the translation is that of orthogonal iteration (Lu,
        Hager, Mjolsness 2000), the form in nine entries that of SQPnP (Terzakis, Lourakis 2020).
    """
    rays_six, points_ten = _projectors(rays), _monomials(points)
    distance = length(points)
    rotation = (rays * (weights * distance)[:, None]) @ points.transpose(1, 2)
    robust, translation = weights, torch.zeros_like(points[..., 0])
    for attempt, steps in enumerate(POLISH_STEPS):
        relative = robust / distance.square().clamp(min=1e-300)
        form, shift, centre = _quadratic_form(rays_six * relative[:, None], points_ten)
        starts = _candidates(form, rotation) if attempt == 0 else rotation[:, None]
        rotation, translation = _minimise(form, shift, centre, starts, steps)
        moved = rotation @ points + translation[..., None]
        distance = length(moved)
        along = (rays * moved).sum(dim=1)
        error = (1 - (along / distance.clamp(min=1e-300)).square()).clamp(min=0).sqrt()
        error = torch.where(along > 0, error, 1.0)
        robust = weights * _robust_weight(error, noise_level(error, weights))
    return rigid(rotation, translation)


def length(vectors: Tensor) -> Tensor:
    """Return the length of vectors (*b, 3, N); several times faster than torch's norm there."""
    return vectors.square().sum(dim=-2).sqrt()


def _robust_weight(error: Tensor, noise: Tensor) -> Tensor:
    """Return the Cauchy weight of errors (F, N) given the noise level (F,)."""
    return 1.0 / (1.0 + (error / (CUT * noise[:, None])).square())


def _projectors(rays: Tensor) -> Tensor:
    """Return the projector across each unit ray, I - v v^T, as six numbers: (F, 6, N)."""
    x, y, z = rays.unbind(dim=1)
    return torch.stack([1 - x * x, -x * y, -x * z, 1 - y * y, -y * z, 1 - z * z], dim=1)


def _monomials(points: Tensor) -> Tensor:
    """Return 1, the coordinates and their products for each point: (F, 10, N)."""
    x, y, z = points.unbind(dim=1)
    products = [x * x, x * y, x * z, y * y, y * z, z * z]
    return torch.stack([torch.ones_like(x), x, y, z, *products], dim=1)


def _quadratic_form(projectors: Tensor, monomials: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Write sum_n |P_n (R Y_n + t)|^2, minimised over t, as r^T form r, r the rows of R.

    Args:
        projectors: (F, 6, N) weighted P.
        monomials: (F, 10, N) of the points Y.

    Returns:
        form (F, 9, 9); shift (F, 3, 9), the best translation being shift @ r; the weighted centre
        of the points (F, 3).
    """
    cameras = projectors.shape[0]
    sums = projectors @ monomials.transpose(1, 2)  # (F, 6, 10)
    spread = sums[:, SYMMETRIC.to(sums.device)]  # (F, 3, 3, 10)
    total, mixed = spread[..., 0], spread[..., 1:4].reshape(cameras, 3, 9)
    moment = spread[..., 4 + SYMMETRIC.to(sums.device)]  # (F, i, j, a, b)
    shift = -torch.linalg.solve(total, mixed)
    form = moment.permute(0, 1, 3, 2, 4).reshape(cameras, 9, 9) + mixed.transpose(1, 2) @ shift
    trace = sums[:, [0, 3, 5]].sum(dim=1)
    return (form + form.transpose(1, 2)) / 2, shift, trace[:, 1:4] / trace[:, :1]


def _candidates(form: Tensor, first: Tensor) -> Tensor:
    """Return rotations (F, C, 3, 3) near the given matrices and those of the null space."""
    vectors = torch.linalg.eigh(form).eigenvectors[..., :NULL_VECTORS]
    matrices = vectors.transpose(1, 2).unflatten(-1, (3, 3))
    return _nearest_rotation(torch.cat([first[:, None], matrices, -matrices], dim=1))


def _minimise(
    form: Tensor, shift: Tensor, centre: Tensor, starts: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Polish every start (F, C, 3, 3); return the best rotation that sees the points ahead."""
    rotation, form = starts, form[:, None]
    eye = torch.eye(3, dtype=form.dtype, device=form.device)
    generators = torch.linalg.cross(eye[:, None].expand(3, 3, 3), eye.expand(3, 3, 3))
    generators = generators.transpose(1, 2)
    for _ in range(steps):
        turn = (generators @ rotation[..., None, :, :]).flatten(3)  # (F, C, 3, 9)
        bent = turn @ form
        gradient, hessian = bent @ rotation.flatten(2)[..., None], bent @ turn.transpose(-1, -2)
        damping = 1e-12 * hessian.diagonal(dim1=-2, dim2=-1).sum(dim=-1) + 1e-300
        step = torch.linalg.solve(hessian + damping[..., None, None] * eye, gradient)
        rotation = _turn(-step[..., 0]) @ rotation
    rows = rotation.flatten(2)[..., None]
    cost = (rows.transpose(-1, -2) @ form @ rows)[..., 0, 0]
    translation = (shift[:, None] @ rows)[..., 0]
    ahead = (rotation @ centre[:, None, :, None])[..., 2, 0] + translation[..., 2] > 0
    best = torch.where(ahead, cost, torch.inf).argmin(dim=1)
    camera = torch.arange(best.shape[0], device=best.device)
    return rotation[camera, best], translation[camera, best]


def _turn(vector: Tensor) -> Tensor:
    """Return rotations that equal those of rotation vectors to second order; cheaper."""
    half = torch.nn.functional.pad(vector / 2, (0, 1), value=1.0)
    return roma.unitquat_to_rotmat(half * half.square().sum(dim=-1, keepdim=True).rsqrt())


def _nearest_rotation(matrix: Tensor) -> Tensor:
    found = roma.special_procrustes(matrix)
    assert isinstance(found, Tensor)  # a tuple only where its inner workings are asked for
    return found

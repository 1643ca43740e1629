"""The linear system of a step: half of the Gauss-Newton Hessian and of the gradient.

Each pair has 14 local unknowns: turn and shift of camera i, turn and shift of camera j, the
logarithm of the pair's scale, and that of camera j's focal length. Its terms depend on them through
seven numbers (turn and shift of the points in camera j's frame, focal length) and through the four
in which a depth's logarithm changes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from jog3r.alignment.objective import Objective
from jog3r.alignment.unknowns import FOCAL, Cameras, Layout

LOCAL = 14
TURN_I, SHIFT_I, TURN_J, SHIFT_J = slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 12)
SCALE, FOCAL_J = 12, 13
JITTER = 1e-12
"""Relative stiffness added to the eliminated depths: a flat scene makes their changes dependent."""


@dataclass(frozen=True)
class System:
    """Cost, Hessian (n, n) and gradient (n) at some cameras.

    `data_hessian` is without the regularisers. `depth_weights` (M, S) are the robust weights of the
    depths, by which the common depth of the next step is taken.
    """

    cost: float
    hessian: Tensor
    data_hessian: Tensor
    gradient: Tensor
    depth_weights: Tensor


def system(terms: Objective, cameras: Cameras, at: Layout, depth_weights: Tensor) -> System:
    """Build the system.

    The Hessian of the depths' agreement is an upper bound: the common depth is allowed to follow
    only in the four ways in which cameras change it. The gradient is exact.

    Args:
        terms: the objective.
        cameras: where.
        at: places of the unknowns.
        depth_weights: of the depths, from the step before.
    """
    first, second = terms.observed.pairs.unbind(dim=1)
    rotation, shift = cameras.other_from_own(terms.observed.pairs)
    moved = rotation @ terms.observed.points_other + shift[..., None]
    by_twist = _twists(cameras, rotation, shift, second)
    by_depth = _depth_changes(cameras, by_twist)
    cost, block, slope = terms.other.normal_equations(moved, cameras.inverse_focal[second])
    block = by_twist.mT @ block @ by_twist
    slope = by_twist.mT @ slope[..., None]

    depths = torch.cat([terms.observed.points_own[:, 2], moved[:, 2]])
    log_depths = terms.agreement.log_depths(depths, cameras.log_scale)
    cost_depths, weights = terms.agreement.cost(log_depths, depth_weights)
    pull = weights * (log_depths - terms.agreement.common(log_depths, weights))
    grams_own, grams_other = (grams := terms.agreement.grams(weights)).chunk(2)
    pull_own, pull_other = pull.chunk(2)
    mixed = grams_other @ by_depth
    block = block + by_depth.mT @ mixed
    slope = slope + by_depth.mT @ _depth_slope(pull_other, moved, cameras)[..., None]

    place = _places(at, first, second)
    hessian, gradient = at.square(), at.zeros()
    at.add_blocks(hessian, place, block)
    gradient.index_add_(0, place.flatten(), slope.flatten())
    at.add_diagonal(hessian, at.of_pair, grams_own[:, 2, 2])
    gradient.index_add_(0, at.of_pair, pull_own.sum(dim=1))
    cost = cost + cost_depths
    if terms.own is not None:
        cost_own, curve, slope = terms.own.normal_equations(cameras.inverse_focal[first])
        at.add_diagonal(hessian, at.of_frame[first, FOCAL], curve)
        gradient.index_add_(0, at.of_frame[first, FOCAL], slope)
        cost = cost + cost_own
    hessian = hessian - _eliminated(terms, at, grams, mixed, place)
    data_hessian = hessian
    if terms.temporal is not None:
        residual, jacobian = terms.temporal.terms(
            cameras.rotation, cameras.position, -cameras.inverse_focal.log()
        )
        rows = at.zeros(len(residual)).index_add_(1, at.of_frame.flatten(), jacobian)
        hessian, gradient = hessian + rows.T @ rows, gradient + rows.T @ residual
        cost = cost + residual.square().sum()
    return System(float(cost), hessian[:-1, :-1], data_hessian[:-1, :-1], gradient[:-1], weights)


def _twists(cameras: Cameras, rotation: Tensor, shift: Tensor, second: Tensor) -> Tensor:
    """Return the derivatives (E, 7, 14) of turn and shift in camera j's frame, and its focal."""
    found = rotation.new_zeros(len(rotation), 7, LOCAL)
    found[:, :3, TURN_I] = rotation
    found[:, :3, TURN_J] = -torch.eye(3).to(rotation)
    found[:, 3:6, TURN_I] = torch.linalg.cross(
        shift[..., None].expand_as(rotation), rotation, dim=1
    )
    found[:, 3:6, SHIFT_I] = cameras.rotation[second].mT / cameras.log_scale.exp()[:, None, None]
    found[:, 3:6, SHIFT_J] = -found[:, 3:6, SHIFT_I]
    found[:, 3:6, SCALE] = -shift
    found[:, 6, FOCAL_J] = 1.0
    return found


def _depth_changes(cameras: Cameras, by_twist: Tensor) -> Tensor:
    """Return the derivatives (E, 4, 14) of the amounts of `agreement.changes`."""
    ahead = cameras.log_scale.exp()[:, None] * by_twist[:, 5]
    scale = torch.zeros_like(ahead)
    scale[:, SCALE] = 1.0
    return torch.stack([-by_twist[:, 1], by_twist[:, 0], scale, ahead], dim=1)


def _depth_slope(pull: Tensor, moved: Tensor, cameras: Cameras) -> Tensor:
    """Return the gradient (E, 4) by the amounts of `agreement.changes`."""
    x, y, z = moved.unbind(dim=1)
    inverse = torch.where(z > 0, pull / z, 0.0)
    parts = [inverse * x, inverse * y, pull, inverse / cameras.log_scale.exp()[:, None]]
    return torch.stack(parts, dim=1).sum(dim=2)


def _places(at: Layout, first: Tensor, second: Tensor) -> Tensor:
    """Return where the local unknowns of each pair stand, (E, 14)."""
    i, j = at.of_frame[first], at.of_frame[second]
    return torch.cat([i[:, :FOCAL], j[:, :FOCAL], at.of_pair[:, None], j[:, FOCAL:]], dim=1)


def _eliminated(
    terms: Objective, at: Layout, grams: Tensor, mixed: Tensor, place: Tensor
) -> Tensor:
    """Return what the Hessian loses because the common depths follow, (n, n)."""
    frame, frames = terms.agreement.frame, terms.agreement.frames
    total = grams.new_zeros(frames, 4, 4).index_add_(0, frame, grams)
    stiffness = JITTER * total.diagonal(dim1=1, dim2=2) + 1e-300
    factor, _ = torch.linalg.cholesky_ex(total + torch.diag_embed(stiffness))
    first, second = frame.chunk(2)
    rows = at.zeros(4 * frames)
    four = torch.arange(4, device=frame.device)
    at.add_entries(rows, (4 * second[:, None] + four)[:, :, None], place[:, None], mixed)
    at.add_entries(rows, 4 * first[:, None] + four, at.of_pair[:, None], grams.chunk(2)[0][:, :, 2])
    rows = torch.linalg.solve_triangular(factor, rows.unflatten(0, (frames, 4)), upper=False)
    return rows.flatten(0, 1).T @ rows.flatten(0, 1)

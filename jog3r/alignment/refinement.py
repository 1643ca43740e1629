"""Second-order refinement of all cameras and pair scales at once.

Levenberg-Marquardt, the robust weights renewed at every step. The depths are no unknowns:
reprojection does not know them, and their agreement eliminates them.
"""

import math
from dataclasses import dataclass

import torch

from jog3r.alignment.objective import Objective
from jog3r.alignment.system import System, system
from jog3r.alignment.unknowns import Cameras, Layout

MAX_STEPS = 20
TOLERANCE = 5e-4
"""Stop when a step lowers the objective by less than this share."""
LEAST_DAMPING, FIRST_DAMPING, MOST_DAMPING = 1e-9, 1e-6, 1e6
FOCAL_RANGE = 4.0
"""A focal length may leave its start by this factor: points that call for more are no pinhole's."""


@dataclass(frozen=True)
class Refined:
    """What refinement found: cameras, and the system there."""

    cameras: Cameras
    system: System


def refine(terms: Objective, start: Cameras, at: Layout) -> Refined:
    """Minimise the objective; only steps that lower it are taken.

    Args:
        terms: the objective.
        start: cameras to begin with.
        at: places of the unknowns.
    """
    found = Refined(start, system(terms, start, at, terms.agreement.weights))
    damping = FIRST_DAMPING
    for _ in range(MAX_STEPS if at.free else 0):
        step = None
        while step is None and damping < MOST_DAMPING:
            step = _step(terms, found, start, at, damping)
            damping = max(damping / 10, LEAST_DAMPING) if step else max(10 * damping, FIRST_DAMPING)
        if step is None:
            break
        gain, found = found.system.cost - step.system.cost, step
        if gain <= TOLERANCE * found.system.cost:
            break
    return found


def _step(
    terms: Objective, found: Refined, start: Cameras, at: Layout, damping: float
) -> Refined | None:
    """Return what a step leads to, None if it does not lower the objective."""
    hessian = found.system.hessian
    damped = hessian + torch.diag(damping * hessian.diagonal() + 1e-300)
    factor, failed = torch.linalg.cholesky_ex(damped)
    if bool(failed):
        return None
    step = -torch.cholesky_solve(found.system.gradient[:, None], factor)[:, 0]
    cameras = found.cameras.moved(*at.split(step))
    change = (cameras.inverse_focal / start.inverse_focal).log().abs().max()
    if not float(change) < math.log(FOCAL_RANGE):
        return None
    there = system(terms, cameras, at, found.system.depth_weights)
    return Refined(cameras, there) if there.cost < found.system.cost else None

"""Averaging of similarities over a graph of windows: chains, loops and fixed points agree."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jog3r.alignment.similarities import (
    adjoint,
    compose,
    from_vector,
    inverse,
    member,
    to_vector,
)
from jog3r.geometry import Similarity

MAX_STEPS = 30
TOLERANCE = 1e-9
"""Stop when a step lowers the objective by less than this share."""

LOOP_CUT = 3.0
"""A loop that disagrees by this many times the middle one's disagreement counts half. With fewer
than three loops none can be told to be the wrong one."""
ROUNDS = 5


@dataclass(frozen=True)
class Edge:
    """One measurement between two windows, or between the world and a window.

    Args:
        a: number of a window, or None for the world.
        b: number of a window.
        a_from_b: the measurement.
        length: typical distance in b, that shifts are divided by.
        weights: (7) one over the standard deviation of turn [rad], shift [lengths] and
            logarithm of the scale; 0 where nothing was measured.
        loop: whether it joins windows that are no neighbours, and so may be wrong altogether.
    """

    a: int | None
    b: int
    a_from_b: Similarity
    length: float
    weights: Tensor
    loop: bool = False


def average(edges: Sequence[Edge], start: Similarity) -> Similarity:
    """Return world_from_window of all windows, that agree best with all edges.

    Damped Gauss-Newton steps on turns, shifts and scales of all windows at once. Only steps that
    lower the objective are taken. What no edge determines stays as it was.

    Args:
        edges: the measurements; at least one from the world.
        start: world_from_window, batched (W), to begin with.
    """
    solved = _descend(edges, start)
    loops = [k for k, edge in enumerate(edges) if edge.loop]
    for _ in range(ROUNDS if len(loops) > 2 else 0):
        error = disagreement(edges, solved)
        cut = LOOP_CUT * error[loops].median().clamp(min=1.0)
        trust = (1 + (error / cut).square()).rsqrt()
        trusted = list(edges)
        for k in loops:
            trusted[k] = replace(edges[k], weights=trust[k] * edges[k].weights)
        solved = _descend(trusted, solved)
    return solved


def disagreement(edges: Sequence[Edge], windows: Similarity) -> Tensor:
    """Return per edge how far the windows are from it, in standard deviations."""
    return _residuals(edges, windows).square().sum(dim=1).sqrt()


def difference(edge: Edge, windows: Similarity) -> Tensor:
    """Return (7) what an edge between two windows measures more than the windows say.

    Turn [rad], shift [lengths of the edge], logarithm of the scale.
    """
    vector = to_vector(_error(edge, windows))
    vector[3:6] /= edge.length
    return vector


def _descend(edges: Sequence[Edge], windows: Similarity) -> Similarity:
    damping, residual = 1e-6, _residuals(edges, windows)
    cost = float(residual.square().sum())
    for _ in range(MAX_STEPS):
        hessian, gradient = _system(edges, windows, residual)
        damped = hessian + torch.diag(damping * hessian.diagonal() + 1e-12)
        step = torch.linalg.solve(damped, -gradient).reshape(-1, 7)
        trial = compose(windows, from_vector(step))
        residual_there = _residuals(edges, trial)
        trial_cost = float(residual_there.square().sum())
        if trial_cost >= cost:
            damping *= 10
            continue
        done = cost - trial_cost <= TOLERANCE * cost
        windows, residual, cost, damping = trial, residual_there, trial_cost, damping / 10
        if done:
            break
    return windows


def _residuals(edges: Sequence[Edge], windows: Similarity) -> Tensor:
    return torch.stack([_scales(edge) * to_vector(_error(edge, windows)) for edge in edges])


def _error(edge: Edge, windows: Similarity) -> Similarity:
    """Return what is left of window b after the measurement and the windows' way back."""
    b_from_a = inverse(edge.a_from_b)
    return compose(b_from_a, _between(edge, windows))


def _between(edge: Edge, windows: Similarity) -> Similarity:
    world_from_b = member(windows, edge.b)
    if edge.a is None:
        return world_from_b
    return compose(inverse(member(windows, edge.a)), world_from_b)


def _scales(edge: Edge) -> Tensor:
    scales = edge.weights.clone()
    scales[3:6] /= edge.length
    return scales


def _system(edges: Sequence[Edge], windows: Similarity, residual: Tensor) -> tuple[Tensor, Tensor]:
    """Return half the Gauss-Newton Hessian (7 W, 7 W) and half the gradient (7 W).

    A change x of window b, world_from_b exp(x), adds x to the edge's error; a change of window a
    adds what the way from a to b makes of -x. Both hold to first order in change and error.
    """
    count = windows.scale.shape[0]
    hessian = residual.new_zeros(count, 7, count, 7)
    gradient = residual.new_zeros(count, 7)
    for edge, error in zip(edges, residual, strict=True):
        scales = _scales(edge)
        by = {edge.b: torch.diag(scales)}
        if edge.a is not None:
            by[edge.a] = -scales[:, None] * adjoint(inverse(_between(edge, windows)))
        for p, by_p in by.items():
            gradient[p] += by_p.T @ error
            for q, by_q in by.items():
                hessian[p, :, q] += by_p.T @ by_q
    return hessian.reshape(7 * count, 7 * count), gradient.flatten()

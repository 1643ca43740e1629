"""Averaging of similarities over a graph of windows: chains, loops and fixed points agree."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jog3r.alignment.similarities import (
    adjoint,
    compose,
    from_vector,
    identity,
    inverse,
    stacked,
    to_vector,
)
from jog3r.geometry import Similarity

MAX_STEPS = 30
TOLERANCE = 1e-6
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
    graph, windows = _batched(edges), _with_world(start)
    windows = _descend(graph, windows)
    loops = torch.tensor([edge.loop for edge in edges])
    for _ in range(ROUNDS if int(loops.sum()) > 2 else 0):
        error = _residuals(graph, windows).norm(dim=1)
        cut = LOOP_CUT * error[loops].median().clamp(min=1.0)
        trust = torch.where(loops, (1 + (error / cut).square()).rsqrt(), 1.0)
        windows = _descend(replace(graph, scales=trust[:, None] * graph.scales), windows)
    return _members(windows, torch.arange(start.scale.shape[0]))


def disagreement(edges: Sequence[Edge], windows: Similarity) -> Tensor:
    """Return per edge how far the windows are from it, in standard deviations."""
    return _residuals(_batched(edges), _with_world(windows)).norm(dim=1)


def difference(edge: Edge, windows: Similarity) -> Tensor:
    """Return (7) what an edge between two windows measures more than the windows say.

    Turn [rad], shift [lengths of the edge], logarithm of the scale.
    """
    vector = _errors(_batched([edge]), _with_world(windows))[0]
    vector[3:6] /= edge.length
    return vector


@dataclass(frozen=True)
class _Graph:
    """All edges (E): the windows they join, -1 the world; measurements; weights over lengths."""

    a: Tensor
    b: Tensor
    b_from_a: Similarity
    scales: Tensor


def _batched(edges: Sequence[Edge]) -> _Graph:
    scales = torch.stack([edge.weights for edge in edges])
    scales[:, 3:6] /= torch.tensor([edge.length for edge in edges]).to(scales)[:, None]
    return _Graph(
        torch.tensor([-1 if edge.a is None else edge.a for edge in edges]),
        torch.tensor([edge.b for edge in edges]),
        inverse(stacked([edge.a_from_b for edge in edges])),
        scales,
    )


def _with_world(windows: Similarity) -> Similarity:
    """Append the world, so that it is window -1."""
    world = stacked([identity()])
    return Similarity(
        torch.cat([windows.rotation, world.rotation]),
        torch.cat([windows.translation, world.translation]),
        torch.cat([windows.scale, world.scale]),
    )


def _members(windows: Similarity, index: Tensor) -> Similarity:
    return Similarity(windows.rotation[index], windows.translation[index], windows.scale[index])


def _descend(graph: _Graph, windows: Similarity) -> Similarity:
    damping, residual = 1e-6, _residuals(graph, windows)
    cost = float(residual.square().sum())
    for _ in range(MAX_STEPS):
        hessian, gradient = _system(graph, windows, residual)
        damped = hessian + torch.diag(damping * hessian.diagonal() + 1e-12)
        step = torch.linalg.solve(damped, -gradient).reshape(-1, 7)
        still = torch.zeros_like(step[:1])
        trial = compose(windows, from_vector(torch.cat([step, still])))
        residual_there = _residuals(graph, trial)
        trial_cost = float(residual_there.square().sum())
        if trial_cost >= cost:
            damping *= 10
            continue
        done = cost - trial_cost <= TOLERANCE * cost
        windows, residual, cost, damping = trial, residual_there, trial_cost, damping / 10
        if done:
            break
    return windows


def _residuals(graph: _Graph, windows: Similarity) -> Tensor:
    return graph.scales * _errors(graph, windows)


def _errors(graph: _Graph, windows: Similarity) -> Tensor:
    """Return (E, 7) what is left of windows b after the measurement and the windows' way back."""
    return to_vector(compose(graph.b_from_a, _between(graph, windows)))


def _between(graph: _Graph, windows: Similarity) -> Similarity:
    """Return a_from_b of all edges, as the windows have it."""
    return compose(inverse(_members(windows, graph.a)), _members(windows, graph.b))


def _system(graph: _Graph, windows: Similarity, residual: Tensor) -> tuple[Tensor, Tensor]:
    """Return half the Gauss-Newton Hessian (7 W, 7 W) and half the gradient (7 W).

    A change x of window b, world_from_b exp(x), adds x to the edge's error; a change of window a
    adds what the way from a to b makes of -x. Both hold to first order in change and error.
    """
    count = windows.scale.shape[0]
    by_b = torch.diag_embed(graph.scales)
    by_a = -graph.scales[..., None] * adjoint(inverse(_between(graph, windows)))
    ends = ((graph.a % count, by_a), (graph.b, by_b))
    hessian, gradient = residual.new_zeros(count, count, 7, 7), residual.new_zeros(count, 7)
    for p, by_p in ends:
        gradient.index_add_(0, p, (by_p.mT @ residual[..., None])[..., 0])
        for q, by_q in ends:
            hessian.index_put_((p, q), by_p.mT @ by_q, accumulate=True)
    # The world, which comes last, does not move.
    free = hessian[:-1, :-1].transpose(1, 2).reshape(7 * count - 7, 7 * count - 7)
    return free, gradient[:-1].flatten()

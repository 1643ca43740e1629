"""Loops of a chain of windows: looked for, measured, and put into words."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jog3r.alignment.chain import STITCH_WEIGHTS, WEAK, Chain
from jog3r.alignment.loop_check import Keyframe, is_same_place, shared_views
from jog3r.alignment.pose_graph import Edge, difference
from jog3r.alignment.regularisers import Regularisers
from jog3r.alignment.similarities import compose, inverse
from jog3r.alignment.stitching import stitch
from jog3r.alignment.window_solver import WindowSolver, views_of
from jog3r.errors import AlignmentError
from jog3r.geometry import Similarity

AROUND = 4
"""Frames around each of the two keyframes of a loop that are aligned together."""
OPEN = (0.035, 0.1, 0.1)
"""Turn [rad], shift [typical depths] and logarithm of the scale that a closed loop may still lack
before it is flagged."""
BOTH_WAYS = torch.tensor([[0, 1], [1, 0]])


def found_loops(chain: Chain, solver: WindowSolver) -> list[Edge]:
    """Return an edge for each place that the camera came back to.

    Where two frames see the same place by their pointmaps, some frames around each are aligned
    together as one more window, which is stitched to both.

    Args:
        chain: all windows.
        solver: aligns more frames.
    """
    edges = []
    for early, late in shared_views(chain.keyframes):
        pair = solver.ask([early.frame, late.frame], BOTH_WAYS)
        if is_same_place(pair, torch.stack([early.K, late.K])):
            edges += _measured(chain, solver, early, late)
    return edges


def _measured(chain: Chain, solver: WindowSolver, early: Keyframe, late: Keyframe) -> list[Edge]:
    """Return the edge that frames around both keyframes make, none where they do not agree."""
    a, b = early.window, late.window
    frames_a, frames_b = _around(chain, early), _around(chain, late)
    try:
        found = solver.align([*frames_a, *frames_b], "complete", Regularisers.off())
        both = views_of(found, None)
        names = f"a loop between {chain.windows[a]} and {chain.windows[b]}"
        to_a = stitch(chain.seen(frames_a, a), both[: len(frames_a)], names)
        to_b = stitch(chain.seen(frames_b, b), both[len(frames_a) :], names)
    except AlignmentError:
        return []
    if min(to_a.agreement, to_b.agreement) < WEAK:
        return []
    moved = compose(to_a.a_from_b, inverse(to_b.a_from_b))
    a_from_b = compose(inverse(chain.placed[a]), compose(moved, chain.placed[b]))
    return [Edge(a, b, a_from_b, chain.lengths[b], STITCH_WEIGHTS, loop=True)]


def _around(chain: Chain, each: Keyframe) -> range:
    """Return up to `AROUND` frames of a keyframe's window that lie around it."""
    window = chain.windows[each.window]
    first = max(window.first, min(each.frame - AROUND // 2, window.stop - AROUND))
    return range(first, min(first + AROUND, window.stop))


def loop_flags(
    chain: Chain, loops: Sequence[Edge], before: Similarity, after: Similarity
) -> list[str]:
    """Say what the loops measured, and which ones do not close.

    Args:
        chain: all windows.
        loops: edges from `found_loops`.
        before: world_from_window before closing.
        after: and after.
    """
    if not loops:
        return []
    drifts = [difference(edge, before) for edge in loops]
    worst = max(range(len(loops)), key=lambda k: max(_parts(drifts[k])))
    flags = [
        f"loop-closed: {len(loops)} pairs of windows that are no neighbours see the same place; the"
        f" largest drift, {_in_words(drifts[worst])} between {_ends(chain, loops[worst])}, was"
        " spread over the windows"
    ]
    for edge in loops:
        left = difference(edge, after)
        if any(part > limit for part, limit in zip(_parts(left), OPEN, strict=True)):
            flags.append(
                f"loop-drift: {_ends(chain, edge)} seem to see the same place, but"
                f" {_in_words(left)} are left between them; they may only look alike"
            )
    return flags


def _ends(chain: Chain, edge: Edge) -> str:
    return f"{chain.windows[edge.a or 0]} and {chain.windows[edge.b]}"


def _parts(vector: Tensor) -> tuple[float, float, float]:
    return float(vector[:3].norm()), float(vector[3:6].norm()), float(vector[6].abs())


def _in_words(vector: Tensor) -> str:
    turn, shift, scale = _parts(vector)
    return (
        f"{math.degrees(turn):.2g} deg, {100 * shift:.2g} % of the depth and"
        f" {100 * math.expm1(scale):.2g} % of scale"
    )

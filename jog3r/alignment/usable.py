"""Which pairs take part, and whether they connect all frames."""

import torch
from torch import Tensor

from jog3r.alignment.graphs import components, pair_graph
from jog3r.alignment.pairs import MIN_PIXELS, PairPointmaps
from jog3r.errors import AlignmentError, InputError


def count_frames(pairs: PairPointmaps) -> int:
    """Return how many frames the pairs are of.

    Raises:
        InputError: no pairs, negative numbers, a pair twice, or a frame with itself where there
            are others.
    """
    listed = [tuple(pair) for pair in pairs.pairs.tolist()]
    if not listed or min(min(pair) for pair in listed) < 0:
        raise InputError(f"pairs: expected frame numbers from 0, got {listed}")
    frames = 1 + max(max(pair) for pair in listed)
    if len(set(listed)) < len(listed):
        twice = sorted({pair for pair in listed if listed.count(pair) > 1})
        raise InputError(f"pairs: expected every pair once, got {twice} more often")
    if frames > 1 and any(i == j for i, j in listed):
        raise InputError(f"pairs: expected different frames, got {listed}")
    return frames


def subgraph(pairs: PairPointmaps, graph: str | Tensor, frames: int) -> PairPointmaps:
    """Return the pairs of a graph.

    Raises:
        InputError: no such graph, or pairs of it that are not given.
    """
    wanted = pair_graph(graph, frames) if isinstance(graph, str) else graph
    given = {tuple(pair): k for k, pair in enumerate(pairs.pairs.tolist())}
    missing = [tuple(pair) for pair in wanted.tolist() if tuple(pair) not in given]
    if missing:
        raise InputError(
            f"graph: expected pairs that are given, got {missing[:5]} without pointmaps"
            f" ({len(missing)} in all); run the network on them or choose another graph"
        )
    chosen = [given[tuple(pair)] for pair in wanted.tolist()]
    return pairs.chosen(torch.tensor(chosen, device=pairs.pairs.device))


def usable_pairs(pairs: PairPointmaps, frames: int, masks: Tensor | None) -> PairPointmaps:
    """Leave out pairs of which too little is known: fewer than 6 confident pixels on either side.

    Raises:
        AlignmentError: a frame about which nothing is known, or frames that no pairs connect.
    """
    first, second = pairs.pairs.unbind(dim=1)
    sure_i, sure_j = pairs.confidence_i > 1, pairs.confidence_j > 1
    if masks is not None:
        sure_i, sure_j = sure_i & masks[first], sure_j & masks[second]
    count_i, count_j = (sure.flatten(1).sum(dim=1) for sure in (sure_i, sure_j))
    best = torch.zeros(frames, dtype=count_i.dtype, device=count_i.device)
    best = best.scatter_reduce(0, first, count_i, "amax").scatter_reduce(0, second, count_j, "amax")
    seen = torch.zeros_like(best).index_add_(
        0, pairs.pairs.flatten(), torch.ones_like(pairs.pairs.flatten())
    )
    blind = torch.nonzero((best < MIN_PIXELS) & (seen > 0)).flatten()
    if blind.numel() and masks is not None:
        raise AlignmentError(
            f"masks: expected at least {MIN_PIXELS} pixels that count (True, white) of confidence"
            f" above 1 in every frame, got {int(best[blind[0]])} in frame {int(blind[0])}; mask"
            " less, invert the masks if they are the wrong way round, or leave that frame out"
        )
    if blind.numel():
        raise AlignmentError(
            f"confidence: expected at least {MIN_PIXELS} usable pixels above 1 in every frame, got"
            f" {int(best[blind[0]])} in frame {int(blind[0])}; too little is known about it (for"
            " equal weights use any constant above 1)"
        )
    use = (count_i >= MIN_PIXELS) & (count_j >= MIN_PIXELS)
    parts = components(pairs.pairs[use], frames)
    if len(parts) > 1:
        raise AlignmentError(
            "pairs: expected a graph that connects all frames, got the separate parts"
            f" {', '.join(map(str, parts))}; add pairs between them or align each alone"
        )
    return pairs if bool(use.all()) else pairs.chosen(torch.nonzero(use).flatten())

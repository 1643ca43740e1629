"""Pairwise pointmaps -> one set of cameras, depths and confidences."""

from jog3r.alignment.graphs import (
    PairGraph,
    complete,
    graph_bytes,
    log_window,
    pair_graph,
    star,
    window,
)
from jog3r.alignment.pairs import Alignment, PairPointmaps
from jog3r.alignment.photometric import refine_photometrically
from jog3r.alignment.regularisers import Regularisers
from jog3r.alignment.solver import align, solve
from jog3r.alignment.windows import align_windows

__all__ = [
    "Alignment",
    "PairGraph",
    "PairPointmaps",
    "Regularisers",
    "align",
    "align_windows",
    "complete",
    "graph_bytes",
    "log_window",
    "pair_graph",
    "refine_photometrically",
    "solve",
    "star",
    "window",
]

"""One thread for small problems: waking a second one for each tensor costs more than it does."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch

from jog3r.alignment.pairs import PairPointmaps

P = ParamSpec("P")
R = TypeVar("R")

SMALL = 2**22
"""Coordinates of one side's pointmaps up to which one thread is faster than two."""


def one_thread_if_small(
    function: Callable[Concatenate[PairPointmaps, P], R],
) -> Callable[Concatenate[PairPointmaps, P], R]:
    """Run a function of few or small pairs on one thread, and restore the number afterwards.

    Threads that already run torch keep their own number; only one that calls torch for the very
    first time meanwhile would begin with one.
    """

    @wraps(function)
    def wrapper(pairs: PairPointmaps, *args: P.args, **kwargs: P.kwargs) -> R:
        points = getattr(pairs, "points_i", None)  # the function itself refuses what is no pairs
        if not isinstance(points, torch.Tensor) or points.numel() > SMALL:
            return function(pairs, *args, **kwargs)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return function(pairs, *args, **kwargs)
        finally:
            torch.set_num_threads(threads)

    return wrapper

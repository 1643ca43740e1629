"""Which pairs of frames to look at: graphs of pairs (i, j), what they cost, and their parts.

A pair is directed: both its pointmaps are in camera i's frame. All graphs but the star hold every
pair both ways, as what a network says of (i, j) and of (j, i) differs.
"""

import re
from numbers import Integral

import torch
from jaxtyping import Int
from torch import Tensor

from jog3r.errors import InputError

PairGraph = Tensor
"""Pairs (E, 2) of frame numbers."""
COMPLETE_UP_TO = 12
"""`auto` takes every pair of up to this many frames (132 pairs), log-window-4 of more."""
FLOATS_PER_PIXEL = 8
"""Two points of three numbers and their confidences."""
FORM = re.compile(r"(?:(window|log-window)-([1-9]\d*)|star|complete|auto)")


def star(frames: int) -> Int[Tensor, "e 2"]:
    """Pair the first frame with every other: T - 1 pairs (0, f).

    Raises:
        InputError: fewer than 2 frames.

    Example:
        >>> star(3).tolist()
        [[0, 1], [0, 2]]
    """
    _check_frames(frames)
    return torch.tensor([(0, f) for f in range(1, frames)])


def window(frames: int, size: int) -> Int[Tensor, "e 2"]:
    """Pair every frame with the next `size` ones, both ways: about 2 * size * T pairs.

    Raises:
        InputError: fewer than 2 frames, or a size below 1.

    Example:
        >>> window(3, 1).tolist()
        [[0, 1], [1, 0], [1, 2], [2, 1]]
    """
    _check_size(size)
    _check_frames(frames)
    return _by_offsets(frames, range(1, min(size + 1, frames)))


def log_window(frames: int, size: int) -> Int[Tensor, "e 2"]:
    """Pair every frame with those 1, 2, 4, ... 2^(size - 1) later, both ways.

    About 2 * size * T pairs, as a window has, that reach exponentially far.

    Raises:
        InputError: fewer than 2 frames, or a size below 1.

    Example:
        >>> log_window(5, 3)[:6].tolist()
        [[0, 1], [1, 0], [0, 2], [2, 0], [0, 4], [4, 0]]
    """
    _check_size(size)
    _check_frames(frames)
    return _by_offsets(frames, [2**k for k in range(min(size, int(frames).bit_length()))])


def complete(frames: int) -> Int[Tensor, "e 2"]:
    """Pair every frame with every other: T (T - 1) pairs.

    Raises:
        InputError: fewer than 2 frames.

    Example:
        >>> len(complete(8))
        56
    """
    _check_frames(frames)
    return _by_offsets(frames, range(1, frames))


def pair_graph(name: str, frames: int) -> Int[Tensor, "e 2"]:
    """Return the pairs of a graph by its name.

    Args:
        name: "star", "window-3" (any size), "log-window-4" (any size), "complete", or "auto":
            complete for up to 12 frames, log-window-4 for more.
        frames: how many there are, at least 2.

    Raises:
        InputError: no such graph, or fewer than 2 frames.

    Example:
        >>> len(pair_graph("auto", 8)), len(pair_graph("auto", 16))
        (56, 98)
    """
    found = FORM.fullmatch(name) if isinstance(name, str) else None
    if found is None:
        raise InputError(
            "graph: expected star, window-N, log-window-N, complete or auto, with N at least 1,"
            f" got {name!r}"
        )
    if found[1] == "window":
        return window(frames, int(found[2]))
    if found[1] == "log-window":
        return log_window(frames, int(found[2]))
    if name == "star":
        return star(frames)
    if name == "auto" and frames > COMPLETE_UP_TO:
        return log_window(frames, 4)
    return complete(frames)


def graph_bytes(pairs: Int[Tensor, "e 2"], size: tuple[int, int]) -> int:
    """Return the memory of a graph's pointmaps and confidences in float32 [bytes].

    Args:
        pairs: of the graph.
        size: (height, width) of the pointmaps [px].

    Example:
        >>> graph_bytes(complete(8), (224, 224)) / 2**20
        85.75
    """
    height, width = size
    return 4 * FLOATS_PER_PIXEL * len(pairs) * height * width


def components(pairs: Int[Tensor, "e 2"], frames: int) -> list[list[int]]:
    """Return the groups of frames that pairs connect, each in order.

    Example:
        >>> components(torch.tensor([[0, 2], [3, 1]]), 5)
        [[0, 2], [1, 3], [4]]
    """
    group = list(range(frames))
    for i, j in pairs.tolist():
        old, new = max(group[i], group[j]), min(group[i], group[j])
        group = [new if g == old else g for g in group]
    return [[f for f in range(frames) if group[f] == g] for g in sorted(set(group))]


def _by_offsets(frames: int, offsets: range | list[int]) -> Tensor:
    return torch.tensor(
        [
            pair
            for i in range(frames)
            for offset in offsets
            if i + offset < frames
            for pair in ((i, i + offset), (i + offset, i))
        ]
    )


def _check_frames(frames: int) -> None:
    if not isinstance(frames, Integral) or frames < 2:
        raise InputError(f"frames: expected at least 2 to pair, got {frames!r}; pass their number")


def _check_size(size: int) -> None:
    if isinstance(size, bool) or not isinstance(size, Integral) or size < 1:
        raise InputError(f"size: expected at least 1, got {size!r}; pass a whole number")

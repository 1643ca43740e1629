"""Which frames of a clip a training step sees."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from jog3r.errors import InputError

STRIDES = (1, 2, 4, 8)
"""Of the paper, for clips of RealEstate10K."""


def least_length(frames: int, strides: Sequence[int] = STRIDES) -> int:
    """Count the frames that a clip must have for any draw to succeed.

    Args:
        frames: Wanted.
        strides: To draw from.

    Example:
        >>> least_length(16), least_length(16, (2, 4))
        (16, 31)
    """
    return (frames - 1) * min(strides) + 1


def draw_frames(
    length: int,
    *,
    frames: int,
    strides: Sequence[int] = STRIDES,
    reverse_share: float = 0.5,
    rng: np.random.Generator,
) -> list[int] | None:
    """Draw evenly spaced frames of a clip: their stride, then their start, then their direction.

    Args:
        length: Frames of the clip.
        frames: Wanted.
        strides: To draw from; each that fits into the clip is as likely as the others.
        reverse_share: Share of the draws that run backwards.
        rng: Decides; every draw takes the same number of values from it.

    Returns:
        Indices, or None where the clip is too short for the least stride.

    Raises:
        InputError: As `check_sampling`.

    Source: strides and reversal as in JOG3R section 4.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> draw_frames(9, frames=3, strides=(4,), reverse_share=0.0, rng=rng)
        [0, 4, 8]
        >>> draw_frames(8, frames=3, strides=(4,), reverse_share=0.0, rng=rng) is None
        True
    """
    check_sampling(frames=frames, strides=strides, reverse_share=reverse_share)
    stride_share, start_share, direction = rng.random(3)
    fitting = [stride for stride in strides if (frames - 1) * stride < length]
    if not fitting:
        return None
    stride = fitting[int(stride_share * len(fitting))]
    span = (frames - 1) * stride + 1
    first = int(start_share * (length - span + 1))
    chosen = list(range(first, first + span, stride))
    return chosen[::-1] if direction < reverse_share else chosen


def check_sampling(*, frames: int, strides: Sequence[int], reverse_share: float) -> None:
    """Check what `draw_frames` is asked for, before any clip is at hand.

    Args:
        frames: At least 1.
        strides: At least one, each at least 1.
        reverse_share: From 0 to 1.

    Raises:
        InputError: One of them out of range.
    """
    least = min((frames, *strides)) if strides else 0
    if least < 1 or not 0.0 <= reverse_share <= 1.0:
        raise InputError(
            "sampling: expected frames and strides of at least 1 and a reverse_share from 0 to 1,"
            f" got {frames}, {[*strides]} and {reverse_share}"
        )


def even_run(numbers: Sequence[int]) -> range:
    """Return the longest run of numbers that are evenly spaced, by the commonest step.

    Args:
        numbers: Ascending; at least one.

    Example:
        >>> even_run([0, 1, 2, 5, 6, 7, 8]), even_run([0, 4, 8, 12])
        (range(5, 9), range(0, 13, 4))
    """
    steps = Counter(after - before for before, after in pairwise(numbers))
    step = max(steps, key=lambda gap: (steps[gap], -gap), default=1)
    best, start = range(numbers[0], numbers[0] + 1), numbers[0]
    for before, after in pairwise(numbers):
        start = start if after - before == step else after
        if (after - start) // step + 1 > len(best):
            best = range(start, after + 1, step)
    return best

"""Which frame of one trajectory belongs to which of another, by their time stamps."""

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from jog3r.errors import InputError

MAX_DIFFERENCE_S = 0.01
"""Time stamps farther apart are not of the same frame: the custom of the TUM benchmark."""


def associate(
    estimate_s: Float64[Tensor, " n"],
    truth_s: Float64[Tensor, " m"],
    *,
    max_difference_s: float = MAX_DIFFERENCE_S,
) -> tuple[Int64[Tensor, " k"], Int64[Tensor, " k"]]:
    """Pair each estimated frame with the true frame nearest in time.

    No frame is used twice: of several estimates the nearest one has the true frame.

    Args:
        estimate_s: time stamps [s], in any order.
        truth_s: time stamps [s], in any order, on the same clock.
        max_difference_s: frames farther apart than this are not paired.

    Returns:
        Indices into the first and into the second, in the order of the true time stamps.

    Raises:
        InputError: no time stamp, or no pair at all.

    Example:
        >>> estimate_s = torch.tensor([0.0, 0.101, 0.5], dtype=torch.float64)
        >>> truth_s = torch.tensor([0.0, 0.05, 0.1], dtype=torch.float64)
        >>> [indices.tolist() for indices in associate(estimate_s, truth_s)]
        [[0, 1], [0, 2]]
    """
    if not len(estimate_s) or not len(truth_s):
        raise InputError(
            f"estimate_s, truth_s: expected time stamps, got {len(estimate_s)} and {len(truth_s)}"
        )
    ordered, order = truth_s.sort(stable=True)
    after = torch.searchsorted(ordered, estimate_s.contiguous()).clamp(1, max(len(ordered) - 1, 1))
    sides = torch.stack([after - 1, after]).clamp(max=len(ordered) - 1)
    differences = (ordered[sides] - estimate_s).abs()
    difference, side = differences.min(dim=0)
    place = sides.gather(0, side[None])[0]
    near = (difference <= max_difference_s).nonzero()[:, 0]
    # Sorted by true frame and, within one, by distance: the first of each is the nearest.
    near = near[difference[near].argsort(stable=True)]
    near = near[place[near].argsort(stable=True)]
    if not len(near):
        raise InputError(
            f"estimate_s: expected frames within {max_difference_s:g} s of true ones, got none; the"
            f" nearest is {float(difference.min()):.4g} s away: are both on one clock?"
        )
    first = torch.cat([torch.ones(1, dtype=torch.bool), place[near].diff() > 0])
    return near[first], order[place[near[first]]]

"""Read grid and step off the stored sine-cosine tables of Open-Sora 1.0, whose config tells both.

The wave of the lowest frequency turns less than once over any table, so its angle is the position.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from jog3r.backbones.positions import LONGEST_PERIOD, sincos_space, sincos_time
from jog3r.errors import InputError

CPU = torch.device("cpu")
# Of tables stored in half precision; other grids or steps are off by far more.
TOLERANCE = 4e-3
# How round a step may be.
DIGITS = (1, 2, 3, 6)


def read_space_table(table: Tensor) -> tuple[int, int, float]:
    """Read rows, columns and the step off `pos_embed`.

    Args:
        table: `(1, S, D)`.

    Raises:
        InputError: It is no such table.
    """
    width, half = table.shape[-1], table.shape[-1] // 2
    column, row = _positions(table[0, :, :half]), _positions(table[0, :, half:])
    # The first row of tokens is the one at position 0, and a sine of 0 is 0 in any precision.
    w = max(1, int((row == 0).sum()))
    h = len(row) // w
    last, steps = (column[w - 1], w - 1) if w > 1 else (row[-1], h - 1)
    return (
        h,
        w,
        _step("pos_embed", table, steps, last, lambda scale: sincos_space(width, h, w, scale, CPU)),
    )


def read_time_table(table: Tensor) -> tuple[int, float]:
    """Read the number of frames and the step off `pos_embed_temporal`.

    Args:
        table: `(1, T, D)`.

    Raises:
        InputError: It is no such table.
    """
    T, width = table.shape[1:]
    last = _positions(table[0])[-1]
    return T, _step(
        "pos_embed_temporal", table, T - 1, last, lambda scale: sincos_time(width, T, scale, CPU)
    )


def _positions(waves: Tensor) -> Tensor:
    """Turn `(S, 2n)` sines and cosines of n frequencies into `(S,)` positions."""
    n = waves.shape[-1] // 2
    sine, cosine = waves[:, n - 1].double(), waves[:, -1].double()
    return torch.atan2(sine, cosine) * LONGEST_PERIOD ** ((n - 1) / n)


def _step(
    name: str, table: Tensor, steps: int, last: Tensor, make: Callable[[float], Tensor]
) -> float:
    """Find the distance of tokens that counts as one step: the roundest that gives the table.

    Args:
        name: Of the table.
        table: As it is stored.
        steps: From the first token to the last.
        last: The position of that.
        make: Gives the table for a distance.
    """
    exact = steps / float(last) if float(last) > 0 else 1.0
    for digits in DIGITS:
        scale = float(f"{exact:.{digits}g}")
        made = make(scale)
        same_shape = made.shape == table.shape[1:]
        if same_shape and torch.allclose(made, table[0].float(), rtol=0, atol=TOLERANCE):
            return scale
    raise InputError(
        f"{name}: expected a sine-cosine table, got other values; add --set input_size=[T,H,W]"
        " space_scale=NUMBER time_scale=NUMBER as it was trained with"
    )

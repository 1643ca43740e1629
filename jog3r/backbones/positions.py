"""Sine-cosine position tables.

Those of Open-Sora 1.0 are computed once per size and kept. Those of 1.1 and 1.2 also depend on the
video's pixels, sample by sample, and are computed in every call: that costs less than looking up.

Source: Vaswani et al. 2017, per axis as in MAE and DiT; layout fixed by the stored tables of the
public Open-Sora checkpoints.
"""

import functools
import math

import torch
from torch import Tensor

LONGEST_PERIOD = 10_000.0


@functools.lru_cache(maxsize=32)
def sincos_time(width: int, T: int, scale: float, device: torch.device) -> Tensor:
    """Tabulate the position in time: `(T, width)`, sines then cosines."""
    # A tensor made in inference mode could not be used in training later.
    with torch.inference_mode(False):
        return _sincos(width, _steps(T) / scale).float().to(device)


@functools.lru_cache(maxsize=32)
def sincos_space(width: int, h: int, w: int, scale: float, device: torch.device) -> Tensor:
    """Tabulate the place in the frame: `(h w, width)`, the column's waves, then the row's."""
    with torch.inference_mode(False):
        row = _sincos(width // 2, _steps(h) / scale)
        column = _sincos(width // 2, _steps(w) / scale)
        table = torch.cat([column.repeat(h, 1), row.repeat_interleave(w, dim=0)], dim=-1)
        return table.float().to(device)


def sincos_pixels(width: int, h: int, w: int, scale_B: Tensor) -> Tensor:
    """Tabulate the place in a frame of h x w tokens: `(B, h w, width)`.

    A grid counts as square: both of its sides are stretched to the same length, the root of the
    number of tokens, so that the position does not depend on the aspect ratio.

    Args:
        width: Channels.
        h: Rows.
        w: Columns.
        scale_B: Length of a position step: size of the sample's frames over that of training.
    """
    side, half = round(math.sqrt(h * w)), width // 2
    count = torch.arange(max(h, w), device=scale_B.device, dtype=torch.float32)
    row = count[:h] / scale_B[:, None] * (side / h)
    column = count[:w] / scale_B[:, None] * (side / w)
    frequency = LONGEST_PERIOD ** -(2 * torch.arange(half // 2, device=scale_B.device) / half)
    row, column = row[..., None] * frequency, column[..., None] * frequency
    row = torch.cat([row.sin(), row.cos()], dim=-1)[:, :, None].expand(-1, h, w, half)
    column = torch.cat([column.sin(), column.cos()], dim=-1)[:, None].expand(-1, h, w, half)
    return torch.cat([column, row], dim=-1).flatten(1, 2)


def _sincos(width: int, position: Tensor) -> Tensor:
    half = width // 2
    frequency = LONGEST_PERIOD ** -(_steps(half) / half)
    angles = position[:, None] * frequency
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _steps(count: int) -> Tensor:
    # On the CPU whatever the default device, which may be "meta".
    return torch.arange(count, dtype=torch.float64, device="cpu")

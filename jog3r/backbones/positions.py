"""Sine-cosine position tables; they are computed once per size and kept.

Source: Vaswani et al. 2017, per axis as in MAE and DiT; layout fixed by the stored tables of the
public Open-Sora checkpoints.
"""

import functools

import torch
from torch import Tensor

LONGEST_PERIOD = 10_000.0


@functools.lru_cache(maxsize=32)
def sincos_time(width: int, T: int, scale: float, device: torch.device) -> Tensor:
    """Tabulate the position in time: `(T, width)`, sines then cosines."""
    # A tensor made in inference mode could not be used in training later.
    with torch.inference_mode(mode=False):
        return _sincos(width, _steps(T) / scale).float().to(device)


@functools.lru_cache(maxsize=32)
def sincos_space(width: int, h: int, w: int, scale: float, device: torch.device) -> Tensor:
    """Tabulate the place in the frame: `(h w, width)`, the column's waves, then the row's."""
    with torch.inference_mode(mode=False):
        row = _sincos(width // 2, _steps(h) / scale)
        column = _sincos(width // 2, _steps(w) / scale)
        table = torch.cat([column.repeat(h, 1), row.repeat_interleave(w, dim=0)], dim=-1)
        return table.float().to(device)


def _sincos(width: int, position: Tensor) -> Tensor:
    half = width // 2
    frequency = LONGEST_PERIOD ** -(_steps(half) / half)
    angles = position[:, None] * frequency
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _steps(count: int) -> Tensor:
    # On the CPU whatever the default device, which may be "meta".
    return torch.arange(count, dtype=torch.float64, device="cpu")

"""Rotary position embedding of a token's row and column.

The first half of a head's channels turns with the row (y), the second half with the column (x).
Within a half, channel i is paired with channel i + half/2.

Source: RoFormer (Su et al. 2021), applied per axis as in CroCo v2 (Weinzaepfel et al. 2023) with
base 100; layout fixed by the reference numbers in parity/rope2d.
"""

import functools
from typing import NamedTuple

import torch
from jaxtyping import Float, Num
from torch import Tensor

from jog3r.errors import InputError


class Rotation(NamedTuple):
    """Cosines and sines of the angles `(..., S, 2, d / 4)`: row first, then column."""

    cos: Tensor
    sin: Tensor


def rotation_at(
    positions: Num[Tensor, "*b s 2"], head_channels: int, *, base: float = 100.0, scale: float = 1.0
) -> Rotation:
    """Tabulate the rotation of tokens at the given places.

    Args:
        positions: (row, column) of every token.
        head_channels: of one attention head (d), a multiple of 4.
        base: ratio of the slowest to the fastest period, nearly.
        scale: factor on the positions.

    Raises:
        InputError: head_channels is no multiple of 4.
    """
    if head_channels % 4:
        raise InputError(f"head_channels: expected a multiple of 4, got {head_channels}")
    quarter = head_channels // 4
    steps = torch.arange(quarter, dtype=torch.float32, device=positions.device) / quarter
    angles = (positions.float() * scale)[..., None] * base**-steps
    return Rotation(angles.cos(), angles.sin())


@functools.lru_cache(maxsize=32)
def rotation_of_grid(
    h: int, w: int, head_channels: int, base: float, device: torch.device
) -> Rotation:
    """Tabulate the rotation of an h x w grid, its tokens row by row; the table is kept."""
    # A tensor made in inference mode could not be used in training later.
    with torch.inference_mode(mode=False), torch.autocast(device.type, enabled=False):
        rows, columns = torch.arange(h, device=device), torch.arange(w, device=device)
        return rotation_at(torch.cartesian_prod(rows, columns), head_channels, base=base)


def rotate(tokens: Float[Tensor, "*b s d"], rotation: Rotation) -> Float[Tensor, "*b s d"]:
    """Turn queries or keys by the rotation of their place.

    Args:
        tokens: in the order of the rotation.
        rotation: its leading dimensions broadcast to those of the tokens.
    """
    cos, sin = rotation.cos.to(tokens.dtype), rotation.sin.to(tokens.dtype)
    # Over all channels at once: half by half takes four times as long on a CPU.
    cos = torch.stack([cos, cos], dim=-2).flatten(-3)
    sin = torch.stack([-sin, sin], dim=-2).flatten(-3)
    partner = tokens.unflatten(-1, (2, 2, -1)).flip(-2).flatten(-3)
    return tokens * cos + partner * sin

"""A 3x3 convolution of a map whose resolution was doubled, without the doubled map.

Convolution and bilinear interpolation are both linear. A convolution is a sum over nine shifted
taps, each of which multiplies channels; interpolation works on rows and columns. So the taps can
multiply the channels **before** the interpolation, on a quarter of the pixels:

    sum_ij shift_ij W_ij double(x)  =  sum_ij (shift_i D_rows) (shift_j D_columns) (W_ij x),

where D are the matrices of the interpolation along an axis. These have two entries a row; a block
of neighbouring rows is a small dense matrix. On a CPU this takes about half the time of the plain
way, its rounding errors are as large, and block by block it needs little memory.

Source: own derivation.
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS, COLUMNS = 16, 28
"""Sides of a block of results: large enough for matrix products, small enough for the cache."""


def doubled(x: Tensor) -> Tensor:
    """Double the resolution of `(P, C, h, w)`; the corner pixels' centres stay where they are."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)


def convolve_doubled(
    x: Tensor, conv: nn.Conv2d, pointwise: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Give `conv(doubled(x))`, up to rounding.

    Args:
        x: `(P, C, h, w)`.
        conv: of 3x3 pixels, with a margin of 1 and a bias.
        pointwise: applied to the result, which it may overwrite, as `(..., C)`.
    """
    if plain_is_quicker(x):
        y = conv(doubled(x)).permute(0, 2, 3, 1)
        y = y if pointwise is None else pointwise(y)
    else:
        rows = _rows(x.permute(0, 2, 3, 1), conv)
        found = [each if pointwise is None else pointwise(each) for each in rows]
        P, h, w = len(x), *x.shape[2:]
        y = torch.cat(found).view(P, 2 * h, 2 * w, -1)
    return y.permute(0, 3, 1, 2)


def plain_is_quicker(x: Tensor) -> bool:
    """Tell whether the doubled map had better be made: off the CPU, and in half precision."""
    single = x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
    return x.device.type != "cpu" or not single


def _rows(x: Tensor, conv: nn.Conv2d) -> Iterator[Tensor]:
    """Yield the result in blocks of rows `(r, 2 w, C_out)`, image by image."""
    _, h, w, C = x.shape
    C_out = conv.out_channels
    assert conv.bias is not None
    # (C_out, C, i, j) -> one matrix C x (j, C_out) for each row of taps i.
    taps = conv.weight.permute(2, 1, 3, 0).reshape(3, C, 3 * C_out)
    rows, columns = _blocks(h, ROWS, "rows", x.dtype), _blocks(w, COLUMNS, "columns", x.dtype)
    for image in x:
        for row in rows:
            source = image[row.start : row.stop].reshape(1, -1, C).expand(3, -1, -1)
            products = torch.bmm(source, taps)  # (i, source pixels, (j, C_out))
            between = row.matrix @ products.view(row.matrix.shape[1], -1)
            between = between.view(len(row.matrix), 3 * w, C_out)
            yield torch.cat([_along_row(between, block) for block in columns], dim=1) + conv.bias


def _along_row(between: Tensor, block: "Block") -> Tensor:
    source = between[:, 3 * block.start : 3 * block.stop]
    return torch.bmm(block.matrix.expand(len(between), -1, -1), source)


class Block(NamedTuple):
    """Neighbouring results along an axis, as a matrix product of shifted taps.

    Attributes:
        start: first source pixel that takes part.
        stop: the one behind the last.
        matrix: results x (tap, source pixel) for rows, results x (source pixel, tap) for columns.
    """

    start: int
    stop: int
    matrix: Tensor


@functools.lru_cache(maxsize=32)
def _blocks(n: int, size: int, axis: str, dtype: torch.dtype) -> list[Block]:
    """Cut the doubling of n pixels into blocks; the list is kept."""
    # A tensor made in inference mode could not be used in training later.
    with torch.inference_mode(mode=False), torch.no_grad():
        unit = torch.eye(n, dtype=dtype)[None]  # what torch makes of it are its own weights
        double = F.interpolate(unit, scale_factor=2.0, mode="linear", align_corners=True)[0].T
        margin = F.pad(double, (0, 0, 1, 1))
        taps = torch.stack([margin[i : i + 2 * n] for i in range(3)], dim=1)  # (2n, tap, n)
        return [_block(lines, axis) for lines in taps.split(size)]


def _block(lines: Tensor, axis: str) -> Block:
    used = lines.flatten(0, 1).any(dim=0).nonzero()
    start, stop = int(used[0]), int(used[-1]) + 1
    matrix = lines[..., start:stop]
    matrix = matrix if axis == "rows" else matrix.transpose(1, 2)
    return Block(start, stop, matrix.flatten(1))

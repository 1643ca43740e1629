"""Down-sampling by voxels: one mean for every cube of a grid that holds points."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from jog3r.errors import InputError

CHUNK = 1 << 18
"""Points that are worked on at the same time: memory does not grow with the set."""
# Odd numbers of 64 bits, as hash functions use them: (x, y, z) -> x + Y y + Z z, which wraps round,
# tells all voxels apart that a scene may have, also when a speck lies 10^6 extents away.
_Y, _Z = 0x9E3779B97F4A7C15 - 2**64, 0xC2B2AE3D27D4EB4F - 2**64
_MOST = 2.0**53  # voxels along an axis that float64 counts


def voxel_means(
    points: Float[Tensor, "n 3"],
    values: Sequence[Shaped[Tensor, "n _"]],
    weights: Float[Tensor, " n"],
    size: float,
) -> tuple[Float[Tensor, "m 3"], list[Float[Tensor, "m _"]]]:
    """Return the weighted mean of points and values in every voxel that is not empty.

    open3d's own down-sampling gives another order and other last digits in every run; this one
    gives the same result every time.

    Args:
        points: finite; the grid begins at their smallest coordinates.
        values: what the points carry, numbers of any kind.
        weights: above 0.
        size: edge of a voxel, above 0, in the unit of the points.

    Returns:
        Means of the points and of each of the values, as floating point numbers like the points.

    Raises:
        InputError: more than 2^53 voxels along an axis.

    Example:
        >>> points = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
        >>> means, _ = voxel_means(points, [], torch.tensor([1.0, 3.0, 1.0]), 4.0)
        >>> means[:, 0].sort().values.tolist()
        [2.25, 9.0]
    """
    if not len(points):
        return points, [value.to(points) for value in values]
    origin = points.amin(dim=0).double()
    most = float((points.amax(dim=0).double() - origin).max()) / size
    if most >= _MOST:
        raise InputError(
            f"size: expected at most {_MOST:.0e} voxels along each axis, got {most:.0e} of"
            f" {size:g}; take larger voxels"
        )
    widths = [1, 3, *(value.shape[1] for value in values)]
    keys, sums = torch.zeros(0).long(), torch.zeros(0, sum(widths)).double()
    for start in range(0, len(points), CHUNK):
        part = slice(start, start + CHUNK)
        weight = weights[part, None].double()
        # Sums are taken about the origin of the grid, so that far-off scenes keep their digits.
        offset = points[part].double() - origin
        content = [torch.ones_like(weight), offset, *(value[part].double() for value in values)]
        new = weight * torch.cat(content, dim=1)
        keys, sums = _summed(torch.cat([keys, _numbers(offset, size)]), torch.cat([sums, new]))
    total, offsets, *others = sums.split(widths, dim=1)
    return (offsets / total + origin).to(points), [(other / total).to(points) for other in others]


def _numbers(offset: Float[Tensor, "n 3"], size: float) -> Int[Tensor, " n"]:
    x, y, z = (offset / size).long().unbind(dim=1)
    return x + _Y * y + _Z * z


def _summed(
    keys: Int[Tensor, " n"], rows: Float[Tensor, "n c"]
) -> tuple[Int[Tensor, " m"], Float[Tensor, "m c"]]:
    """Add up the rows of equal keys; the keys come sorted."""
    unique, place = torch.unique(keys, return_inverse=True)
    return unique, rows.new_zeros(len(unique), rows.shape[1]).index_add_(0, place, rows)

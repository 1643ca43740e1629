"""Checks of arguments at the public boundary: what was expected, what came, what to do."""

from collections.abc import Sequence

import torch
from torch import Tensor

from jog3r.errors import InputError


def check_tensor(name: str, value: object, shape: Sequence[int | str], *, hint: str = "") -> None:
    """Check that a value is a floating-point tensor whose last dimensions have the given sizes.

    Args:
        name: of the argument, for the error text.
        value: what the caller passed.
        shape: sizes of the last dimensions; a string stands for any size of at least one.
        hint: what the caller should do instead, added to the error text.

    Raises:
        InputError: not a tensor, not floating point, or of another shape.
    """
    wanted = "(" + ", ".join(["...", *map(str, shape)]) + ")"
    advice = f"; {hint}" if hint else ""
    if not isinstance(value, Tensor):
        kind = type(value).__name__
        raise InputError(f"{name}: expected a tensor {wanted}, got {kind}; use torch.as_tensor()")
    if not value.is_floating_point():
        raise InputError(f"{name}: expected floating point, got {value.dtype}; use .float()")
    last = tuple(value.shape[-len(shape) :]) if shape else ()
    fits = len(last) == len(shape) and all(
        size >= 1 if isinstance(want, str) else size == want
        for size, want in zip(last, shape, strict=True)
    )
    if not fits:
        raise InputError(f"{name}: expected {wanted}, got {tuple(value.shape)}{advice}")


def check_finite(name: str, value: Tensor) -> None:
    """Check that a tensor holds neither NaN nor infinity.

    Raises:
        InputError: with the number of offending entries.
    """
    bad = int((~torch.isfinite(value)).sum())
    if bad:
        raise InputError(
            f"{name}: expected finite values, got {bad} NaN or infinite of {value.numel()};"
            " mask or replace them first"
        )


def check_size(name: str, size: object) -> tuple[int, int]:
    """Check an image size and return it as `(height, width)` [px].

    Raises:
        InputError: not two positive whole numbers.
    """
    whole = isinstance(size, Sequence | torch.Size) and all(isinstance(n, int) for n in size)
    if not whole or len(size) != 2 or min(size) < 1:  # type: ignore[arg-type]
        raise InputError(f"{name}: expected (height, width) in whole pixels, got {size!r}")
    height, width = size  # type: ignore[misc]
    return height, width


def check_leading(name: str, value: Tensor, core: int, other: str, lead: Sequence[int]) -> None:
    """Check that the batch dimensions of a tensor can be laid over another's leading ones.

    Args:
        name: of the argument, for the error text.
        value: the tensor.
        core: number of its last dimensions that are no batch dimensions.
        other: name of the argument that it has to fit.
        lead: the other's leading dimensions.

    Raises:
        InputError: more batch dimensions than the other has, or sizes that do not broadcast.
    """
    batch = tuple(value.shape[: value.ndim - core])
    fits = len(batch) <= len(lead) and all(
        a == b or 1 in (a, b) for a, b in zip(batch, lead, strict=False)
    )
    if not fits:
        raise InputError(
            f"{name}: expected batch dimensions that fit the leading ones of {other}"
            f" {tuple(lead)}, got {batch}; batch dimensions are matched from the left"
        )

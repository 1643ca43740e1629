"""Checks that the result classes make when they are built: what was expected, what came."""

import math
import operator
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from jog3r.errors import InputError

MAX_SIDE = 1_000_000
"""Largest height and width [px] that is taken for the size of an image."""


def as_path(name: str, value: object) -> Path:
    """Return the path that a value names.

    Raises:
        InputError: no path, or one that no operating system takes, such as one with NUL in it.
    """
    try:
        path = Path(value)  # type: ignore[arg-type]
        encoded = os.fsencode(path)
    except (TypeError, ValueError):
        path, encoded = Path(), b"\0"
    if b"\0" in encoded:
        raise InputError(
            f"{name}: expected the name of a file or folder, got {value!r}; correct it"
        )
    return path


def check_fps(fps: object) -> None:
    """Check that a value is a frame rate that files can hold.

    Raises:
        InputError: no number, or one outside [0.001, 1000].
    """
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 1e-3 <= fps <= 1e3:
        raise InputError(f"fps: expected frames per second in [0.001, 1000], got {fps!r}")


def whole_number(name: str, value: object) -> int:
    """Return a whole number of any kind, such as numpy's, as int.

    Raises:
        InputError: another type, True and False included.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise InputError(f"{name}: expected a whole number, got {value!r}; use int()") from None


def image_size_of(value: object) -> tuple[int, int]:
    """Return the size of an image as a tuple of int.

    Raises:
        InputError: not two whole numbers above 0.
    """
    sides = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
    try:
        height, width = (whole_number("image_size", side) for side in sides)
    except ValueError:
        height = width = 0
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise InputError(
            f"image_size: expected (height, width), whole numbers from 1 to {MAX_SIDE},"
            f" got {value!r}"
        )
    return height, width


def check_suffix(path: Path, allowed: Sequence[str]) -> None:
    """Check the ending of an output file's name.

    Raises:
        InputError: another suffix than the allowed ones.
    """
    if path.suffix.lower() not in allowed:
        raise InputError(f"path: expected a name ending in {' or '.join(allowed)}, got {path}")


def check_finite(name: str, value: Tensor) -> None:
    """Check that a tensor holds neither NaN nor infinity.

    Raises:
        InputError: with the number of offending entries.
    """
    # One pass without a copy, since what is checked may be a long video's maps on a disk.
    if value.numel() == 0 or all(map(math.isfinite, map(float, value.detach().aminmax()))):
        return
    bad = sum(int((~torch.isfinite(part)).sum()) for part in value)
    if bad:
        advice = "set pixels without value to 0" if name == "depth" else "replace them first"
        raise InputError(
            f"{name}: expected finite values, got {bad} NaN or infinite of {value.numel()};"
            f" {advice}"
        )


def check_tensor(
    name: str,
    value: object,
    shape: Sequence[int | str],
    dtype: torch.dtype,
    *,
    empty: bool = False,
) -> None:
    """Check that a value is a plain CPU tensor of exactly this dtype and shape.

    Args:
        name: of the argument, for the error text.
        value: what the caller passed.
        shape: the whole shape; a string stands for any size.
        dtype: wanted.
        empty: allow a size of zero.

    Raises:
        InputError: not such a tensor, or one that carries a gradient.
    """
    wanted = "(" + ", ".join(map(str, shape)) + ")"
    if not isinstance(value, Tensor):
        raise InputError(
            f"{name}: expected a tensor {wanted}, got {type(value).__name__}; use torch.as_tensor()"
        )
    if value.dtype != dtype or value.device.type != "cpu":
        raise InputError(
            f"{name}: expected {dtype} on the CPU, got {value.dtype} on {value.device};"
            f" use .to('cpu', {dtype})"
        )
    if value.requires_grad:
        raise InputError(f"{name}: expected a plain tensor, got one with grad; use .detach()")
    fits = value.ndim == len(shape) and all(
        isinstance(want, str) or size == want for size, want in zip(value.shape, shape, strict=True)
    )
    if not fits or (value.numel() == 0 and not empty):
        raise InputError(f"{name}: expected {wanted}, got {tuple(value.shape)}")


def check_unit_frames(name: str, frames: object) -> None:
    """Check that a value is a clip in the form used inside the library: (T, 3, H, W) in [-1, 1].

    Raises:
        InputError: another shape, not floating point, NaN, or values outside [-1, 1].
    """
    if not isinstance(frames, Tensor):
        raise InputError(
            f"{name}: expected a tensor (T, 3, H, W), got {type(frames).__name__};"
            " use torch.as_tensor()"
        )
    if not frames.is_floating_point():
        raise InputError(
            f"{name}: expected floating point (T, 3, H, W) in [-1, 1], got {frames.dtype}"
            f" {tuple(frames.shape)}; use frames.float() / 127.5 - 1 on 8-bit values"
        )
    if frames.ndim != 4 or frames.shape[1] != 3 or frames.numel() == 0:
        raise InputError(
            f"{name}: expected (T, 3, H, W), got {tuple(frames.shape)}; permute the dimensions"
        )
    check_finite(name, frames)
    low, high = (float(bound) for bound in frames.detach().aminmax())
    if low < -1 or high > 1:
        raise InputError(
            f"{name}: expected values in [-1, 1], got {low:.4g} to {high:.4g};"
            " rescale or .clamp(-1, 1) them"
        )

"""Keep geometry in float32 or better, whatever precision the model around it runs in."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function with autocast off and its half-precision tensor arguments widened to float32.

    float32 and float64 arguments are passed on as they are, so double precision stays double.

    Example:
        >>> @full_precision
        ... def square(x):
        ...     return x @ x
        >>> square(torch.eye(2, dtype=torch.bfloat16)).dtype
        torch.float32
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        values = [*args, *kwargs.values()]
        device = next((v.device.type for v in values if isinstance(v, torch.Tensor)), "cpu")
        with torch.autocast(device_type=device, enabled=False):
            return function(
                *(_widen(value) for value in args),  # type: ignore[arg-type]
                **{name: _widen(value) for name, value in kwargs.items()},  # type: ignore[arg-type]
            )

    return wrapper


def _widen(value: object) -> object:
    half = isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value  # type: ignore[union-attr]

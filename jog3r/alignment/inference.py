"""No gradients where none are wanted: tensors without their bookkeeping are a fifth faster."""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import wraps
from typing import Any, ParamSpec

import torch
from torch import Tensor

from jog3r.alignment.pairs import Alignment

P = ParamSpec("P")


def without_gradients(function: Callable[P, Alignment]) -> Callable[P, Alignment]:
    """Run a function in inference mode; what it returns are ordinary tensors."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Alignment:
        with torch.inference_mode():
            found = function(*args, **kwargs)
        tensors = {f.name: getattr(found, f.name) for f in fields(found)}
        made: dict[str, Any] = {k: v.clone() for k, v in tensors.items() if isinstance(v, Tensor)}
        return replace(found, **made)

    return wrapper

"""Scaled dot-product attention, with a quicker way for short sequences on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor

SHORT = 128
"""Number of keys up to which the explicit product is the quicker one on a CPU, with gradients."""

SHORT_BFLOAT16 = 512
"""The same in bfloat16, with and without gradients."""

MOST_BFLOAT16 = 2**26
"""Number of products of a query and a key up to which they are held at once in bfloat16."""

_FUSED_ONLY = ContextVar("_FUSED_ONLY", default=False)


@contextmanager
def fused_only() -> Iterator[None]:
    """Take torch's fused kernel whatever the length, as on accelerators, to count its cost."""
    token = _FUSED_ONLY.set(True)
    try:
        yield
    finally:
        _FUSED_ONLY.reset(token)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attend from queries to keys.

    torch's fused kernel is used, except for short sequences on a CPU where gradients flow or the
    numbers are bfloat16: there it takes up to three times as long (seen with torch 2.13).

    Args:
        q: queries `(..., Lq, d)`.
        k: keys `(..., Lk, d)`.
        v: values `(..., Lk, d)`.
        mask: True where a key is attended to, `(..., 1, Lk)`: the same for every query. Where no
            key is left the result is zero.

    Returns:
        `(..., Lq, d)`.

    Example:
        >>> q, k, v = torch.randn(3, 2, 4, 5, 8)
        >>> attention(q, k, v).shape
        torch.Size([2, 4, 5, 8])
    """
    if mask is not None:
        # What a row without any key gives is left open by torch, and NaN in some of its kernels.
        some = mask.any(dim=-1, keepdim=True)
        mask, v = mask | ~some, v * some
    if q.device.type == "cpu" and _is_short(q, k, v):
        return _explicit(q, k, v, mask)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def _is_short(q: Tensor, k: Tensor, v: Tensor) -> bool:
    keys = k.shape[-2]
    if _FUSED_ONLY.get():
        return False
    if q.dtype == torch.bfloat16:
        return keys <= SHORT_BFLOAT16 and q.shape[:-1].numel() * keys <= MOST_BFLOAT16
    trained = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
    return trained and keys <= SHORT


def _explicit(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores + scores.new_zeros(()).masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=-1).to(v.dtype) @ v

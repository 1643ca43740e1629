"""Attention of video tokens: within a frame, along time, and to the text.

Shapes as in the backbones: B samples, T frames, S places, D channels, N heads, L text tokens.
Tokens are **time first**, `x_TBSD`: frames and places are then views of the same memory, and no
attention has to reorder what another one left.

Source: Latte (Ma et al. 2024), PixArt-alpha (Chen et al. 2023), Open-Sora 1.0 to 1.2; numbers
checked against parity/stdit, stdit2 and stdit3.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake

from jog3r.attention import attention
from jog3r.backbones.rotary import Rotation, rotate

NORM_EPS = 1e-6
KEYS_MULTIPLE = 16
Order = Literal["norm-rotate", "rotate-norm"]


class SelfAttention(nn.Module):
    """Multi-head attention of tokens `x_TBSD` within a frame or along time.

    Queries and keys may be normalised per head and turned by their position in time; Open-Sora 1.1
    turns them first, 1.2 normalises them first.
    """

    def __init__(
        self, width: int, heads: int, *, qk_norm: bool = False, order: Order = "norm-rotate"
    ) -> None:
        super().__init__()
        self.heads = heads
        self.order: Order = order
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm = nn.RMSNorm(width // heads, eps=NORM_EPS) if qk_norm else None
        self.k_norm = nn.RMSNorm(width // heads, eps=NORM_EPS) if qk_norm else None
        self.proj = nn.Linear(width, width)

    def over_space(self, x_TBSD: Tensor) -> Tensor:
        """Attend among the places of each frame."""
        qkv = self.qkv(x_TBSD).flatten(0, 1).unflatten(-1, (3 * self.heads, -1))
        q, k, v = (x.transpose(1, 2) for x in self._heads(qkv))  # each (TB, N, S, D/N)
        out = attention(q, k, v).transpose(1, 2)
        return self.proj(out.reshape(x_TBSD.shape))

    def over_time(self, x_TBSD: Tensor, rotation: Rotation | None = None) -> Tensor:
        """Attend among the frames at each place."""
        qkv = self.qkv(x_TBSD).flatten(1, 2).unflatten(-1, (3 * self.heads, -1))
        q, k, v = (x.permute(1, 2, 0, 3) for x in self._heads(qkv, rotation))  # (BS, N, T, D/N)
        out = attention(q, k, v).permute(2, 0, 1, 3)
        return self.proj(out.reshape(x_TBSD.shape))

    def _heads(self, qkv: Tensor, rotation: Rotation | None = None) -> tuple[Tensor, ...]:
        """Split `(T, ..., 3N, D/N)`; normalise and turn queries and keys."""
        q, k, v = qkv.chunk(3, dim=-2)
        if self.q_norm is None and rotation is None:
            return q, k, v
        return self._prepared(q, self.q_norm, rotation), self._prepared(k, self.k_norm, rotation), v

    def _prepared(self, x: Tensor, norm: nn.RMSNorm | None, rotation: Rotation | None) -> Tensor:
        # Once to float32 and once back: torch's RMSNorm takes several times as long on a CPU.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        if rotation is not None and self.order == "rotate-norm":
            wide = rotate(wide, rotation)
        if norm is not None:
            wide = wide * (wide.square().mean(-1, keepdim=True) + NORM_EPS).rsqrt() * norm.weight
        if rotation is not None and self.order == "norm-rotate":
            wide = rotate(wide, rotation)
        return wide.to(x.dtype)


class TextAttention(nn.Module):
    """Multi-head attention of all tokens of a sample to its text."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_linear = nn.Linear(width, width)
        self.kv_linear = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_TBSD: Tensor, text_BLD: Tensor, mask_B11L: Tensor | None) -> Tensor:
        """Attend from every token to the text tokens that the mask allows."""
        T, _, S, _ = x_TBSD.shape
        q = self.q_linear(x_TBSD).unflatten(-1, (self.heads, -1))
        q = q.permute(1, 3, 0, 2, 4).flatten(2, 3)  # (B, N, TS, D/N)
        kv = self.kv_linear(text_BLD).unflatten(-1, (2 * self.heads, -1))
        k, v = kv.transpose(1, 2).chunk(2, dim=1)  # each (B, N, L, D/N)
        out = attention(q, k, v, mask_B11L).unflatten(2, (T, S))
        return self.proj(out.permute(2, 0, 3, 1, 4).flatten(3))


def without_padding(text: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Cut the text behind the longest prompt of the batch: what no sample sees costs nothing.

    Args:
        text: `(B, L, E)`.
        mask: `(B, L)`, True at the tokens to attend to; None means all.

    Returns:
        Text and mask, shorter; the mask is None where nothing is left to hide.
    """
    # One read of the mask from the device; a compiled graph, and a mask without values, as a dry
    # run has it, keep the fixed length instead.
    if mask is None or torch.compiler.is_compiling() or is_fake(mask):
        return text, mask
    seen = mask.cpu()
    used = seen.any(dim=0).nonzero()
    longest = int(used[-1]) + 1 if len(used) else 1
    # Attention to 60 keys takes up to three times as long as attention to 64.
    length = -(-longest // KEYS_MULTIPLE) * KEYS_MULTIPLE
    return text[:, :length], None if bool(seen[:, :length].all()) else mask[:, :length]

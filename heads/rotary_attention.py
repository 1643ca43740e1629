"""Attention with rotary positions: within a view, and from one view to another.

Shapes: P pairs, S tokens of a view (row by row), D channels, N heads. A view that consecutive pairs
share may come once; it is then worked on once and meets all of them.
"""

from torch import Tensor, nn

from jog3r.attention import attention
from jog3r.heads.rope2d import Rotation, rotate


class SelfAttention(nn.Module):
    """Multi-head attention within a view."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_PSD: Tensor, place: Rotation) -> Tensor:
        """Attend from every token to every token."""
        qkv = self.qkv(x_PSD).unflatten(-1, (3 * self.heads, -1)).transpose(1, 2)
        qk, v = qkv.split([2 * self.heads, self.heads], dim=1)
        q, k = rotate(qk, place).chunk(2, dim=1)  # each (P, N, S, D/N)
        return self.proj(attention(q, k, v).transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Multi-head attention from one view to the other."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projq = nn.Linear(width, width)
        self.projk = nn.Linear(width, width)
        self.projv = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_PSD: Tensor, y_PSD: Tensor, place_x: Rotation, place_y: Rotation) -> Tensor:
        """Attend from every token of x to every token of y."""
        q = rotate(self._split(self.projq(x_PSD)), place_x)
        k = rotate(self._split(self.projk(y_PSD)), place_y)
        v = self._split(self.projv(y_PSD))
        P = max(len(q), len(k))
        q, k, v = (once_per_pair(t, P) for t in (q, k, v))
        return self.proj(attention(q, k, v).transpose(1, 2).flatten(2))

    def _split(self, x_PSD: Tensor) -> Tensor:
        return x_PSD.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def once_per_pair(views: Tensor, pairs: int) -> Tensor:
    """Give each view as often as there are pairs that share it, one after the other."""
    if len(views) == pairs:
        return views
    shared = views[:, None].expand(-1, pairs // len(views), *views.shape[1:])
    return shared.flatten(0, 1)

"""Decoder of image pairs: two branches of transformer blocks that look at each other.

Branch 1 describes view 1 and branch 2 describes view 2, both in the frame of camera 1. In every
layer each branch attends to itself, then to what the other branch was **before** that layer. The
names of parameters are those of public DUSt3R checkpoints.

Shapes: P pairs, S tokens of a view (row by row), D channels, N heads.

Source: DUSt3R section 3.1 (Wang et al. 2024); JOG3R section 3 (6 layers); numbers checked against
parity/dust3r.
"""

import copy
from dataclasses import dataclass

from jaxtyping import Float
from timm.layers.mlp import Mlp
from torch import Tensor, nn

from jog3r.attention import attention
from jog3r.errors import InputError
from jog3r.heads.rope2d import Rotation, rotate, rotation_of_grid

NORM_EPS = 1e-6


class PairDecoder(nn.Module):
    """Two cross-attending decoder branches; see the module's text."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """The defaults are those of JOG3R on STDiT-XL/2: DUSt3R's decoder with half the layers.

        Attributes:
            in_width: channels of the features that come in.
            width: channels of a token inside (D).
            depth: layers of each branch.
            num_heads: of every attention.
            mlp_ratio: inner width of the feed-forward part over width.
            rope_base: of the rotary position embedding.
        """

        in_width: int = 1152
        width: int = 768
        depth: int = 6
        num_heads: int = 12
        mlp_ratio: float = 4.0
        rope_base: float = 100.0

        def build(self) -> "PairDecoder":
            """Make the decoder, initialised for training from scratch."""
            return PairDecoder(self)

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.width % (4 * config.num_heads):
            raise InputError(
                "width: expected a multiple of 4 times num_heads, got"
                f" {config.width} with {config.num_heads} heads"
            )
        self.config = config
        D, inner = config.width, int(config.width * config.mlp_ratio)
        self.decoder_embed = nn.Linear(config.in_width, D)
        self.dec_blocks = nn.ModuleList(
            DecoderBlock(D, config.num_heads, inner) for _ in range(config.depth)
        )
        self.dec_norm = nn.LayerNorm(D, eps=NORM_EPS)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        self.dec_blocks2 = copy.deepcopy(self.dec_blocks)  # both branches start alike

    def forward(
        self,
        tokens_1: Float[Tensor, "p s c"],
        tokens_2: Float[Tensor, "p s c"],
        grid: tuple[int, int],
    ) -> tuple[Float[Tensor, "p s d"], Float[Tensor, "p s d"]]:
        """Decode pairs of views.

        Args:
            tokens_1: features of view 1, row by row.
            tokens_2: features of view 2.
            grid: rows and columns of the tokens, h w = S.

        Raises:
            InputError: the grid does not have S places.
        """
        h, w = grid
        if h * w != tokens_1.shape[1]:
            raise InputError(f"grid: expected {tokens_1.shape[1]} places, got {h} x {w}")
        head_channels = self.config.width // self.config.num_heads
        place = rotation_of_grid(h, w, head_channels, self.config.rope_base, tokens_1.device)
        x_PSD, y_PSD = self.decoder_embed(tokens_1), self.decoder_embed(tokens_2)
        for block_1, block_2 in zip(self.dec_blocks, self.dec_blocks2, strict=True):
            x_PSD, y_PSD = block_1(x_PSD, y_PSD, place), block_2(y_PSD, x_PSD, place)
        return self.dec_norm(x_PSD), self.dec_norm(y_PSD)


class DecoderBlock(nn.Module):
    """Attention to the own view, attention to the other view, feed-forward part."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.norm_y = nn.LayerNorm(width, eps=NORM_EPS)
        self.cross_attn = CrossAttention(width, heads)
        self.norm3 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = Mlp(width, inner)  # its GELU is the exact one

    def forward(self, x_PSD: Tensor, y_PSD: Tensor, place: Rotation) -> Tensor:
        """Update the tokens of one view, given those of the other."""
        x_PSD = x_PSD + self.attn(self.norm1(x_PSD), place)
        x_PSD = x_PSD + self.cross_attn(self.norm2(x_PSD), self.norm_y(y_PSD), place)
        return x_PSD + self.mlp(self.norm3(x_PSD))


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

    def forward(self, x_PSD: Tensor, y_PSD: Tensor, place: Rotation) -> Tensor:
        """Attend from every token of x to every token of y."""
        q = rotate(self._split(self.projq(x_PSD)), place)
        k = rotate(self._split(self.projk(y_PSD)), place)
        v = self._split(self.projv(y_PSD))
        return self.proj(attention(q, k, v).transpose(1, 2).flatten(2))

    def _split(self, x_PSD: Tensor) -> Tensor:
        return x_PSD.unflatten(-1, (self.heads, -1)).transpose(1, 2)

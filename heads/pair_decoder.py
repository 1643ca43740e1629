"""Decoder of image pairs: two branches of transformer blocks that look at each other.

Branch 1 describes view 1 and branch 2 describes view 2, both in the frame of camera 1. In every
layer each branch attends to itself, then to what the other branch was **before** that layer. The
names of parameters are those of public DUSt3R checkpoints.

Shapes: P pairs, S tokens of a view (row by row), D channels. A first view that consecutive pairs
share may come once: until the pairs part in the middle of the first layer, it is worked on once.

Source: DUSt3R section 3.1 (Wang et al. 2024); JOG3R section 3 (6 layers); numbers checked against
parity/dust3r.
"""

import copy
from collections.abc import Collection
from dataclasses import dataclass

import torch
from jaxtyping import Float
from timm.layers.mlp import Mlp
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jog3r.errors import InputError
from jog3r.heads.orientation import Layout
from jog3r.heads.rope2d import Rotation
from jog3r.heads.rotary_attention import CrossAttention, SelfAttention, once_per_pair

NORM_EPS = 1e-6

Layers = dict[int, Tensor]
"""Tokens of one branch behind the numbered layers; behind the last one they are normalised."""


class PairBranches(nn.Module):
    """The layers of both branches: what PairDecoder and DUSt3R have in common.

    Attributes:
        gradient_checkpointing: whether training computes each block twice instead of keeping
            what is in it.
    """

    def __init__(
        self, *, in_width: int, width: int, depth: int, heads: int, inner: int, rope_base: float
    ) -> None:
        super().__init__()
        check_heads(width, heads)
        self.gradient_checkpointing = False
        self.head_channels, self.rope_base = width // heads, rope_base
        self.decoder_embed = nn.Linear(in_width, width)
        self.dec_blocks = nn.ModuleList(DecoderBlock(width, heads, inner) for _ in range(depth))
        self.dec_norm = nn.LayerNorm(width, eps=NORM_EPS)
        initialise_linears(self)
        self.dec_blocks2 = copy.deepcopy(self.dec_blocks)  # both branches start alike

    def decode(
        self,
        tokens_1: Tensor,
        tokens_2: Tensor,
        layout_1: Layout,
        layout_2: Layout,
        keep: Collection[int],
    ) -> tuple[Layers, Layers]:
        """Run all layers, and hand out the tokens behind those that are asked for.

        Args:
            tokens_1: features of view 1 `(G, S, in_width)`, each that of P / G consecutive pairs.
            tokens_2: features of view 2 `(P, S, in_width)`.
            layout_1: how the tokens of view 1 lie.
            layout_2: how those of view 2 lie.
            keep: layers whose tokens are wanted; the first is 1, and 0 is what came in.

        Raises:
            InputError: other channels, other numbers of views, a grid that does not have as many
                places as there are tokens, or no such layer.
        """
        self._check(tokens_1, tokens_2, keep)
        place_1, place_2 = self._place(layout_1, tokens_1), self._place(layout_2, tokens_2)
        x_PSD, y_PSD = self.decoder_embed(tokens_1), self.decoder_embed(tokens_2)
        kept_1, kept_2 = ({0: tokens} if 0 in keep else {} for tokens in (tokens_1, tokens_2))
        blocks = zip(self.dec_blocks, self.dec_blocks2, strict=True)
        for number, (block_1, block_2) in enumerate(blocks, start=1):
            x_PSD, y_PSD = (
                self.run(block_1, x_PSD, y_PSD, place_1, place_2),
                self.run(block_2, y_PSD, x_PSD, place_2, place_1),
            )
            if number in keep:
                last = number == len(self.dec_blocks)
                kept_1[number] = self.dec_norm(x_PSD) if last else x_PSD
                kept_2[number] = self.dec_norm(y_PSD) if last else y_PSD
        return kept_1, kept_2

    def _place(self, layout: Layout, tokens: Tensor) -> Rotation:
        h, w = layout.grid
        if h < 1 or w < 1 or h * w != tokens.shape[1]:
            raise InputError(f"grid: expected {tokens.shape[1]} places, got {h} x {w}")
        return layout.rotation(self.head_channels, self.rope_base, tokens.device)

    def _check(self, tokens_1: Tensor, tokens_2: Tensor, keep: Collection[int]) -> None:
        depth = len(self.dec_blocks)
        if not all(0 <= number <= depth for number in keep):
            raise InputError(f"keep: expected layers from 0 to {depth}, got {sorted(keep)}")
        for view, tokens in enumerate((tokens_1, tokens_2), start=1):
            C = self.decoder_embed.in_features
            if tokens.shape[-1] != C:
                raise InputError(f"tokens_{view}: expected {C} channels, got {tokens.shape[-1]}")
        if not len(tokens_1) or not len(tokens_2) or len(tokens_2) % len(tokens_1):
            raise InputError(
                f"tokens_2: expected as many as tokens_1, {len(tokens_1)}, or equally many for each"
                f" of them, and at least one, got {len(tokens_2)}"
            )

    def run(self, block: nn.Module, *args: Tensor | Rotation) -> Tensor:
        """Run a block, in the way that `gradient_checkpointing` says."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *args, use_reentrant=False)  # type: ignore[return-value]
        return block(*args)


class PairDecoder(PairBranches):
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
        super().__init__(
            in_width=config.in_width,
            width=config.width,
            depth=config.depth,
            heads=config.num_heads,
            inner=int(config.width * config.mlp_ratio),
            rope_base=config.rope_base,
        )
        self.config = config

    def forward(
        self,
        tokens_1: Float[Tensor, "g s c"],
        tokens_2: Float[Tensor, "p s c"],
        grid: tuple[int, int],
    ) -> tuple[Float[Tensor, "p s d"], Float[Tensor, "p s d"]]:
        """Decode pairs of views.

        Args:
            tokens_1: features of view 1, row by row; one for each pair, or one for each run of
                p / g consecutive pairs that share it, which is then worked on once.
            tokens_2: features of view 2.
            grid: rows and columns of the tokens, h w = S.

        Raises:
            InputError: the grid does not have S places, or other sizes that do not fit.
        """
        return self._last(tokens_1, tokens_2, grid)

    def star(
        self, tokens: Float[Tensor, "t s c"], grid: tuple[int, int]
    ) -> tuple[Float[Tensor, "p s d"], Float[Tensor, "p s d"]]:
        """Decode the pairs (0, f) of frame 0 with every other one, P = T - 1.

        The same numbers as `forward`, up to rounding; what is the same for all pairs runs once.

        Args:
            tokens: features of the frames, row by row.
            grid: rows and columns of the tokens, h w = S.

        Raises:
            InputError: the grid does not have S places, or there are fewer than two frames.
        """
        check_star(tokens)
        return self._last(tokens[:1], tokens[1:], grid)

    def _last(
        self, tokens_1: Tensor, tokens_2: Tensor, grid: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        layout, last = Layout(grid), self.config.depth
        kept_1, kept_2 = self.decode(tokens_1, tokens_2, layout, layout, keep=(last,))
        return kept_1[last], kept_2[last]


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

    def forward(self, x_PSD: Tensor, y_PSD: Tensor, place_x: Rotation, place_y: Rotation) -> Tensor:
        """Update the tokens of one view, given those of the other."""
        x_PSD = x_PSD + self.attn(self.norm1(x_PSD), place_x)
        other = self.cross_attn(self.norm2(x_PSD), self.norm_y(y_PSD), place_x, place_y)
        x_PSD = once_per_pair(x_PSD, len(other)) + other
        return x_PSD + self.mlp(self.norm3(x_PSD))


def initialise_linears(module: nn.Module) -> None:
    """Initialise all linear layers for training from scratch."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


def check_heads(width: int, heads: int) -> None:
    """Check that every head has room for a row's and a column's rotation.

    Raises:
        InputError: the width is no multiple of four times the heads.
    """
    if width % (4 * heads):
        raise InputError(
            f"width: expected a multiple of 4 times num_heads, got {width} with {heads} heads"
        )


def check_star(tokens: Tensor) -> None:
    """Check that there is a pair.

    Raises:
        InputError: fewer than two frames.
    """
    if len(tokens) < 2:
        raise InputError(f"tokens: expected at least 2 frames, got {len(tokens)}")

"""DUSt3R: two images to two pointmaps, both in the frame of camera 1.

Every image is encoded alone; two cross-attending decoder branches and a head each follow. The
names of parameters are those of public checkpoints, which load unchanged.

Shapes: P pairs, N images, S tokens of an image (row by row), D channels.

Source: DUSt3R section 3.1 (Wang et al. 2024); numbers checked against parity/dust3r,
dust3r_manyar and dust3r_dpt.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from jog3r.config import check_positive
from jog3r.errors import InputError
from jog3r.heads import dpt_head
from jog3r.heads.dpt_head import CHUNK, DPTHead, Four, check_chunk
from jog3r.heads.image_encoder import CHANNELS, NORM_EPS, EncoderBlock, PatchEmbedder
from jog3r.heads.linear_head import LinearHead
from jog3r.heads.orientation import Layout, Part, layout_of, together
from jog3r.heads.pair_decoder import (
    Layers,
    PairBranches,
    check_heads,
    check_star,
    initialise_linears,
)
from jog3r.heads.pointmap import DepthMode, Pointmap

Head = Literal["linear", "dpt"]
DEPTHS = 4
SIZES = ("width", "depth", "heads")


class DUSt3R(PairBranches):
    """The full network; see the module's text."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """The defaults are those of the public checkpoint for 512 px with a DPT head.

        Attributes:
            kind: says in a file which network this is.
            patch: side of a token's patch [px].
            encoder_width: channels of a token in the encoder.
            encoder_depth: its blocks.
            encoder_heads: of its attention.
            decoder_width: channels of a token in the decoder.
            decoder_depth: layers of each branch.
            decoder_heads: of its attention.
            mlp_ratio: inner width of the feed-forward parts over width.
            rope_base: of the rotary position embedding.
            head: linear, or DPT.
            dpt_feature_dim: of a DPT head, see `DPTHead.Config`; so are the next two.
            dpt_last_dim: likewise.
            dpt_layer_dims: likewise.
            dpt_hooks: layers of the decoder whose tokens a DPT head takes; 0 is the encoder.
            depth_mode: from raw vectors to points, see `jog3r.heads.pointmap`.
        """

        kind: Literal["dust3r"] = "dust3r"
        patch: int = 16
        encoder_width: int = 1024
        encoder_depth: int = 24
        encoder_heads: int = 16
        decoder_width: int = 768
        decoder_depth: int = 12
        decoder_heads: int = 12
        mlp_ratio: float = 4.0
        rope_base: float = 100.0
        head: Head = "dpt"
        dpt_feature_dim: int = 256
        dpt_last_dim: int = 128
        dpt_layer_dims: Four = (96, 192, 384, 768)
        dpt_hooks: Four = (0, 6, 9, 12)
        depth_mode: DepthMode = "exp"

        def __post_init__(self) -> None:
            numbers = ("patch", "mlp_ratio", "rope_base", "dpt_feature_dim", "dpt_last_dim")
            sizes = [f"{part}_{what}" for part in ("encoder", "decoder") for what in SIZES]
            check_positive("network", self, *numbers, *sizes, "dpt_layer_dims")
            check_heads(self.encoder_width, self.encoder_heads)
            check_heads(self.decoder_width, self.decoder_heads)
            for field, choices in (("head", Head), ("depth_mode", DepthMode)):
                if getattr(self, field) not in get_args(choices):
                    raise InputError(
                        f"network.{field}: expected one of {get_args(choices)},"
                        f" got {getattr(self, field)!r}; correct the config"
                    )
            if self.head == "dpt":
                self._check_dpt()

        def _check_dpt(self) -> None:
            if self.patch != dpt_head.PATCH:
                raise InputError(
                    f"network.patch: expected {dpt_head.PATCH} with a DPT head, got {self.patch};"
                    " take the linear head"
                )
            if len(self.dpt_layer_dims) != DEPTHS:
                raise InputError(
                    f"network.dpt_layer_dims: expected four numbers, got {self.dpt_layer_dims};"
                    " correct the config"
                )
            hooks, last = self.dpt_hooks, self.decoder_depth
            layers = hooks[1:]
            if len(hooks) != DEPTHS or hooks[0] != 0 or not all(1 <= k <= last for k in layers):
                raise InputError(
                    f"network.dpt_hooks: expected 0 and three layers from 1 to {last}, got {hooks};"
                    " correct the config"
                )

        def build(self) -> "DUSt3R":
            """Make the network, initialised for training from scratch."""
            return DUSt3R(self)

    def __init__(self, config: Config) -> None:
        super().__init__(
            in_width=config.encoder_width,
            width=config.decoder_width,
            depth=config.decoder_depth,
            heads=config.decoder_heads,
            inner=int(config.decoder_width * config.mlp_ratio),
            rope_base=config.rope_base,
        )
        self.config = config
        D, inner = config.encoder_width, int(config.encoder_width * config.mlp_ratio)
        self.patch_embed = PatchEmbedder(config.patch, D)
        self.enc_blocks = nn.ModuleList(
            EncoderBlock(D, config.encoder_heads, inner) for _ in range(config.encoder_depth)
        )
        self.enc_norm = nn.LayerNorm(D, eps=NORM_EPS)
        initialise_linears(self.enc_blocks)
        # Of the encoder's pretraining; checkpoints carry it, nothing uses it.
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.decoder_width))
        self.hooks = config.dpt_hooks if config.head == "dpt" else (config.decoder_depth,)
        self.downstream_head1, self.downstream_head2 = make_head(config), make_head(config)

    def forward(
        self,
        images_1: Float[Tensor, "p c h w"],
        images_2: Float[Tensor, "p c h2 w2"],
        true_shape_1: Int[Tensor, "p 2"] | None = None,
        true_shape_2: Int[Tensor, "p 2"] | None = None,
        *,
        chunk: int = CHUNK,
    ) -> tuple[Pointmap, Pointmap]:
        """Give the pointmaps of pairs of images.

        A batch that mixes landscape and portrait images holds all of them in landscape layout,
        the portrait ones transposed, and says by the true shapes which they are. Their pointmaps
        come in the same layout.

        Args:
            images_1: `(P, 3, H, W)` in [-1, 1], sides multiples of the patch.
            images_2: likewise; the size may be another one.
            true_shape_1: (height, width) of every upright image 1 [px]; None: as stored.
            true_shape_2: of every image 2.
            chunk: pairs that a DPT head works on at a time, which bounds the memory.

        Raises:
            InputError: sizes that do not fit.
        """
        if len(images_1) != len(images_2):
            raise InputError(
                f"images_2: expected as many as images_1, {len(images_1)}, got {len(images_2)}"
            )
        layout_1 = self._layout(images_1, true_shape_1, "_1")
        layout_2 = self._layout(images_2, true_shape_2, "_2")
        tokens = self._encode(images_1, layout_1), self._encode(images_2, layout_2)
        return self._pointmaps(tokens, (layout_1, layout_2), chunk)

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n s d"]:
        """Encode images, each alone.

        Args:
            images: `(N, 3, H, W)` in [-1, 1], sides multiples of the patch.

        Raises:
            InputError: sizes that do not fit.
        """
        return self._encode(images, self._layout(images, None, ""))

    def pointmaps(
        self,
        tokens_1: Float[Tensor, "_ s d"],
        tokens_2: Float[Tensor, "p s2 d"],
        grid: tuple[int, int],
        grid_2: tuple[int, int] | None = None,
        *,
        chunk: int = CHUNK,
    ) -> tuple[Pointmap, Pointmap]:
        """Give the pointmaps of pairs of encoded images.

        Args:
            tokens_1: of images 1, from `encode`; once where it is the same image for all pairs.
            tokens_2: of images 2.
            grid: rows and columns of the tokens.
            grid_2: of images 2 where it is another one.
            chunk: pairs that a DPT head works on at a time.

        Raises:
            InputError: sizes that do not fit.
        """
        layouts = Layout(grid), Layout(grid_2 or grid)
        return self._pointmaps((tokens_1, tokens_2), layouts, chunk)

    def star_pointmaps(
        self, tokens: Float[Tensor, "t s d"], grid: tuple[int, int], *, chunk: int = CHUNK
    ) -> tuple[Pointmap, Pointmap]:
        """Give the pointmaps of the pairs (0, f) of frame 0 with every other one, P = T - 1.

        The same numbers as `pointmaps`, up to rounding; what is the same for all pairs runs once.

        Args:
            tokens: of the frames, from `encode`.
            grid: rows and columns of the tokens.
            chunk: pairs that a DPT head works on at a time.

        Raises:
            InputError: the grid does not have S places, or there are fewer than two frames.
        """
        check_star(tokens)
        return self._pointmaps((tokens[:1], tokens[1:]), (Layout(grid), Layout(grid)), chunk)

    def _layout(self, images: Tensor, true_shape: Tensor | None, view: str) -> Layout:
        N, patch, size = len(images), self.config.patch, (images.shape[2], images.shape[3])
        whole = all(side >= patch and side % patch == 0 for side in size)
        if N == 0 or images.shape[1] != CHANNELS or not whole:
            raise InputError(
                f"images{view}: expected (N, 3, H, W), at least one, with sides that are multiples"
                f" of {patch}, got {tuple(images.shape)}; resize or crop them"
            )
        if true_shape is not None and len(true_shape) != N:
            raise InputError(
                f"true_shape{view}: expected one per image, {N}, got {len(true_shape)}"
            )
        return layout_of(size, patch, true_shape, f"true_shape{view}")

    def _encode(self, images: Tensor, layout: Layout) -> Tensor:
        parts = layout.parts()
        x_NSD = together(parts, [self._embed(images, part) for part in parts])
        head_channels = self.config.encoder_width // self.config.encoder_heads
        place = layout.rotation(head_channels, self.config.rope_base, images.device)
        for block in self.enc_blocks:
            x_NSD = self.run(block, x_NSD, place)
        return self.enc_norm(x_NSD)

    def _embed(self, images: Tensor, part: Part) -> Tensor:
        images = images[part.views]
        return self.patch_embed(images.transpose(2, 3) if part.transposed else images)

    def _pointmaps(
        self,
        tokens: tuple[Tensor, Tensor],
        layouts: tuple[Layout, Layout],
        chunk: int,
    ) -> tuple[Pointmap, Pointmap]:
        check_chunk(chunk)
        kept = self.decode(*tokens, *layouts, keep=self.hooks)
        return (
            self._map(self.downstream_head1, kept[0], layouts[0], chunk),
            self._map(self.downstream_head2, kept[1], layouts[1], chunk),
        )

    def _map(
        self, head: LinearHead | DPTHead, kept: Layers, layout: Layout, chunk: int
    ) -> Pointmap:
        maps = []
        parts = layout.parts()
        for part in parts:
            tokens = [kept[hook][part.views] for hook in self.hooks]
            if isinstance(head, DPTHead):
                found = head(tokens, part.grid, chunk=chunk)
            else:
                found = head(tokens[0], part.grid)
            maps.append(found.transposed() if part.transposed else found)
        return Pointmap(*(together(parts, values) for values in zip(*maps, strict=True)))


def make_head(config: DUSt3R.Config) -> LinearHead | DPTHead:
    """Make the head of one view."""
    D, depth_mode = config.decoder_width, config.depth_mode
    if config.head == "linear":
        return LinearHead.Config(width=D, patch=config.patch, depth_mode=depth_mode).build()
    return DPTHead.Config(
        token_dims=(config.encoder_width, D, D, D),
        feature_dim=config.dpt_feature_dim,
        last_dim=config.dpt_last_dim,
        layer_dims=config.dpt_layer_dims,
        depth_mode=depth_mode,
    ).build()

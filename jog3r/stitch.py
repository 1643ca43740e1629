"""The stitched network: a video backbone whose tokens, tapped in the middle, feed a pointmap head.

Knows tensors only. Generation runs the whole backbone; reconstruction stops at the tap.

Source: JOG3R (Huang et al. 2025), section 3; the linear between backbone and decoder is the
decoder's own first layer.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from jog3r.backbones.interface import BackboneOutput, VideoFormat
from jog3r.backbones.registry import build_backbone
from jog3r.config import check_positive
from jog3r.errors import InputError
from jog3r.heads.linear_head import LinearHead
from jog3r.heads.pair_decoder import PairDecoder


@dataclass(frozen=True)
class PairPrediction:
    """Pointmaps of P pairs (first, second), both in the camera frame of the first.

    Attributes:
        points_1: Of the pair's first frame, up to one scale per pair.
        points_2: Of its second frame, at the same scale.
        confidence_1: At least 1.
        confidence_2: Likewise.
    """

    points_1: Float[Tensor, "b p h w 3"]
    points_2: Float[Tensor, "b p h w 3"]
    confidence_1: Float[Tensor, "b p h w"]
    confidence_2: Float[Tensor, "b p h w"]


class StitchedModel(nn.Module):
    """Backbone, tap, two-branch decoder and linear heads."""

    @dataclass(kw_only=True, frozen=True)
    class Config:
        """Plain values.

        Args:
            kind: Tells this network from others in a file.
            backbone: Name in the registry of backbones.
            backbone_config: Fields of that backbone's Config.
            tap: Block whose output feeds the head (the first block is 1); None for a backbone
                without a head, which generates only.
            decoder_width: Channels of the head's decoders.
            decoder_depth: Blocks of each decoder.
            decoder_heads: Their attention heads.
            patch: Image pixels per token and axis in the pointmaps.
        """

        kind: Literal["stitched"] = "stitched"
        backbone: str = "stdit"
        backbone_config: dict[str, Any] = field(default_factory=dict)
        tap: int | None = 26
        decoder_width: int = 768
        decoder_depth: int = 6
        decoder_heads: int = 12
        patch: int = 16

        def __post_init__(self) -> None:
            numbers = ("decoder_width", "decoder_depth", "decoder_heads", "patch")
            check_positive("network", self, *numbers, *([] if self.tap is None else ["tap"]))

        def build(self) -> "StitchedModel":
            """Make the network with fresh weights."""
            return StitchedModel(self)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone, config.backbone_config)
        if config.tap is None:
            return
        of_backbone = self.backbone.config
        if config.tap > of_backbone.depth:
            raise InputError(
                f"network.tap: expected a block from 1 to {of_backbone.depth}, got {config.tap};"
                " correct the config"
            )
        self.tap_norm = nn.LayerNorm(of_backbone.hidden_size)
        self.decoder = PairDecoder.Config(
            in_width=of_backbone.hidden_size,
            width=config.decoder_width,
            depth=config.decoder_depth,
            num_heads=config.decoder_heads,
        ).build()
        head = LinearHead.Config(width=config.decoder_width, patch=config.patch)
        self.head_1, self.head_2 = head.build(), head.build()

    @property
    def tap(self) -> int:
        """Block whose output feeds the head.

        Raises:
            InputError: This network has no head.
        """
        self.check_head()
        assert self.config.tap is not None
        return self.config.tap

    def forward(
        self,
        latents: Float[Tensor, "b c t h w"],
        timestep: Float[Tensor, " b"],
        text: Float[Tensor, "b l e"],
        text_mask: Bool[Tensor, "b l"],
        *,
        video_format: VideoFormat | None = None,
    ) -> BackboneOutput:
        """Run one sampling step's prediction; the tap's tokens come along if there is a tap."""
        taps = () if self.config.tap is None else (self.config.tap,)
        return self.backbone(
            latents, timestep, text, text_mask, video_format=video_format, taps=taps
        )

    def tokens(
        self,
        latents: Float[Tensor, "b c t h w"],
        timestep: Float[Tensor, " b"],
        text: Float[Tensor, "b l e"],
        text_mask: Bool[Tensor, "b l"],
        *,
        video_format: VideoFormat | None = None,
    ) -> Float[Tensor, "b t s d"]:
        """Give the tokens at the tap; the blocks behind it do not run.

        Raises:
            InputError: This network has no head.
        """
        tap = self.tap
        out = self.backbone(
            latents, timestep, text, text_mask, video_format=video_format, taps=(tap,), until=tap
        )
        return out.taps[tap]

    def joint(
        self,
        latents: Float[Tensor, "b c t h w"],
        timestep: Float[Tensor, " b"],
        text: Float[Tensor, "b l e"],
        text_mask: Bool[Tensor, "b l"],
        *,
        reconstructed: int,
        video_format: VideoFormat | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run one batched pass in which the last `reconstructed` samples stop at the tap.

        Returns:
            Prediction of the first samples, tokens of the last ones.

        Raises:
            InputError: This network has no head.
        """
        tap = self.tap
        out = self.backbone(
            latents,
            timestep,
            text,
            text_mask,
            video_format=video_format,
            taps=(tap,),
            early=(reconstructed, tap),
        )
        assert out.prediction is not None  # only `until` leaves it out
        return out.prediction, out.taps[tap][-reconstructed:]

    def pointmaps(
        self, tokens: Float[Tensor, "b t s d"], pairs: Int[Tensor, "b p 2"], grid: tuple[int, int]
    ) -> PairPrediction:
        """Decode pairs (i, j) of frames; both pointmaps of a pair are in the camera of i.

        Args:
            tokens: Tokens at the tap, row by row within each frame.
            pairs: The frames of each sample's pairs; the paper's are (0, f).
            grid: Token rows and columns of a frame.

        Raises:
            InputError: Tokens and grid do not fit, or this network has no head.
        """
        self._check_grid(tokens, grid)
        tokens = self.tap_norm(tokens)
        first, second = (self._views(tokens, view) for view in pairs.unbind(dim=-1))
        return self._decode(first, second, grid, pairs.shape[:2])

    def star_pointmaps(
        self, tokens: Float[Tensor, "b t s d"], partners: Int[Tensor, "b p"], grid: tuple[int, int]
    ) -> PairPrediction:
        """Decode the pairs (0, f) of each sample; what all of them share of frame 0 runs once.

        The same as `pointmaps`, up to rounding, in less time.

        Args:
            tokens: Tokens at the tap, row by row within each frame.
            partners: The frames f.
            grid: Token rows and columns of a frame.

        Raises:
            InputError: Tokens and grid do not fit, or this network has no head.
        """
        self._check_grid(tokens, grid)
        views = (tokens[:, 0], self._views(tokens, partners))
        first, second = (self.tap_norm(view) for view in views)
        return self._decode(first, second, grid, partners.shape)

    def _check_grid(self, tokens: Tensor, grid: tuple[int, int]) -> None:
        self.check_head()
        S = tokens.shape[2]
        if grid[0] * grid[1] != S:
            raise InputError(
                f"grid: expected rows x columns = {S} tokens, got {grid}; pass the backbone's token"
                " grid"
            )

    @staticmethod
    def _views(tokens: Tensor, frames: Tensor) -> Tensor:
        """Pick frames `(B, P)` of each sample, all in one dimension."""
        places = frames[:, :, None, None].expand(-1, -1, *tokens.shape[2:])
        return torch.gather(tokens, 1, places).flatten(0, 1)

    def _decode(
        self, first: Tensor, second: Tensor, grid: tuple[int, int], shape: tuple[int, ...]
    ) -> PairPrediction:
        decoded_1, decoded_2 = self.decoder(first, second, grid)
        points_1, confidence_1 = self.head_1(decoded_1, grid)
        points_2, confidence_2 = self.head_2(decoded_2, grid)
        maps = (points_1, points_2, confidence_1, confidence_2)
        return PairPrediction(*(x.unflatten(0, shape) for x in maps))

    def check_head(self) -> None:
        """Check that there is a head.

        Raises:
            InputError: There is none.
        """
        if self.config.tap is None:
            raise InputError(
                "network: expected a backbone with a pointmap head, got one without; train a head"
                " (recipes/jog3r_opensora10.yaml) or load a model that has one"
            )

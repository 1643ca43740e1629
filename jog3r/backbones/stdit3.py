"""STDiT3, the video diffusion transformer of Open-Sora 1.2, with feature taps.

Spatial blocks and temporal blocks alternate: each attends within a frame or along time, then to
the text, then runs its feed-forward part. Rate, height and width of the video are conditions; clean
frames may stand among noised ones. The names of parameters and buffers are those of the public
checkpoints, which load unchanged.

Shapes: B samples, T frames, S places of a frame (row by row), D channels, L text tokens; F is 1,
or T where clean frames are modulated apart. Tokens are kept **time first**, `x_TBSD`: spatial
attention batches over (T, B) and temporal attention over (B, S), both views of the same memory.

Source: Open-Sora 1.2 (Zheng et al. 2024, arXiv 2412.20404); numbers checked against parity/stdit3.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jog3r.backbones.arguments import (
    check_inputs,
    check_video_format,
    check_way_out,
    check_width,
    check_x_mask,
)
from jog3r.backbones.embedders import NumberEmbedder, PatchEmbedder, TextEmbedder, token_grid
from jog3r.backbones.feed_forward import GELU, feed_forward
from jog3r.backbones.initialisation import initialise_linears, initialise_patches
from jog3r.backbones.interface import BackboneOutput, VideoFormat
from jog3r.backbones.modulation import (
    CleanFrames,
    FinalLayer,
    modulate,
    noised_tokens,
    normalise,
)
from jog3r.backbones.positions import sincos_pixels
from jog3r.backbones.rotary import RotaryTime, Rotation
from jog3r.backbones.token_attention import SelfAttention, TextAttention, without_padding
from jog3r.config import check_positive


class STDiT3(nn.Module):
    """Spatial-temporal diffusion transformer; see the module's text for its shapes."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """The defaults are STDiT3-XL/2 as published (OpenSora-STDiT-v3).

        Attributes:
            in_channels: of the latents.
            patch_size: latent frames, rows and columns per token.
            hidden_size: channels of a token (D).
            depth: number of pairs of a spatial and a temporal block.
            num_heads: of every attention.
            mlp_ratio: inner width of the feed-forward part over hidden_size.
            caption_channels: of the text features.
            max_text_tokens: length of the stored null text.
            learn_sigma: the prediction has a second half of channels, for the variance.
            qk_norm: normalise queries and keys of every self-attention, before they are turned.
            input_sq_size: side of the square video whose positions count in whole steps [px].
            gelu: of the blocks. Public checkpoints use the tanh form; "exact" is within 5e-4 of it
                and three to four times as quick on a CPU.
        """

        in_channels: int = 4
        patch_size: tuple[int, int, int] = (1, 2, 2)
        hidden_size: int = 1152
        depth: int = 28
        num_heads: int = 16
        mlp_ratio: float = 4.0
        caption_channels: int = 4096
        max_text_tokens: int = 300
        learn_sigma: bool = True
        qk_norm: bool = True
        input_sq_size: int = 512
        gelu: GELU = "tanh"

        def __post_init__(self) -> None:
            numbers = ("in_channels", "patch_size", "hidden_size", "depth", "num_heads")
            numbers += ("mlp_ratio", "caption_channels", "max_text_tokens", "input_sq_size")
            check_positive("stdit3", self, *numbers)

        def build(self) -> "STDiT3":
            """Make the network, initialised for training from scratch."""
            return STDiT3(self)

    def __init__(self, config: Config) -> None:
        super().__init__()
        check_width(config.hidden_size, 2 * config.num_heads, 4)
        self.config = config
        self.gradient_checkpointing = False
        D = config.hidden_size
        self.rope = RotaryTime(D // config.num_heads)
        self.x_embedder = PatchEmbedder(config.in_channels, config.patch_size, D)
        self.t_embedder = NumberEmbedder(D)
        self.fps_embedder = NumberEmbedder(D)
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(D, 6 * D))
        self.y_embedder = TextEmbedder(config.caption_channels, config.max_text_tokens, D)
        self.spatial_blocks = nn.ModuleList(Block(config, "space") for _ in range(config.depth))
        self.temporal_blocks = nn.ModuleList(Block(config, "time") for _ in range(config.depth))
        out_channels = config.in_channels * (2 if config.learn_sigma else 1)
        self.final_layer = FinalLayer(D, config.patch_size, out_channels)
        self.initialise()

    def forward(
        self,
        latents: Float[Tensor, "b c t h w"],
        timestep: Float[Tensor, " b"],
        text: Float[Tensor, "b l e"] | None,
        text_mask: Bool[Tensor, "b l"] | None = None,
        *,
        video_format: VideoFormat | None = None,
        x_mask: Bool[Tensor, "b t"] | None = None,
        taps: Collection[int] = (),
        until: int | None = None,
        early: tuple[int, int] | None = None,
    ) -> BackboneOutput:
        """Predict the velocity (or what the checkpoint was trained for); hand out tapped tokens.

        Args:
            latents: noisy latents of any size; what is no whole number of patches is filled up with
                zeros, and the prediction cut to the size of the latents.
            timestep: of the diffusion, in [0, 1000].
            text: text features; None stands for the stored null text.
            text_mask: True at the tokens to attend to; None means all.
            video_format: of the decoded video; this network uses height, width and rate.
            x_mask: True for noised latent frames, False for clean ones; None means all noised.
            taps: blocks whose output is handed out, the first being 1: block k is the k-th spatial
                block and the k-th temporal one. A tap holds the samples that went through it.
            until: last block to run; there is no prediction then.
            early: (n, block): the last n samples leave the batch after that block, and the
                prediction is that of the others. It equals two calls, the second with `until`.

        Raises:
            InputError: sizes that do not fit, no video_format, or a block that does not exist.
        """
        config, null_length = self.config, self.config.max_text_tokens
        check_inputs(config, latents, timestep, text, text_mask, null_length=null_length)
        B = latents.shape[0]
        check_way_out(config.depth, B, taps, until, early)
        check_x_mask(x_mask, latents)
        video_format = check_video_format(video_format, B)
        T, h, w = grid = token_grid(tuple(latents.shape[2:]), config.patch_size)
        dtype = self.x_embedder.proj.weight.dtype

        x_TBSD = self.x_embedder(latents.to(dtype))
        pixels = (video_format.height * video_format.width).sqrt()
        place_BSD = sincos_pixels(config.hidden_size, h, w, pixels / config.input_sq_size)
        x_TBSD = x_TBSD + place_BSD.to(dtype)
        rotation = self.rope(T)

        rate_BD = self.fps_embedder(video_format.fps)
        t_BD = self.t_embedder(timestep) + rate_BD
        t_FB6D, clean = self._modulation(t_BD)[None], None
        if x_mask is not None:
            zero_BD = self.t_embedder(torch.zeros_like(timestep)) + rate_BD
            clean = CleanFrames(zero_BD, noised_tokens(x_mask, config.patch_size[0]))
            t_FB6D = clean.modulation(t_FB6D[0], self._modulation(zero_BD))

        text = self.null_text(B) if text is None else text
        text, text_mask = without_padding(text, text_mask)
        text_BLD = self.y_embedder(text.to(dtype))
        mask_B11L = None if text_mask is None else text_mask[:, None, None, :]

        leaving, exit_block = early or (0, 0)
        collected: dict[int, Tensor] = {}
        pairs = zip(self.spatial_blocks, self.temporal_blocks, strict=True)
        for number, (spatial_block, temporal_block) in enumerate(pairs, start=1):
            x_TBSD = self._run(spatial_block, x_TBSD, t_FB6D, text_BLD, mask_B11L, None)
            x_TBSD = self._run(temporal_block, x_TBSD, t_FB6D, text_BLD, mask_B11L, rotation)
            if number in taps:
                collected[number] = x_TBSD.transpose(0, 1)
            if number == until:
                return BackboneOutput(prediction=None, taps=collected)
            if number == exit_block:
                B -= leaving
                x_TBSD, t_FB6D, text_BLD = x_TBSD[:, :B], t_FB6D[:, :B], text_BLD[:B]
                mask_B11L = None if mask_B11L is None else mask_B11L[:B]
        clean = None if clean is None else clean.first(B)
        prediction = self.final_layer(x_TBSD, t_BD[:B], grid, clean)
        _, _, T, H, W = latents.shape
        return BackboneOutput(prediction=prediction[:, :, :T, :H, :W].float(), taps=collected)

    def null_text(self, batch: int) -> Float[Tensor, "b l e"]:
        """Return the stored features of "no text", once per sample (a view)."""
        return self.y_embedder.y_embedding.expand(batch, -1, -1)

    def initialise(self) -> None:
        """Initialise for training from scratch: temporal blocks add nothing at first.

        Source: DiT section 3, PixArt-alpha section 2.3, Open-Sora 1.2.
        """
        initialise_linears(
            self, [self.t_embedder, self.fps_embedder, self.t_block, self.y_embedder]
        )
        initialise_patches(self.x_embedder)
        silent = [self.final_layer.linear, self.fps_embedder.mlp[-1]]
        for block in self.temporal_blocks:
            assert isinstance(block, Block)
            silent += [block.attn.proj, block.cross_attn.proj, block.mlp.fc2]
        for layer in silent:
            nn.init.zeros_(layer.weight)

    def _modulation(self, t_BD: Tensor) -> Tensor:
        return self.t_block(t_BD).unflatten(1, (6, -1))

    def _run(self, block: nn.Module, *args: Tensor | Rotation | None) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *args, use_reentrant=False)  # type: ignore[return-value]
        return block(*args)


class Block(nn.Module):
    """Attention within each frame or along time, attention to the text, feed-forward part."""

    def __init__(self, config: STDiT3.Config, along: Literal["space", "time"]) -> None:
        super().__init__()
        D, heads = config.hidden_size, config.num_heads
        self.along = along
        self.scale_shift_table = nn.Parameter(torch.randn(6, D) / math.sqrt(D))
        self.attn = SelfAttention(D, heads, qk_norm=config.qk_norm)
        self.cross_attn = TextAttention(D, heads)
        self.mlp = feed_forward(D, config.mlp_ratio, config.gelu)

    def forward(
        self,
        x_TBSD: Tensor,
        t_FB6D: Tensor,
        text_BLD: Tensor,
        mask_B11L: Tensor | None,
        rotation: Rotation | None,
    ) -> Tensor:
        """Run the block; `rotation` is the position in time, for temporal blocks."""
        modulation = (self.scale_shift_table + t_FB6D)[:, :, :, None].unbind(2)
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = modulation

        out_TBSD = modulate(normalise(x_TBSD), shift, scale)
        if self.along == "space":
            out_TBSD = self.attn.over_space(out_TBSD)
        else:
            out_TBSD = self.attn.over_time(out_TBSD, rotation)
        x_TBSD = torch.addcmul(x_TBSD, gate, out_TBSD)
        x_TBSD = x_TBSD + self.cross_attn(x_TBSD, text_BLD, mask_B11L)
        out_TBSD = self.mlp(modulate(normalise(x_TBSD), shift_mlp, scale_mlp))
        return torch.addcmul(x_TBSD, gate_mlp, out_TBSD)

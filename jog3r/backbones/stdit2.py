"""STDiT2, the video diffusion transformer of Open-Sora 1.1, with feature taps.

Every block attends within each frame, then along time at each place, then to the text. Size and
aspect ratio modulate what happens in space, length and rate what happens in time; clean frames may
stand among noised ones. The names of parameters and buffers are those of the public checkpoints,
which load unchanged.

Shapes: B samples, T frames, S places of a frame (row by row), D channels, L text tokens; F is 1,
or T where clean frames are modulated apart. Tokens are kept **time first**, `x_TBSD`, see stdit.py.

Source: Open-Sora 1.1 (Zheng et al. 2024); numbers checked against parity/stdit2.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

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


class STDiT2(nn.Module):
    """Spatial-temporal diffusion transformer; see the module's text for its shapes."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """The defaults are STDiT2-XL/2 as published (OpenSora-STDiT-v2-stage3).

        Attributes:
            in_channels: of the latents.
            patch_size: latent frames, rows and columns per token.
            hidden_size: channels of a token (D).
            depth: number of blocks.
            num_heads: of every attention.
            mlp_ratio: inner width of the feed-forward part over hidden_size.
            caption_channels: of the text features.
            max_text_tokens: length of the stored null text.
            learn_sigma: the prediction has a second half of channels, for the variance.
            qk_norm: normalise queries and keys of every self-attention, after they are turned.
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
        max_text_tokens: int = 200
        learn_sigma: bool = True
        qk_norm: bool = True
        input_sq_size: int = 512
        gelu: GELU = "tanh"

        def __post_init__(self) -> None:
            numbers = ("in_channels", "patch_size", "hidden_size", "depth", "num_heads")
            numbers += ("mlp_ratio", "caption_channels", "max_text_tokens", "input_sq_size")
            check_positive("stdit2", self, *numbers)

        def build(self) -> "STDiT2":
            """Make the network, initialised for training from scratch."""
            return STDiT2(self)

    def __init__(self, config: Config) -> None:
        super().__init__()
        check_width(config.hidden_size, 2 * config.num_heads, 4, 3)
        self.config = config
        self.gradient_checkpointing = False
        D = config.hidden_size
        self.x_embedder = PatchEmbedder(config.in_channels, config.patch_size, D)
        self.t_embedder = NumberEmbedder(D)
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(D, 6 * D))
        self.t_block_temp = nn.Sequential(nn.SiLU(), nn.Linear(D, 3 * D))
        self.y_embedder = TextEmbedder(config.caption_channels, config.max_text_tokens, D)
        self.rope = RotaryTime(D // config.num_heads)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        out_channels = config.in_channels * (2 if config.learn_sigma else 1)
        self.final_layer = FinalLayer(D, config.patch_size, out_channels)
        self.csize_embedder = NumberEmbedder(D // 3)
        self.ar_embedder = NumberEmbedder(D // 3)
        self.fl_embedder = NumberEmbedder(D)
        self.fps_embedder = NumberEmbedder(D)
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
        """Predict the noise and hand out the tokens of tapped blocks.

        Args:
            latents: noisy latents of any size; what is no whole number of patches is filled up with
                zeros, and the prediction cut to the size of the latents.
            timestep: of the diffusion, in [0, 1000].
            text: text features; None stands for the stored null text.
            text_mask: True at the tokens to attend to; None means all.
            video_format: of the decoded video.
            x_mask: True for noised latent frames, False for clean ones; None means all noised.
            taps: blocks whose output is handed out, the first being 1. A tap holds the samples
                that went through its block.
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

        size_B2 = torch.stack([video_format.height, video_format.width], dim=1)
        size_BD = self.csize_embedder(size_B2).flatten(1)
        size_BD = torch.cat([size_BD, self.ar_embedder(video_format.aspect_ratio)], dim=1)
        length_BD = self.fl_embedder(video_format.num_frames) + self.fps_embedder(video_format.fps)
        t_BD = self.t_embedder(timestep)
        t_FB9D, clean = self._modulation(t_BD + size_BD, t_BD + length_BD)[None], None
        if x_mask is not None:
            zero_BD = self.t_embedder(torch.zeros_like(timestep))
            # The published network tells its final layer the size for clean frames only.
            clean = CleanFrames(zero_BD + size_BD, noised_tokens(x_mask, config.patch_size[0]))
            clean_B9D = self._modulation(zero_BD + size_BD, zero_BD + length_BD)
            t_FB9D = clean.modulation(t_FB9D[0], clean_B9D)

        text = self.null_text(B) if text is None else text
        text, text_mask = without_padding(text, text_mask)
        text_BLD = self.y_embedder(text.to(dtype))
        mask_B11L = None if text_mask is None else text_mask[:, None, None, :]

        leaving, exit_block = early or (0, 0)
        collected: dict[int, Tensor] = {}
        for number, block in enumerate(self.blocks, start=1):
            x_TBSD = self._run(block, x_TBSD, t_FB9D, text_BLD, mask_B11L, rotation)
            if number in taps:
                collected[number] = x_TBSD.transpose(0, 1)
            if number == until:
                return BackboneOutput(prediction=None, taps=collected)
            if number == exit_block:
                B -= leaving
                x_TBSD, t_FB9D, text_BLD = x_TBSD[:, :B], t_FB9D[:, :B], text_BLD[:B]
                mask_B11L = None if mask_B11L is None else mask_B11L[:B]
        clean = None if clean is None else clean.first(B)
        prediction = self.final_layer(x_TBSD, t_BD[:B], grid, clean)
        _, _, T, H, W = latents.shape
        return BackboneOutput(prediction=prediction[:, :, :T, :H, :W].float(), taps=collected)

    def null_text(self, batch: int) -> Float[Tensor, "b l e"]:
        """Return the stored features of "no text", once per sample (a view)."""
        return self.y_embedder.y_embedding.expand(batch, -1, -1)

    def initialise(self) -> None:
        """Initialise for training from scratch: every block starts as a spatial one.

        Source: DiT section 3, PixArt-alpha section 2.3, Open-Sora 1.1.
        """
        embedders = [self.t_embedder, self.csize_embedder, self.ar_embedder, self.fl_embedder]
        embedders += [self.fps_embedder, self.y_embedder]
        initialise_linears(self, [*embedders, self.t_block, self.t_block_temp])
        initialise_patches(self.x_embedder)
        for block in self.blocks:
            assert isinstance(block, Block)
            nn.init.zeros_(block.attn_temp.proj.weight)
            nn.init.zeros_(block.cross_attn.proj.weight)
        nn.init.zeros_(self.final_layer.linear.weight)

    def _modulation(self, space_BD: Tensor, time_BD: Tensor) -> Tensor:
        """Give six vectors for space and feed-forward part, then three for time: `(B, 9, D)`."""
        both = torch.cat([self.t_block(space_BD), self.t_block_temp(time_BD)], dim=1)
        return both.unflatten(1, (9, -1))

    def _run(self, block: nn.Module, *args: Tensor | Rotation | None) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *args, use_reentrant=False)  # type: ignore[return-value]
        return block(*args)


class Block(nn.Module):
    """Spatial attention, temporal attention, text attention, feed-forward part."""

    def __init__(self, config: STDiT2.Config) -> None:
        super().__init__()
        D, heads, qk_norm = config.hidden_size, config.num_heads, config.qk_norm
        self.scale_shift_table = nn.Parameter(torch.randn(6, D) / math.sqrt(D))
        self.scale_shift_table_temporal = nn.Parameter(torch.randn(3, D) / math.sqrt(D))
        self.attn = SelfAttention(D, heads, qk_norm=qk_norm)
        self.attn_temp = SelfAttention(D, heads, qk_norm=qk_norm, order="rotate-norm")
        self.cross_attn = TextAttention(D, heads)
        self.mlp = feed_forward(D, config.mlp_ratio, config.gelu)

    def forward(
        self,
        x_TBSD: Tensor,
        t_FB9D: Tensor,
        text_BLD: Tensor,
        mask_B11L: Tensor | None,
        rotation: Rotation,
    ) -> Tensor:
        """Run the block; `rotation` is the position in time."""
        table = torch.cat([self.scale_shift_table, self.scale_shift_table_temporal])
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp, shift_time, scale_time, gate_time = (
            table + t_FB9D
        )[:, :, :, None].unbind(2)
        out_TBSD = self.attn.over_space(modulate(normalise(x_TBSD), shift, scale))
        x_TBSD = torch.addcmul(x_TBSD, gate, out_TBSD)
        out_TBSD = modulate(normalise(x_TBSD), shift_time, scale_time)
        x_TBSD = torch.addcmul(x_TBSD, gate_time, self.attn_temp.over_time(out_TBSD, rotation))
        x_TBSD = x_TBSD + self.cross_attn(x_TBSD, text_BLD, mask_B11L)
        out_TBSD = self.mlp(modulate(normalise(x_TBSD), shift_mlp, scale_mlp))
        return torch.addcmul(x_TBSD, gate_mlp, out_TBSD)

"""STDiT, the video diffusion transformer of Open-Sora 1.0, with feature taps.

Every block attends within each frame, then along time at each place, then to the text. The names
of parameters and buffers are those of the public checkpoints, which load unchanged.

Shapes: B samples, T frames, S places of a frame (row by row), D channels, L text tokens,
N heads. Tokens are kept **time first**, `x_TBSD`: spatial attention batches over (T, B) and
temporal attention over (B, S), and in this order both are views of the same memory.

Source: Open-Sora 1.0 (Zheng et al. 2024); numbers checked against parity/stdit.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jog3r.backbones.arguments import check_inputs, check_way_out, check_width
from jog3r.backbones.embedders import NumberEmbedder, PatchEmbedder, TextEmbedder, token_grid
from jog3r.backbones.feed_forward import GELU, feed_forward
from jog3r.backbones.initialisation import initialise_linears, initialise_patches
from jog3r.backbones.interface import BackboneOutput, VideoFormat
from jog3r.backbones.modulation import FinalLayer, modulate, normalise
from jog3r.backbones.positions import sincos_space, sincos_time
from jog3r.backbones.token_attention import SelfAttention, TextAttention
from jog3r.config import check_positive
from jog3r.errors import InputError


class STDiT(nn.Module):
    """Spatial-temporal diffusion transformer; see the module's text for its shapes."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """The defaults are STDiT-XL/2 as published for 16 frames of 256x256 pixels.

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
            input_size: latent (T, H, W) of the stored position tables; others are computed.
            space_scale: token distance that counts as one position step, in space.
            time_scale: the same in time.
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
        max_text_tokens: int = 120
        learn_sigma: bool = True
        input_size: tuple[int, int, int] = (16, 32, 32)
        space_scale: float = 0.5
        time_scale: float = 1.0
        gelu: GELU = "tanh"

        def __post_init__(self) -> None:
            numbers = ("in_channels", "patch_size", "hidden_size", "depth", "num_heads")
            numbers += ("mlp_ratio", "caption_channels", "max_text_tokens", "input_size")
            check_positive("stdit", self, *numbers, "space_scale", "time_scale")

        def build(self) -> "STDiT":
            """Make the network, initialised for training from scratch."""
            return STDiT(self)

    pos_embed: Tensor
    pos_embed_temporal: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        check_width(config.hidden_size, config.num_heads, 4)
        self.config = config
        self.gradient_checkpointing = False
        D = config.hidden_size
        self.x_embedder = PatchEmbedder(config.in_channels, config.patch_size, D)
        self.t_embedder = NumberEmbedder(D)
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(D, 6 * D))
        self.y_embedder = TextEmbedder(config.caption_channels, config.max_text_tokens, D)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        out_channels = config.in_channels * (2 if config.learn_sigma else 1)
        self.final_layer = FinalLayer(D, config.patch_size, out_channels)
        T, h, w = token_grid(config.input_size, config.patch_size)
        here = torch.get_default_device()
        space = sincos_space(D, h, w, config.space_scale, here)
        self.register_buffer("pos_embed", space[None].clone())
        time = sincos_time(D, T, config.time_scale, here)
        self.register_buffer("pos_embed_temporal", time[None].clone())
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
            latents: noisy latents.
            timestep: of the diffusion, in [0, 1000].
            text: text features; None stands for the stored null text.
            text_mask: True at the tokens to attend to; None means all.
            video_format: taken so that every backbone is called alike; this network was trained
                for one format and is not told.
            x_mask: must be None: this network knows no clean frames among noised ones.
            taps: blocks whose output is handed out, the first being 1. A tap holds the samples
                that went through its block.
            until: last block to run; there is no prediction then.
            early: (n, block): the last n samples leave the batch after that block, and the
                prediction is that of the others. It equals two calls, the second with `until`.

        Raises:
            InputError: sizes that do not fit, a block that does not exist, or an x_mask.
        """
        config, null_length = self.config, self.config.max_text_tokens
        check_inputs(config, latents, timestep, text, text_mask, null_length=null_length)
        B = latents.shape[0]
        check_way_out(config.depth, B, taps, until, early)
        self._check_whole_patches(latents)
        if x_mask is not None:
            raise InputError(
                "x_mask: expected None, got a mask; stdit has no clean frames among noised ones,"
                " use stdit2 or stdit3"
            )
        grid = token_grid(tuple(latents.shape[2:]), config.patch_size)
        dtype = self.x_embedder.proj.weight.dtype

        x_TBSD = self.x_embedder(latents.to(dtype)) + self._space_table(grid)
        t_BD = self.t_embedder(timestep)
        t_B6D = self.t_block(t_BD).unflatten(1, (6, -1))
        text_BLD = self.y_embedder(self.null_text(B) if text is None else text.to(dtype))
        mask_B11L = None if text_mask is None else text_mask[:, None, None, :]
        time_T11D = self._time_table(grid)

        leaving, exit_block = early or (0, 0)
        collected: dict[int, Tensor] = {}
        for number, block in enumerate(self.blocks, start=1):
            x_TBSD = self._run(
                block, x_TBSD, t_B6D, text_BLD, mask_B11L, time_T11D if number == 1 else None
            )
            if number in taps:
                collected[number] = x_TBSD.transpose(0, 1)
            if number == until:
                return BackboneOutput(prediction=None, taps=collected)
            if number == exit_block:
                B -= leaving
                x_TBSD, t_BD, t_B6D, text_BLD = x_TBSD[:, :B], t_BD[:B], t_B6D[:B], text_BLD[:B]
                mask_B11L = None if mask_B11L is None else mask_B11L[:B]
        prediction = self.final_layer(x_TBSD, t_BD, grid)
        return BackboneOutput(prediction=prediction.float(), taps=collected)

    def null_text(self, batch: int) -> Float[Tensor, "b l e"]:
        """Return the stored features of "no text", once per sample (a view)."""
        return self.y_embedder.y_embedding.expand(batch, -1, -1)

    def initialise(self) -> None:
        """Initialise for training from scratch: every block starts as a spatial one.

        Source: DiT section 3, PixArt-alpha section 2.3, Open-Sora 1.0.
        """
        initialise_linears(self, [self.t_embedder, self.t_block, self.y_embedder])
        initialise_patches(self.x_embedder)
        for module in self.modules():
            if isinstance(module, Block):
                nn.init.zeros_(module.attn_temp.proj.weight)
                nn.init.zeros_(module.cross_attn.proj.weight)
        nn.init.zeros_(self.final_layer.linear.weight)

    def _run(self, block: nn.Module, *args: Tensor | None) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *args, use_reentrant=False)  # type: ignore[return-value]
        return block(*args)

    def _space_table(self, grid: tuple[int, int, int]) -> Tensor:
        if grid[1:] == token_grid(self.config.input_size, self.config.patch_size)[1:]:
            return self.pos_embed
        D, scale = self.config.hidden_size, self.config.space_scale
        table = sincos_space(D, grid[1], grid[2], scale, self.pos_embed.device)
        return table.to(self.pos_embed.dtype)

    def _time_table(self, grid: tuple[int, int, int]) -> Tensor:
        if grid[0] == token_grid(self.config.input_size, self.config.patch_size)[0]:
            table = self.pos_embed_temporal[0]
        else:
            D, scale = self.config.hidden_size, self.config.time_scale
            table = sincos_time(D, grid[0], scale, self.pos_embed_temporal.device)
        return table.to(self.pos_embed_temporal.dtype)[:, None, None]

    def _check_whole_patches(self, latents: Tensor) -> None:
        patch = self.config.patch_size
        if any(n % p for n, p in zip(latents.shape[2:], patch, strict=True)):
            raise InputError(
                f"latents: expected (B, {self.config.in_channels}, T, H, W) with T, H, W multiples"
                f" of {patch}, got {tuple(latents.shape)}; crop the video"
            )


class Block(nn.Module):
    """Spatial attention, temporal attention, text attention, feed-forward part."""

    def __init__(self, config: STDiT.Config) -> None:
        super().__init__()
        D, heads = config.hidden_size, config.num_heads
        self.scale_shift_table = nn.Parameter(torch.randn(6, D) / math.sqrt(D))
        self.attn = SelfAttention(D, heads)
        self.attn_temp = SelfAttention(D, heads)
        self.cross_attn = TextAttention(D, heads)
        self.mlp = feed_forward(D, config.mlp_ratio, config.gelu)

    def forward(
        self,
        x_TBSD: Tensor,
        t_B6D: Tensor,
        text_BLD: Tensor,
        mask_B11L: Tensor | None,
        time_T11D: Tensor | None,
    ) -> Tensor:
        """Run the block; `time_T11D` is the position in time, given to the first block only."""
        modulation = (self.scale_shift_table + t_B6D)[:, :, None].unbind(1)
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = modulation

        out_TBSD = self.attn.over_space(modulate(normalise(x_TBSD), shift, scale))
        x_TBSD = torch.addcmul(x_TBSD, gate, out_TBSD)
        # The published network modulates and normalises nothing here, and reuses the gate.
        at_time = x_TBSD if time_T11D is None else x_TBSD + time_T11D
        x_TBSD = torch.addcmul(x_TBSD, gate, self.attn_temp.over_time(at_time))
        x_TBSD = x_TBSD + self.cross_attn(x_TBSD, text_BLD, mask_B11L)
        out_TBSD = self.mlp(modulate(normalise(x_TBSD), shift_mlp, scale_mlp))
        return torch.addcmul(x_TBSD, gate_mlp, out_TBSD)

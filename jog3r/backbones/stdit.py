"""STDiT, the video diffusion transformer of Open-Sora 1.0, with feature taps.

Every block attends within each frame, then along time at each place, then to the text. The names
of parameters and buffers are those of the public checkpoints, which load unchanged.

Shapes: B samples, T frames, S places of a frame (row by row), D channels, L text tokens,
N heads. Tokens are kept **time first**, `x_TBSD`: spatial attention batches over (T, B) and
temporal attention over (B, S), and in this order both are views of the same memory.

Source: Open-Sora 1.0 (Zheng et al. 2024); numbers checked against parity/stdit.
"""

import functools
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from timm.layers.activations import GELUTanh
from timm.layers.mlp import Mlp
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jog3r.attention import attention
from jog3r.backbones.embedders import PatchEmbedder, TextEmbedder, TimestepEmbedder
from jog3r.backbones.interface import BackboneOutput, VideoFormat
from jog3r.backbones.positions import sincos_space, sincos_time
from jog3r.config import check_positive
from jog3r.errors import InputError

NORM_EPS = 1e-6
GELU = Literal["tanh", "exact"]
ACTIVATIONS: dict[GELU, type[nn.Module]] = {"tanh": GELUTanh, "exact": nn.GELU}


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
        if config.hidden_size % config.num_heads or config.hidden_size % 4:
            raise InputError(
                "hidden_size: expected a multiple of num_heads and of 4,"
                f" got {config.hidden_size} with {config.num_heads} heads"
            )
        if config.gelu not in ACTIVATIONS:
            raise InputError(f"gelu: expected one of {[*ACTIVATIONS]}, got {config.gelu!r}")
        self.config = config
        self.gradient_checkpointing = False
        D = config.hidden_size
        self.x_embedder = PatchEmbedder(config.in_channels, config.patch_size, D)
        self.t_embedder = TimestepEmbedder(D)
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(D, 6 * D))
        self.y_embedder = TextEmbedder(config.caption_channels, config.max_text_tokens, D)
        shape = (D, config.num_heads, int(D * config.mlp_ratio), config.gelu)
        self.blocks = nn.ModuleList(Block(*shape) for _ in range(config.depth))
        out_channels = config.in_channels * (2 if config.learn_sigma else 1)
        self.final_layer = FinalLayer(D, config.patch_size, out_channels)
        T, h, w = self._token_grid(config.input_size)
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
        self._check(latents, text, taps, until, early)
        if x_mask is not None:
            raise InputError(
                f"x_mask: expected None, got {tuple(x_mask.shape)}; stdit has no clean frames among"
                " noised ones, use stdit2 or stdit3"
            )
        B = latents.shape[0]
        grid = self._token_grid(tuple(latents.shape[2:]))
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
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for module in [*self.t_embedder.modules(), *self.t_block, *self.y_embedder.modules()]:
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
        patch = self.x_embedder.proj
        nn.init.xavier_uniform_(patch.weight.view(patch.out_channels, -1))
        nn.init.zeros_(patch.bias)  # type: ignore[arg-type]  # Conv3d is made with a bias
        for module in self.modules():
            if isinstance(module, Block):
                nn.init.zeros_(module.attn_temp.proj.weight)
                nn.init.zeros_(module.cross_attn.proj.weight)
        nn.init.zeros_(self.final_layer.linear.weight)

    def _run(self, block: nn.Module, *args: Tensor | None) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *args, use_reentrant=False)  # type: ignore[return-value]
        return block(*args)

    def _token_grid(self, size: tuple[int, ...]) -> tuple[int, int, int]:
        a, b, c = self.config.patch_size
        return size[0] // a, size[1] // b, size[2] // c

    def _space_table(self, grid: tuple[int, int, int]) -> Tensor:
        if grid[1:] == self._token_grid(self.config.input_size)[1:]:
            return self.pos_embed
        D, scale = self.config.hidden_size, self.config.space_scale
        table = sincos_space(D, grid[1], grid[2], scale, self.pos_embed.device)
        return table.to(self.pos_embed.dtype)

    def _time_table(self, grid: tuple[int, int, int]) -> Tensor:
        if grid[0] == self._token_grid(self.config.input_size)[0]:
            table = self.pos_embed_temporal[0]
        else:
            D, scale = self.config.hidden_size, self.config.time_scale
            table = sincos_time(D, grid[0], scale, self.pos_embed_temporal.device)
        return table.to(self.pos_embed_temporal.dtype)[:, None, None]

    def _check(
        self,
        latents: Tensor,
        text: Tensor | None,
        taps: Collection[int],
        until: int | None,
        early: tuple[int, int] | None,
    ) -> None:
        C, patch, depth = self.config.in_channels, self.config.patch_size, self.config.depth
        size = tuple(latents.shape[2:])
        if latents.shape[1] != C or any(n % p or n < p for n, p in zip(size, patch, strict=True)):
            raise InputError(
                f"latents: expected (B, {C}, T, H, W) with T, H, W multiples of {patch},"
                f" got {tuple(latents.shape)}"
            )
        if text is not None and text.shape[-1] != self.config.caption_channels:
            raise InputError(
                f"text: expected (B, L, {self.config.caption_channels}), got {tuple(text.shape)}"
            )
        last = depth if until is None else until
        if not 1 <= last <= depth or not all(1 <= tap <= last for tap in taps):
            raise InputError(
                f"taps, until: expected blocks 1 to {depth}, no tap behind until,"
                f" got taps {sorted(taps)}, until {until}"
            )
        if early is not None:
            n, block = early
            if until is not None or not 0 < n < latents.shape[0] or not 1 <= block <= depth:
                raise InputError(
                    f"early: expected (n, block) with 0 < n < {latents.shape[0]} samples and"
                    f" block 1 to {depth}, without until, got {early}, until {until}"
                )


class Block(nn.Module):
    """Spatial attention, temporal attention, text attention, feed-forward part."""

    def __init__(self, width: int, heads: int, inner: int, gelu: GELU) -> None:
        super().__init__()
        self.scale_shift_table = nn.Parameter(torch.randn(6, width) / math.sqrt(width))
        self.norm = functools.partial(F.layer_norm, normalized_shape=(width,), eps=NORM_EPS)
        self.attn = SelfAttention(width, heads)
        self.attn_temp = SelfAttention(width, heads)
        self.cross_attn = TextAttention(width, heads)
        self.mlp = Mlp(width, inner, act_layer=ACTIVATIONS[gelu])

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

        out_TBSD = self.attn.over_space(modulate(self.norm(x_TBSD), shift, scale))
        x_TBSD = torch.addcmul(x_TBSD, gate, out_TBSD)
        # The published network modulates and normalises nothing here, and reuses the gate.
        at_time = x_TBSD if time_T11D is None else x_TBSD + time_T11D
        x_TBSD = torch.addcmul(x_TBSD, gate, self.attn_temp.over_time(at_time))
        x_TBSD = x_TBSD + self.cross_attn(x_TBSD, text_BLD, mask_B11L)
        out_TBSD = self.mlp(modulate(self.norm(x_TBSD), shift_mlp, scale_mlp))
        return torch.addcmul(x_TBSD, gate_mlp, out_TBSD)


class SelfAttention(nn.Module):
    """Multi-head attention of tokens `x_TBSD` within a frame or along time."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def over_space(self, x_TBSD: Tensor) -> Tensor:
        """Attend among the places of each frame."""
        qkv = self.qkv(x_TBSD).flatten(0, 1).unflatten(-1, (3 * self.heads, -1))
        q, k, v = qkv.transpose(1, 2).chunk(3, dim=1)  # each (TB, N, S, D/N)
        out = attention(q, k, v).transpose(1, 2)
        return self.proj(out.reshape(x_TBSD.shape))

    def over_time(self, x_TBSD: Tensor) -> Tensor:
        """Attend among the frames at each place."""
        qkv = self.qkv(x_TBSD).flatten(1, 2).unflatten(-1, (3 * self.heads, -1))
        q, k, v = qkv.permute(1, 2, 0, 3).chunk(3, dim=1)  # each (BS, N, T, D/N)
        out = attention(q, k, v).permute(2, 0, 1, 3)
        return self.proj(out.reshape(x_TBSD.shape))


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
        T, B, S, _ = x_TBSD.shape
        q = self.q_linear(x_TBSD).transpose(0, 1).reshape(B, T * S, self.heads, -1)
        kv = self.kv_linear(text_BLD).unflatten(-1, (2 * self.heads, -1))
        k, v = kv.transpose(1, 2).chunk(2, dim=1)  # each (B, N, L, D/N)
        out = attention(q.transpose(1, 2), k, v, mask_B11L)
        return self.proj(out.transpose(1, 2).reshape(B, T, S, -1).transpose(0, 1))


class FinalLayer(nn.Module):
    """Tokens back to latents."""

    def __init__(self, width: int, patch: tuple[int, int, int], channels: int) -> None:
        super().__init__()
        self.patch = patch
        self.scale_shift_table = nn.Parameter(torch.randn(2, width) / math.sqrt(width))
        self.linear = nn.Linear(width, math.prod(patch) * channels)

    def forward(self, x_TBSD: Tensor, t_BD: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Turn the tokens of a (T, h, w) grid into `(B, C, T, H, W)`."""
        shift, scale = (self.scale_shift_table + t_BD[:, None])[:, :, None].unbind(1)
        norm = F.layer_norm(x_TBSD, x_TBSD.shape[-1:], eps=NORM_EPS)
        out = self.linear(modulate(norm, shift, scale))
        # (T, B, h, w, a, b, c, C) -> (B, C, T a, h b, w c)
        out = out.unflatten(2, grid[1:]).unflatten(-1, (*self.patch, -1))
        out = out.permute(1, 7, 0, 4, 2, 5, 3, 6)
        return out.flatten(6, 7).flatten(4, 5).flatten(2, 3)


def modulate(x_TBSD: Tensor, shift_B1D: Tensor, scale_B1D: Tensor) -> Tensor:
    """Scale and shift every sample's tokens."""
    return torch.addcmul(shift_B1D, x_TBSD, 1 + scale_B1D)

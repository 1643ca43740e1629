"""The temporal autoencoder of Open-Sora 1.2: latents of frames <-> a quarter as many latents.

Residual blocks of convolutions that see the present and the past only, over latents that a 2-D
autoencoder has made of every frame. Names of parameters are those of the public checkpoint.

Shapes: `(B, C, T, h, w)` throughout; T is padded with zeros in front to a multiple of `stride`.

Source: MAGVIT-2 (Yu et al. 2023), section 3.2; Open-Sora 1.2 (Zheng et al. 2024); numbers checked
against parity/opensora_vae.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from jog3r.config import check_positive
from jog3r.errors import InputError

LOGVAR_RANGE = (-30.0, 20.0)


class TemporalAutoencoder(nn.Module):
    """Encoder and decoder along time; see the module's text.

    Attributes:
        stride: How many frames one latent spans.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """The defaults are those of the public checkpoint.

        Attributes:
            channels: of the latents of frames.
            latent_channels: of the latents that it makes of them.
            filters: width of the first level.
            res_blocks: residual blocks per level, and between encoder and latents.
            multipliers: width of each level over `filters`.
            downsample: after which level but the last time is halved.
            groups: of the group normalisations.
        """

        channels: int = 4
        latent_channels: int = 4
        filters: int = 128
        res_blocks: int = 4
        multipliers: tuple[int, ...] = (1, 2, 2, 4)
        downsample: tuple[bool, ...] = (False, True, True)
        groups: int = 32

        def __post_init__(self) -> None:
            numbers = ("channels", "latent_channels", "filters", "res_blocks", "multipliers")
            check_positive("temporal", self, *numbers, "groups")
            if len(self.downsample) != len(self.multipliers) - 1:
                raise InputError(
                    f"temporal.downsample: expected {len(self.multipliers) - 1} values, one between"
                    f" two levels, got {len(self.downsample)}; correct the config"
                )
            if any(width % self.groups for width in self.widths):
                raise InputError(
                    f"temporal.groups: expected a divisor of the widths {self.widths}, got"
                    f" {self.groups}; correct the config"
                )

        @property
        def widths(self) -> tuple[int, ...]:
            """Channels of each level."""
            return tuple(self.filters * multiplier for multiplier in self.multipliers)

        def build(self) -> "TemporalAutoencoder":
            """Make the autoencoder with fresh weights."""
            return TemporalAutoencoder(self)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.stride = 2 ** sum(config.downsample)
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quant_conv = CausalConv3d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.post_quant_conv = CausalConv3d(config.latent_channels, config.latent_channels, 1)

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""
        return self.quant_conv.conv.weight.dtype

    def encode(
        self, frames: Float[Tensor, "b c t h w"]
    ) -> tuple[Float[Tensor, "b d lt h w"], Float[Tensor, "b d lt h w"]]:
        """Give mean and log-variance of the latents of a clip."""
        front = -frames.shape[2] % self.stride
        moments = self.quant_conv(self.encoder(_pad_front(frames, front)))
        mean, logvar = moments.chunk(2, dim=1)
        return mean, logvar.clamp(*LOGVAR_RANGE)

    def decode(
        self, latents: Float[Tensor, "b d lt h w"], num_frames: int
    ) -> Float[Tensor, "b c t h w"]:
        """Turn latents back into a clip.

        Args:
            latents: As `encode` gives them.
            num_frames: Of the clip; what padding has added in front is removed.

        Raises:
            InputError: A clip of so many frames has another number of latents.
        """
        if -(-num_frames // self.stride) != latents.shape[2]:
            raise InputError(
                f"num_frames: expected {self.stride} for each of {latents.shape[2]} latents, or up"
                f" to {self.stride - 1} less, got {num_frames!r}; decode what was encoded"
            )
        return self.decoder(self.post_quant_conv(latents))[:, :, -num_frames:]


class Encoder(nn.Module):
    """Frames to moments of latents."""

    def __init__(self, config: TemporalAutoencoder.Config) -> None:
        super().__init__()
        widths, groups = config.widths, config.groups
        self.conv_in = CausalConv3d(config.channels, config.filters, bias=False)
        self.block_res_blocks = nn.ModuleList(
            _res_blocks(before, width, config)
            for before, width in zip((config.filters, *widths), widths, strict=False)
        )
        self.conv_blocks = nn.ModuleList(
            CausalConv3d(width, width, stride=2) if halve else nn.Identity()
            for width, halve in zip(widths, config.downsample, strict=False)
        )
        self.res_blocks = _res_blocks(widths[-1], widths[-1], config)
        self.norm1 = nn.GroupNorm(groups, widths[-1])
        self.conv2 = CausalConv3d(widths[-1], 2 * config.latent_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Encode `(B, C, T, h, w)`, T a multiple of the stride."""
        x = self.conv_in(x)
        for blocks, shorten in zip(self.block_res_blocks, self.conv_blocks, strict=False):
            x = shorten(blocks(x))
        x = self.res_blocks(self.block_res_blocks[-1](x))
        return self.conv2(F.silu(self.norm1(x)))


class Decoder(nn.Module):
    """Latents to frames; levels are numbered as in the encoder and run from the last one."""

    def __init__(self, config: TemporalAutoencoder.Config) -> None:
        super().__init__()
        widths, groups = config.widths, config.groups
        self.conv1 = CausalConv3d(config.latent_channels, widths[-1])
        self.res_blocks = _res_blocks(widths[-1], widths[-1], config)
        self.block_res_blocks = nn.ModuleList(
            _res_blocks(before, width, config)
            for before, width in zip((*widths[1:], widths[-1]), widths, strict=True)
        )
        # Above level i + 1: its channels hold two frames each.
        self.conv_blocks = nn.ModuleList(
            CausalConv3d(width, 2 * width) if double else nn.Identity()
            for width, double in zip(widths[1:], config.downsample, strict=True)
        )
        self.norm1 = nn.GroupNorm(groups, widths[0])
        self.conv_out = CausalConv3d(widths[0], config.channels)

    def forward(self, x: Tensor) -> Tensor:
        """Decode `(B, C, T, h, w)`."""
        x = self.block_res_blocks[-1](self.res_blocks(self.conv1(x)))
        levels = zip(self.block_res_blocks, self.conv_blocks, strict=False)
        for blocks, lengthen in reversed([*levels]):
            x = lengthen(x)
            if not isinstance(lengthen, nn.Identity):
                x = rearrange(x, "b (c s) t h w -> b c (t s) h w", s=2)
            x = blocks(x)
        return self.conv_out(F.silu(self.norm1(x)))


class ResBlock(nn.Module):
    """Two convolutions beside the identity, or beside a 1x1x1 one where the width changes."""

    def __init__(self, in_width: int, width: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_width)
        self.conv1 = CausalConv3d(in_width, width, bias=False)
        self.norm2 = nn.GroupNorm(groups, width)
        self.conv2 = CausalConv3d(width, width, bias=False)
        if in_width != width:
            self.conv3 = CausalConv3d(in_width, width, 1, bias=False)
        else:
            self.conv3 = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions find to x."""
        out = self.conv1(F.silu(self.norm1(x)))
        out = self.conv2(F.silu(self.norm2(out)))
        return self.conv3(x) + out


class CausalConv3d(nn.Module):
    """A convolution over time and space whose result at a frame rests on no later one."""

    def __init__(
        self, in_width: int, width: int, kernel: int = 3, *, stride: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        self.front = kernel - stride
        self.conv = nn.Conv3d(
            in_width,
            width,
            kernel,
            stride=(stride, 1, 1),
            padding=(0, kernel // 2, kernel // 2),
            bias=bias,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `(B, C, T, h, w)`; zeros stand for what came before."""
        return self.conv(_pad_front(x, self.front))


def _res_blocks(in_width: int, width: int, config: TemporalAutoencoder.Config) -> nn.Sequential:
    widths = (in_width, *[width] * (config.res_blocks - 1))
    return nn.Sequential(*(ResBlock(before, width, config.groups) for before in widths))


def _pad_front(x: Tensor, frames: int) -> Tensor:
    return F.pad(x, (0, 0, 0, 0, frames, 0)) if frames else x

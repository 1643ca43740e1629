"""Pixels <-> latents, frame by frame, with diffusers' AutoencoderKL."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


NARROW = -8.0
"""Log-variance of the posterior before training."""


class FrameAutoencoder(nn.Module):
    """The Stable Diffusion kind of autoencoder, applied to every frame on its own as Open-Sora 1.0 does.

    Attributes:
        vae: diffusers' AutoencoderKL; its state-dict names are kept.
        factor: How many pixels one latent spans per axis.
    """

    @dataclass(kw_only=True, frozen=True)
    class Config:
        """Plain values of AutoencoderKL.

        Args:
            block_out_channels: Width of each resolution; every step but the last halves the resolution.
            layers_per_block: Residual layers per resolution.
            latent_channels: Channels of a latent.
            norm_groups: Groups of the group normalisations. With one group the ratio of channels survives,
                so small networks keep track of hues.
            attention: Whether the middle block has self-attention.
            scaling_factor: What latents are multiplied by before training; stage one measures it per channel.
        """

        block_out_channels: tuple[int, ...] = (16, 32, 64)
        layers_per_block: int = 1
        latent_channels: int = 6
        norm_groups: int = 1
        attention: bool = False
        scaling_factor: float = 1.0

        def build(self) -> "FrameAutoencoder":
            """Make the autoencoder with fresh weights."""
            return FrameAutoencoder(self)

    def __init__(self, config: Config) -> None:
        """Build from plain values."""
        super().__init__()
        self.config = config
        self.factor = 2 ** (len(config.block_out_channels) - 1)
        self.vae = _autoencoder_kl(config).to(memory_format=torch.channels_last)  # type: ignore[arg-type]
        # The posterior starts narrow: with unit noise a small network leaves whole hues unused.
        nn.init.constant_(self.vae.quant_conv.bias[config.latent_channels :], NARROW)  # type: ignore[union-attr,index]
        # What AutoencoderKL needs to be told from outside: it never scales by itself.
        scale = torch.full((config.latent_channels, 1, 1), config.scaling_factor)
        self.register_buffer("scale", scale)

    def forward(
        self, frames: Float[Tensor, "n 3 h w"], noise: Float[Tensor, "n c lh lw"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One training pass: frames -> reconstruction, mean and log-variance of the latents (unscaled)."""
        posterior = self.vae.encode(
            frames.contiguous(memory_format=torch.channels_last)
        ).latent_dist  # type: ignore[union-attr]
        latents = posterior.mean + torch.exp(0.5 * posterior.logvar) * noise
        return self.vae.decode(latents).sample, posterior.mean, posterior.logvar  # type: ignore[union-attr]

    def encode(
        self, video: Float[Tensor, "b t 3 h w"], chunk: int = 64
    ) -> Float[Tensor, "b c t lh lw"]:
        """Video in [-1, 1], `(B, T, 3, H, W)`, to scaled latents (the posterior's mean, so nothing is random).

        Args:
            video: Frames whose height and width are multiples of `factor`.
            chunk: Frames per pass; bounds the memory.
        """
        frames = rearrange(video, "b t c h w -> (b t) c h w").contiguous(
            memory_format=torch.channels_last
        )
        parts = [self.vae.encode(part).latent_dist.mean for part in frames.split(chunk)]  # type: ignore[union-attr]
        return rearrange(
            torch.cat(parts).float() * self.scale, "(b t) c h w -> b c t h w", b=video.shape[0]
        )

    def decode(
        self, latents: Float[Tensor, "b c t lh lw"], chunk: int = 32
    ) -> Float[Tensor, "b t 3 h w"]:
        """Scaled latents to video `(B, T, 3, H, W)`, cut to [-1, 1]; `chunk` frames per pass."""
        flat = rearrange(latents, "b c t h w -> (b t) c h w") / self.scale
        flat = flat.contiguous(memory_format=torch.channels_last)
        parts = [self.vae.decode(part).sample.float() for part in flat.split(chunk)]  # type: ignore[union-attr]
        return rearrange(
            torch.cat(parts).clamp(-1.0, 1.0), "(b t) c h w -> b t c h w", b=latents.shape[0]
        )


def _autoencoder_kl(config: FrameAutoencoder.Config) -> "AutoencoderKL":
    from diffusers import AutoencoderKL

    steps = len(config.block_out_channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * steps,
        up_block_types=("UpDecoderBlock2D",) * steps,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        latent_channels=config.latent_channels,
        norm_num_groups=config.norm_groups,
        mid_block_add_attention=config.attention,
    )

"""Pixels <-> latents, frame by frame, with diffusers' AutoencoderKL."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from jog3r.config import check_positive
from jog3r.errors import InputError

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL


NARROW = -8.0
"""Log-variance of the posterior before training."""


class FrameAutoencoder(nn.Module):
    """The Stable Diffusion kind of autoencoder, on every frame by itself as in Open-Sora 1.0.

    Attributes:
        vae: diffusers' AutoencoderKL; its state-dict names are kept.
        factor: How many pixels one latent spans per axis.
        scale: What each channel of latents is multiplied by, `(C, 1, 1)`; AutoencoderKL itself
            never scales.
    """

    @dataclass(kw_only=True, frozen=True)
    class Config:
        """Plain values of AutoencoderKL.

        Args:
            block_out_channels: Width of each resolution; every one but the last is halved.
            layers_per_block: Residual layers per resolution.
            latent_channels: Channels of a latent.
            norm_groups: Groups of the group normalisations. With one group the ratio of channels
                survives, so small networks keep track of hues.
            attention: Whether the middle block has self-attention.
            scaling_factor: What latents are multiplied by before training; stage one measures it
                per channel.
        """

        block_out_channels: tuple[int, ...] = (16, 32, 64)
        layers_per_block: int = 1
        latent_channels: int = 6
        norm_groups: int = 1
        attention: bool = False
        scaling_factor: float = 1.0

        def __post_init__(self) -> None:
            numbers = ("block_out_channels", "layers_per_block", "latent_channels", "norm_groups")
            check_positive("autoencoder", self, *numbers, "scaling_factor")

        def build(self) -> "FrameAutoencoder":
            """Make the autoencoder with fresh weights."""
            return FrameAutoencoder(self)

    scale: Tensor
    vae: Any  # diffusers types its results for every value of return_dict at once

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.factor = 2 ** (len(config.block_out_channels) - 1)
        self.vae = _autoencoder_kl(config)
        self.vae.to(memory_format=torch.channels_last)
        # The posterior starts narrow: with unit noise a small network leaves whole hues unused.
        nn.init.constant_(self.vae.quant_conv.bias[config.latent_channels :], NARROW)
        scale = torch.full((config.latent_channels, 1, 1), config.scaling_factor)
        self.register_buffer("scale", scale)

    def forward(
        self, frames: Float[Tensor, "n 3 h w"], noise: Float[Tensor, "n c lh lw"]
    ) -> tuple[Float[Tensor, "n 3 h w"], Float[Tensor, "n c lh lw"], Float[Tensor, "n c lh lw"]]:
        """Encode, draw latents with the given unit noise, decode: one training pass.

        Returns:
            Reconstruction, and mean and log-variance of the unscaled latents.
        """
        posterior = self.vae.encode(_channels_last(frames)).latent_dist
        latents = posterior.mean + torch.exp(0.5 * posterior.logvar) * noise
        return self.vae.decode(latents).sample, posterior.mean, posterior.logvar

    def encode(
        self, video: Float[Tensor, "b t 3 h w"], *, chunk: int = 64
    ) -> Float[Tensor, "b c t lh lw"]:
        """Turn video into scaled latents: the posterior's mean, so nothing is random.

        Args:
            video: In [-1, 1]; height and width are multiples of `factor`.
            chunk: Frames per pass; bounds the memory.

        Raises:
            InputError: Height or width is no multiple of `factor`.
        """
        if video.shape[-2] % self.factor or video.shape[-1] % self.factor:
            raise InputError(
                f"video: expected height and width in multiples of {self.factor} px,"
                f" got {tuple(video.shape)}; resize or crop it first"
            )
        frames = _channels_last(rearrange(video, "b t c h w -> (b t) c h w"))
        parts = [self.vae.encode(part).latent_dist.mean for part in frames.split(chunk)]
        latents = torch.cat(parts).float() * self.scale
        return rearrange(latents, "(b t) c h w -> b c t h w", b=len(video))

    def decode(
        self, latents: Float[Tensor, "b c t lh lw"], *, chunk: int = 32
    ) -> Float[Tensor, "b t 3 h w"]:
        """Turn scaled latents into video, cut to [-1, 1].

        Args:
            latents: As `encode` gives them.
            chunk: Frames per pass; bounds the memory.
        """
        frames = _channels_last(rearrange(latents, "b c t h w -> (b t) c h w") / self.scale)
        parts = [self.vae.decode(part).sample.float() for part in frames.split(chunk)]
        video = torch.cat(parts).clamp(-1.0, 1.0)
        return rearrange(video, "(b t) c h w -> b t c h w", b=len(latents))


def _channels_last(frames: Tensor) -> Tensor:
    # Convolutions on a CPU are quicker in this order.
    return frames.contiguous(memory_format=torch.channels_last)


def _autoencoder_kl(config: FrameAutoencoder.Config) -> "AutoencoderKL":
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    steps = len(config.block_out_channels)
    # diffusers annotates these three as tuples of one; any length is meant.
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * steps,  # type: ignore[arg-type]
        up_block_types=("UpDecoderBlock2D",) * steps,  # type: ignore[arg-type]
        block_out_channels=config.block_out_channels,  # type: ignore[arg-type]
        layers_per_block=config.layers_per_block,
        latent_channels=config.latent_channels,
        norm_num_groups=config.norm_groups,
        mid_block_add_attention=config.attention,
    )

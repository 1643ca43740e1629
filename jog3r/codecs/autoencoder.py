"""Pixels <-> latents, frame by frame, with diffusers' AutoencoderKL."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from jog3r.codecs.frame_passes import (
    check_num_frames,
    check_video,
    decode_frames,
    encode_frames,
    use_tiles,
)
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
        latent_channels: Channels of a latent.
        scale: What each channel of latents is multiplied by, `(C, 1, 1)`; AutoencoderKL itself
            never scales.
    """

    @dataclass(kw_only=True, frozen=True)
    class Config:
        """Plain values of AutoencoderKL.

        Args:
            kind: Tells the autoencoders apart in `config.json`.
            block_out_channels: Width of each resolution; every one but the last is halved.
            layers_per_block: Residual layers per resolution.
            latent_channels: Channels of a latent.
            norm_groups: Groups of the group normalisations. With one group the ratio of channels
                survives, so small networks keep track of hues.
            attention: Whether the middle block has self-attention.
            scaling_factor: What latents are multiplied by before training; stage one measures it
                per channel.
        """

        kind: Literal["frame"] = "frame"
        block_out_channels: tuple[int, ...] = (16, 32, 64)
        layers_per_block: int = 1
        latent_channels: int = 6
        norm_groups: int = 1
        attention: bool = False
        scaling_factor: float = 1.0

        def __post_init__(self) -> None:
            numbers = ("block_out_channels", "layers_per_block", "latent_channels", "norm_groups")
            check_positive("autoencoder", self, *numbers, "scaling_factor")

        @classmethod
        def sd_vae_ft_ema(cls) -> "FrameAutoencoder.Config":
            """Give the settings of stabilityai/sd-vae-ft-ema, the autoencoder of Open-Sora 1.0.

            Those of SDXL's autoencoder are the same but for its own scaling factor, which Open-Sora
            1.2 replaces by this one.
            """
            return cls(
                block_out_channels=(128, 256, 512, 512),
                layers_per_block=2,
                latent_channels=4,
                norm_groups=32,
                attention=True,
                scaling_factor=0.18215,
            )

        def build(self) -> "FrameAutoencoder":
            """Make the autoencoder with fresh weights."""
            return FrameAutoencoder(self)

    scale: Tensor
    vae: Any  # diffusers types its results for every value of return_dict at once

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.factor = 2 ** (len(config.block_out_channels) - 1)
        self.latent_channels = config.latent_channels
        self.vae = autoencoder_kl(config)
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
        frames = frames.contiguous(memory_format=torch.channels_last)
        posterior = self.vae.encode(frames).latent_dist
        latents = posterior.mean + torch.exp(0.5 * posterior.logvar) * noise
        return self.vae.decode(latents).sample, posterior.mean, posterior.logvar

    def encode(
        self, video: Float[Tensor, "b t 3 h w"], *, chunk: int | None = None
    ) -> Float[Tensor, "b c t lh lw"]:
        """Turn video into scaled latents: the posterior's mean, so nothing is random.

        Args:
            video: In [-1, 1]; height and width are multiples of `factor`.
            chunk: Frames per pass; None bounds the pixels of a pass.

        Raises:
            InputError: Height or width is no multiple of `factor`, or there is no frame.
        """
        check_video(video, self.factor)
        frames = rearrange(video, "b t c h w -> (b t) c h w")
        latents = encode_frames(self.vae, frames, chunk) * self.scale
        return rearrange(latents, "(b t) c h w -> b c t h w", b=len(video))

    def decode(
        self,
        latents: Float[Tensor, "b c t lh lw"],
        *,
        num_frames: int | None = None,
        chunk: int | None = None,
        cut: bool = True,
    ) -> Float[Tensor, "b t 3 h w"]:
        """Turn scaled latents into video.

        Args:
            latents: As `encode` gives them.
            num_frames: Frames of the video, as many as there are latents.
            chunk: Frames per pass; None bounds the pixels of a pass.
            cut: Whether to cut the video to [-1, 1].

        Raises:
            InputError: Another number of frames than of latents.
        """
        if num_frames not in (None, latents.shape[2]):
            raise InputError(
                f"num_frames: expected {latents.shape[2]}, one for each latent, got {num_frames!r};"
                " leave it out"
            )
        frames = rearrange(latents, "b c t h w -> (b t) c h w") / self.scale
        video = decode_frames(self.vae, frames, factor=self.factor, chunk=chunk, cut=cut)
        return rearrange(video, "(b t) c h w -> b t c h w", b=len(latents))

    def latent_frames(self, num_frames: int) -> int:
        """Say how many latents a video of so many frames has.

        Raises:
            InputError: Less than one frame.
        """
        return len(self.frames_of_latents(num_frames))

    def frames_of_latents(self, num_frames: int) -> list[int]:
        """Name the frame that each latent of a video ends with; here, each frame has its own.

        Raises:
            InputError: Less than one frame.
        """
        check_num_frames(num_frames)
        return list(range(num_frames))

    def use_tiles(self, tile_px: int | None) -> None:
        """Encode and decode larger frames in overlapping tiles, for less memory.

        Frames of a tile or less are not affected. Tiled frames differ a little from whole ones, as
        the network's normalisations and its attention see one tile at a time.

        Args:
            tile_px: Height and width of a tile [px], a multiple of `4 * factor`; None, as at the
                start, for whole frames.

        Raises:
            InputError: Another size.
        """
        use_tiles(self.vae, tile_px, self.factor)


def autoencoder_kl(config: FrameAutoencoder.Config) -> "AutoencoderKL":
    """Make diffusers' AutoencoderKL, its weights in the order that suits a CPU."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    steps = len(config.block_out_channels)
    # diffusers annotates these three as tuples of one, where any length is meant, and its `to` in a
    # way that no type checker understands.
    vae: Any = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * steps,  # type: ignore[arg-type]
        up_block_types=("UpDecoderBlock2D",) * steps,  # type: ignore[arg-type]
        block_out_channels=config.block_out_channels,  # type: ignore[arg-type]
        layers_per_block=config.layers_per_block,
        latent_channels=config.latent_channels,
        norm_num_groups=config.norm_groups,
        mid_block_add_attention=config.attention,
    )
    return vae.to(memory_format=torch.channels_last)

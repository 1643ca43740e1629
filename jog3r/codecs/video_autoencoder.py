"""The autoencoder of Open-Sora 1.2: every frame through a 2-D one, then short clips through time.

Names of parameters and buffers are those of the public checkpoint, which loads unchanged.

Source: Open-Sora 1.2 (Zheng et al. 2024); numbers checked against parity/opensora_vae.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from jog3r.codecs.autoencoder import FrameAutoencoder, autoencoder_kl
from jog3r.codecs.frame_passes import (
    check_num_frames,
    check_video,
    decode_frames,
    encode_frames,
    use_tiles,
)
from jog3r.codecs.temporal_autoencoder import TemporalAutoencoder
from jog3r.config import check_positive
from jog3r.errors import InputError


class VideoAutoencoder(nn.Module):
    """Video <-> latents of 4 frames each; with the defaults, 17 frames become 5 latents.

    Clips of `micro_frames` are encoded by themselves. Within one, time is padded in front, so its
    first latent stands for fewer frames than the others, and each latent ends with a frame.

    Attributes:
        spatial_vae: Holds diffusers' AutoencoderKL as `module`.
        temporal_vae: Latents of frames <-> latents of the video.
        factor: How many pixels one latent spans per axis.
        latent_channels: Channels of a latent.
        scale: What latents are divided by, `(1, C, 1, 1, 1)`.
        shift: What is subtracted before.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """The defaults are those of the public checkpoint.

        Args:
            kind: Tells the autoencoders apart in `config.json`.
            spatial: Of the frames; its scaling factor applies between the two autoencoders.
            temporal: Of the clips.
            shift: What is subtracted from each channel of the latents.
            scale: What each channel is divided by then.
            micro_frames: Frames of a clip.

        Raises:
            InputError: A number that is not above 0, or parts that do not fit each other.
        """

        kind: Literal["opensora-1.2"] = "opensora-1.2"
        spatial: FrameAutoencoder.Config = field(
            default_factory=FrameAutoencoder.Config.sd_vae_ft_ema
        )
        temporal: TemporalAutoencoder.Config = field(default_factory=TemporalAutoencoder.Config)
        shift: tuple[float, ...] = (-0.10, 0.34, 0.27, 0.98)
        scale: tuple[float, ...] = (3.85, 2.32, 2.33, 3.06)
        micro_frames: int = 17

        def __post_init__(self) -> None:
            check_positive("autoencoder", self, "scale", "micro_frames")
            between = (self.spatial.latent_channels, self.temporal.channels)
            if len(set(between)) > 1:
                raise InputError(
                    "autoencoder.temporal.channels: expected the latent channels of the spatial"
                    f" part, {between[0]}, got {between[1]}; correct one of them"
                )
            if {len(self.shift), len(self.scale)} != {self.temporal.latent_channels}:
                raise InputError(
                    f"autoencoder: expected shift and scale of {self.temporal.latent_channels}"
                    f" channels, got {len(self.shift)} and {len(self.scale)}; correct the config"
                )

        @property
        def latent_channels(self) -> int:
            """Channels of a latent."""
            return self.temporal.latent_channels

        def build(self) -> "VideoAutoencoder":
            """Make the autoencoder with fresh weights."""
            return VideoAutoencoder(self)

    scale: Tensor
    shift: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.factor = 2 ** (len(config.spatial.block_out_channels) - 1)
        self.latent_channels = config.latent_channels
        self.spatial_vae = nn.ModuleDict({"module": autoencoder_kl(config.spatial)})
        self.temporal_vae = config.temporal.build()
        self.register_buffer("scale", torch.tensor(config.scale)[None, :, None, None, None])
        self.register_buffer("shift", torch.tensor(config.shift)[None, :, None, None, None])

    def encode(
        self, video: Float[Tensor, "b t 3 h w"], *, chunk: int | None = None
    ) -> Float[Tensor, "b c lt lh lw"]:
        """Turn video into scaled latents: means of posteriors, so nothing is random.

        Args:
            video: In [-1, 1]; height and width are multiples of `factor`.
            chunk: Frames per pass of the spatial part; None bounds the pixels of a pass.

        Raises:
            InputError: Height or width is no multiple of `factor`, or there is no frame.
        """
        samples = self.encode_space(video, chunk=chunk).split(1)
        latents = torch.cat([self._shorten(sample) for sample in samples])
        return (latents - self.shift) / self.scale

    def encode_space(
        self, video: Float[Tensor, "b t 3 h w"], *, chunk: int | None = None
    ) -> Float[Tensor, "b c t lh lw"]:
        """Turn every frame into latents: what the temporal part takes.

        Raises:
            InputError: Height or width is no multiple of `factor`, or there is no frame.
        """
        check_video(video, self.factor)
        frames = rearrange(video, "b t c h w -> (b t) c h w")
        latents = encode_frames(self.spatial_vae["module"], frames, chunk)
        latents = latents * self.config.spatial.scaling_factor
        return rearrange(latents, "(b t) c h w -> b c t h w", b=len(video))

    def decode(
        self,
        latents: Float[Tensor, "b c lt lh lw"],
        *,
        num_frames: int | None = None,
        chunk: int | None = None,
        cut: bool = True,
    ) -> Float[Tensor, "b t 3 h w"]:
        """Turn scaled latents into video.

        Args:
            latents: As `encode` gives them.
            num_frames: Frames of the video; None for the most that so many latents can stand for.
            chunk: Frames per pass of the spatial part; None bounds the pixels of a pass.
            cut: Whether to cut the video to [-1, 1].

        Raises:
            InputError: A video of so many frames has another number of latents.
        """
        lengths = self._clip_lengths(latents.shape[2], num_frames)
        samples = (latents * self.scale + self.shift).split(1)
        frames = torch.cat([self._lengthen(sample, lengths) for sample in samples])
        frames = rearrange(frames, "b c t h w -> (b t) c h w") / self.config.spatial.scaling_factor
        vae = self.spatial_vae["module"]
        video = decode_frames(vae, frames, factor=self.factor, chunk=chunk, cut=cut)
        return rearrange(video, "(b t) c h w -> b t c h w", b=len(latents))

    def latent_frames(self, num_frames: int) -> int:
        """Say how many latents a video of so many frames has.

        Raises:
            InputError: Less than one frame.
        """
        return len(self.frames_of_latents(num_frames))

    def frames_of_latents(self, num_frames: int) -> list[int]:
        """Name the frame that each latent of a video ends with.

        Raises:
            InputError: Less than one frame.

        Example:
            >>> with torch.device("meta"):
            ...     autoencoder = VideoAutoencoder.Config().build()
            >>> autoencoder.frames_of_latents(21)
            [0, 4, 8, 12, 16, 20]
        """
        check_num_frames(num_frames)
        frames, step = range(num_frames), self.config.micro_frames
        clips = [frames[start : start + step] for start in frames[::step]]
        return [frame for clip in clips for frame in clip[:: -self.temporal_vae.stride][::-1]]

    def use_tiles(self, tile_px: int | None) -> None:
        """Have the spatial part take larger frames in overlapping tiles, for less memory.

        Frames of a tile or less are not affected. Tiled frames differ a little from whole ones, as
        the network's normalisations and its attention see one tile at a time.

        Args:
            tile_px: Height and width of a tile [px], a multiple of `4 * factor`; None, as at the
                start, for whole frames.

        Raises:
            InputError: Another size.
        """
        use_tiles(self.spatial_vae["module"], tile_px, self.factor)

    def _shorten(self, latents: Tensor) -> Tensor:
        """Encode the latents of frames along time, one clip after the other."""
        clips = latents.to(self.temporal_vae.dtype).split(self.config.micro_frames, dim=2)
        return torch.cat([self.temporal_vae.encode(clip)[0].float() for clip in clips], dim=2)

    def _lengthen(self, latents: Tensor, lengths: list[int]) -> Tensor:
        """Decode latents along time into clips of these lengths."""
        counts = [self.latent_frames(length) for length in lengths]
        clips = latents.to(self.temporal_vae.dtype).split(counts, dim=2)
        decoded = map(self.temporal_vae.decode, clips, lengths)
        return torch.cat([clip.float() for clip in decoded], dim=2)

    def _clip_lengths(self, latents: int, num_frames: int | None) -> list[int]:
        """Say how many frames each clip of a video has that has so many latents."""
        step, stride = self.config.micro_frames, self.temporal_vae.stride
        clips, rest = divmod(latents, self.latent_frames(step))
        wanted = clips * step + rest * stride if num_frames is None else num_frames
        if self.latent_frames(wanted) != latents:
            raise InputError(
                f"num_frames: expected a video of {latents} latents, got {wanted} frames, which"
                f" have {self.latent_frames(wanted)}; latent_frames() gives the number"
            )
        return [min(step, wanted - start) for start in range(0, wanted, step)]

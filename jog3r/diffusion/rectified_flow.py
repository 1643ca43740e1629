"""The noise schedule of checkpoints that were trained with rectified flow.

Source: Liu et al. 2022, arXiv 2209.03003; logit-normal times and the shift of times with the
resolution: Esser et al. 2024, arXiv 2403.03206, sections 3.1 and 5.3.2, here extended to time.
"""

import sys
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from jog3r.diffusion.interface import ClipFormat, Sampler
from jog3r.diffusion.noise import MixedNoise
from jog3r.diffusion.schedule import check_choice, check_sampling_steps, check_steps
from jog3r.errors import InputError

Drawing = Literal["logit-normal", "uniform"]

# The video whose times stay as they are: one frame of so many pixels.
BASE_PIXELS = 512 * 512
# Open-Sora's autoencoder makes 5 latent frames of 17.
MICRO_FRAMES, MICRO_LATENTS = 17, 5


@dataclass(kw_only=True, frozen=True)
class RectifiedFlow(MixedNoise):
    """Straight lines between clean latents and noise, as in Open-Sora 1.2.

    At timestep t of `steps`, latents are `(1 - t/steps) clean + t/steps noise`; the network
    predicts the velocity `clean - noise`.

    Args:
        kind: Says in a config that it is this one.
        steps: Timestep of pure noise.
        drawing: Of training times: mostly in the middle ("logit-normal": the logistic function of
            a standard normal number), or all alike ("uniform").
        discrete_timesteps: Whether timesteps are whole numbers before the transform.
        timestep_transform: Whether larger and longer videos, which the same noise spoils less, get
            later times: see `transform`.
        transform_scale: Further factor of the transform, in training only, as in Open-Sora.
        shared_noise: Share of the noise's variance that all frames of a clip have in common: see
            `jog3r.diffusion.noise.MixedNoise`.

    Raises:
        InputError: Fewer steps than reconstruction needs or very many, another kind or drawing, a
            scale that is not finite and above 0, or a share outside [0, 1].
    """

    kind: Literal["rectified-flow"] = "rectified-flow"
    steps: int = 1000
    drawing: Drawing = "logit-normal"
    discrete_timesteps: bool = False
    timestep_transform: bool = True
    transform_scale: float = 1.0
    shared_noise: float = 0.0

    def __post_init__(self) -> None:
        check_steps(self.steps)
        check_choice("kind", self.kind, ("rectified-flow",))
        check_choice("drawing", self.drawing, get_args(Drawing))
        if not 0.0 < self.transform_scale <= sys.float_info.max:
            raise InputError(
                "schedule.transform_scale: expected a finite number above 0, got"
                f" {self.transform_scale}; 1 is usual"
            )
        self.check_shared_noise()

    @property
    def description(self) -> str:
        """For people, in a few words."""
        return "velocity of a rectified flow"

    def levels(
        self, timestep: Num[Tensor, " b"]
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Give the share of signal and of noise at a timestep; they add up to one."""
        noise = timestep.float() / self.steps
        return 1.0 - noise, noise

    def add_noise(
        self,
        latents: Float[Tensor, "b c t h w"],
        noise: Float[Tensor, "b c t h w"],
        timestep: Num[Tensor, " b"],
        x_mask: Bool[Tensor, "b t"] | None = None,
    ) -> Float[Tensor, "b c t h w"]:
        """Mix latents with noise as they are at a timestep.

        Args:
            latents: Clean.
            noise: Of unit variance.
            timestep: One per sample.
            x_mask: Frames to be noised; the others stay clean.
        """
        signal, level = (value[:, None, None, None, None] for value in self.levels(timestep))
        noisy = signal * latents + level * noise
        if x_mask is None:
            return noisy
        return torch.where(x_mask[:, None, :, None, None], noisy, latents)

    def target(
        self,
        clean: Float[Tensor, "b c t h w"],
        noise: Float[Tensor, "b c t h w"],
        timestep: Num[Tensor, " b"],
    ) -> Float[Tensor, "b c t h w"]:
        """Compute what the network should predict, the same velocity at every timestep."""
        return clean - noise

    def draw_timesteps(
        self, uniform: Float[Tensor, " b"], video_format: ClipFormat | None = None
    ) -> Float[Tensor, " b"]:
        """Turn numbers that are uniform in [0, 1) into training timesteps.

        Args:
            uniform: One per sample.
            video_format: Of the videos; only the transform asks for it.

        Raises:
            InputError: No format where the times depend on it.
        """
        # The normal distribution's inverse turns an even spread into its own; 0 into -infinity,
        # which the logistic function takes back to 0.
        normal = self.drawing == "logit-normal"
        timestep = (torch.special.ndtri(uniform).sigmoid() if normal else uniform) * self.steps
        timestep = timestep.floor() if self.discrete_timesteps else timestep
        if not self.timestep_transform:
            return timestep
        return self.transform(timestep, video_format, scale=self.transform_scale)

    def transform(
        self,
        timestep: Float[Tensor, " b"],
        video_format: ClipFormat | None,
        *,
        scale: float = 1.0,
    ) -> Float[Tensor, " b"]:
        """Shift times by resolution and length: t' = r t / (1 + (r - 1) t), t out of 1.

        r = sqrt(height * width / 512^2) * sqrt(latent frames) * scale. The number of latent frames
        is counted as Open-Sora does, 5 for every 17 frames and a remainder for nothing, except
        below 17: there Open-Sora's rule gives none at all, r = 0, and every time becomes 0 (0/0 at
        pure noise). Here 2 to 16 frames count as what its autoencoder makes of them, a latent frame
        for every 4 frames begun.

        Args:
            timestep: From 0 to `steps`; both stay where they are.
            video_format: Of the videos.
            scale: Further factor of r.

        Raises:
            InputError: No format.
        """
        ratio = scale * _ratio(video_format).to(timestep.device)
        return (self.steps * _shift(timestep / self.steps, ratio)).to(timestep.dtype)

    def sampler(self, steps: int, video_format: ClipFormat | None = None) -> Sampler:
        """Prepare one sampling run of Euler's steps, evenly spaced before the transform.

        Args:
            steps: Of sampling.
            video_format: Of all videos in the batch, which have to be of one length and size; only
                the transform asks for it.

        Raises:
            InputError: More steps than the timestep of pure noise, or no format, or several, where
                the times depend on it.
        """
        from jog3r.diffusion.samplers import EulerSampler

        check_sampling_steps(steps, self.steps)
        fractions = 1.0 - torch.arange(steps, dtype=torch.float64) / steps
        if self.discrete_timesteps:
            fractions = (fractions * self.steps).round() / self.steps
        if self.timestep_transform:
            fractions = _shift(fractions, _one_ratio(video_format))
        return EulerSampler(fractions.tolist(), (self.steps * fractions).tolist())


def _latent_frames(num_frames: Tensor) -> Tensor:
    """Count latent frames as `RectifiedFlow.transform` says."""
    whole = num_frames // MICRO_FRAMES * MICRO_LATENTS
    return torch.maximum(whole, (num_frames.clamp(max=MICRO_FRAMES) / 4).ceil())


def _ratio(video_format: ClipFormat | None) -> Float[Tensor, " b"]:
    if video_format is None:
        raise InputError(
            "video_format: expected length and size of the videos, as this schedule's times depend"
            " on them, got None; pass it or set timestep_transform=False"
        )
    area = video_format.height.double() * video_format.width / BASE_PIXELS
    return (area * _latent_frames(video_format.num_frames)).sqrt()


def _one_ratio(video_format: ClipFormat | None) -> Float[Tensor, " 1"]:
    """Give the ratio that all samples of a run share, on the CPU."""
    ratio = _ratio(video_format).unique().cpu()
    if len(ratio) != 1:
        raise InputError(
            "video_format: expected samples of one length and size, got several; sample them one"
            " after the other"
        )
    return ratio


def _shift(fraction: Tensor, ratio: Tensor) -> Tensor:
    # Written so that pure noise, 1, stays exactly that.
    return ratio * fraction / ((1.0 - fraction) + ratio * fraction)

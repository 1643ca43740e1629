"""Sampling around frames that are given: kept clean, or joined in at a noise level of their own.

Source: the frame masks of Open-Sora 1.1 and 1.2; the entering at a level is that of SDEdit (Meng et
al. 2021, arXiv 2108.01073), frame by frame.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.diffusion.interface import Sampler, Schedule
from jog3r.errors import InputError


class MaskedSampler:
    """A sampler that leaves some frames alone until their time comes.

    Each step is three calls: `enter` gives the latents for the network, `x_mask` tells it which
    frames of them are noisy, `step` goes on.

    Args:
        sampler: Of the schedule.
        schedule: Mixes the noise in when a frame enters.
        frame_mask: One number per sample and latent frame. 0 keeps the frame as it is, 1 generates
            it from the noise that it starts with, and m between the two starts at noise level m:
            the given frame gets its noise in the first step whose timestep is at most m * steps.

    Attributes:
        timesteps: Those of the sampler.

    Raises:
        InputError: A number outside [0, 1]; or one between the two with a multistep sampler, for
            which a frame that enters late has no past.
    """

    def __init__(
        self, sampler: Sampler, schedule: Schedule, frame_mask: Float[Tensor, "b t"]
    ) -> None:
        if not bool(((frame_mask >= 0.0) & (frame_mask <= 1.0)).all()):
            raise InputError(
                "frame_mask: expected numbers from 0 (kept) to 1 (generated), got others; see"
                " MaskedSampler"
            )
        if sampler.multistep and bool(((frame_mask > 0.0) & (frame_mask < 1.0)).any()):
            raise InputError(
                "frame_mask: expected 0 or 1 with a multistep sampler, got numbers between; use"
                " solver='ddim'"
            )
        self._sampler, self._schedule, self._frame_mask = sampler, schedule, frame_mask
        self.timesteps = sampler.timesteps

    def x_mask(self, index: int) -> Bool[Tensor, "b t"]:
        """Tell which frames are noisy in a step; the others are clean."""
        # Frames to be kept stay out of a last step at timestep 0, too.
        level = self._frame_mask * self._schedule.steps
        return (level >= self.timesteps[index]) & (self._frame_mask > 0.0)

    def enter(
        self,
        latents: Float[Tensor, "b c t h w"],
        index: int,
        noise: Float[Tensor, "b c t h w"],
    ) -> Float[Tensor, "b c t h w"]:
        """Noise the frames whose time comes in this step.

        Args:
            latents: After the step before; in the first step given frames, and noise in those
                whose mask is 1.
            index: Of the step.
            noise: Of unit variance.
        """
        before = self.x_mask(index - 1) if index else self._frame_mask == 1.0
        entering = self.x_mask(index) & ~before
        times = torch.full((len(latents),), self.timesteps[index], device=latents.device)
        noisy = self._schedule.add_noise(latents, noise, times)
        return torch.where(entering[:, None, :, None, None], noisy, latents)

    def step(
        self,
        prediction: Float[Tensor, "b c_out t h w"],
        index: int,
        latents: Float[Tensor, "b c t h w"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "b c t h w"]:
        """Take one step; frames whose time has not come stay as they are.

        Args:
            prediction: See `jog3r.diffusion.interface.Sampler`.
            index: Of the step.
            latents: As `enter` gave them.
            generators: One per sample.
        """
        stepped = self._sampler.step(prediction, index, latents, generators)
        return torch.where(self.x_mask(index)[:, None, :, None, None], stepped, latents)

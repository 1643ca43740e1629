"""What of a batch the reconstruction half of a joint step works on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from jog3r.diffusion.interface import Schedule
from jog3r.diffusion.schedule import RECONSTRUCTION_MAX
from jog3r.errors import InputError
from jog3r.training.draws import Draws

Frames = Literal["all", "pairs"]
TRUTH = ("depth", "K", "world_from_camera")


def clips_taken(clips: int, every: int) -> int:
    """Count the clips of a batch whose reconstruction trains.

    Raises:
        InputError: They are not a multiple of `every`: one process would take other clips than two.
    """
    if clips % every:
        raise InputError(
            f"rec_every: expected to divide the {clips} clips of a process' batch, got {every};"
            " change either"
        )
    return clips // every


@dataclass(frozen=True)
class ReconstructionHalf:
    """Clips of C of the batch's samples, at little noise.

    Attributes:
        noisy: Latents `(C, c, T, h, w)`.
        timesteps: `(C,)`.
        partners: `(C, P)`, the second frames of the pairs, counted in `noisy`.
        truth: Depth and cameras of the frames of `noisy`.
    """

    noisy: Tensor
    timesteps: Tensor
    partners: Tensor
    truth: dict[str, Tensor]

    @classmethod
    def of(
        cls,
        schedule: Schedule,
        latents: Tensor,
        drawn: Draws,
        batch: Mapping[str, Any],
        *,
        every: int,
        frames: Frames,
    ) -> "ReconstructionHalf":
        """Choose and add noise.

        Args:
            schedule: Of the noise.
            latents: Of the whole batch, `(B, c, T, h, w)`.
            drawn: For it.
            batch: With depth and cameras.
            every: Take the first clip, and every so manieth.
            frames: All of a clip, or the first one and the pairs' second ones, in order of time.

        Raises:
            InputError: The clips are not a multiple of `every`.
        """
        clips_taken(len(latents), every)
        times = (drawn.uniform[1] * (RECONSTRUCTION_MAX + 1)).long().to(latents.device)
        noisy = schedule.add_noise(latents[::every], drawn.noise[1, ::every], times[::every])
        truth = {name: batch[name][::every] for name in TRUTH}
        partners = drawn.partners[::every]
        # Where latents span several frames there is no loss, and whoever computes it says so.
        if frames == "pairs" and batch["depth"].shape[1] == latents.shape[2]:
            kept = torch.nn.functional.pad(partners.sort(dim=1).values, (1, 0))
            clips = torch.arange(len(kept), device=kept.device)[:, None]
            noisy = noisy.transpose(1, 2)[clips, kept].transpose(1, 2)
            truth = {name: each[clips, kept] for name, each in truth.items()}
            partners = torch.arange(1, kept.shape[1], device=kept.device).expand_as(partners)
        return cls(noisy, times[::every], partners, truth)

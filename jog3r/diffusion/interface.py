"""What every noise schedule and every sampler offers, whatever the checkpoint was trained with."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor


@runtime_checkable
class ClipFormat(Protocol):
    """How long and how large the decoded videos are; `jog3r.backbones` has a class of this form."""

    @property
    def num_frames(self) -> Float[Tensor, " b"]:
        """Of the video, not of its latents."""
        ...

    @property
    def height(self) -> Float[Tensor, " b"]:
        """In pixels."""
        ...

    @property
    def width(self) -> Float[Tensor, " b"]:
        """In pixels."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """One run from pure noise to clean latents; the steps are taken once, in order."""

    @property
    def timesteps(self) -> list[float]:
        """What the network is told in each step, noisiest first."""
        ...

    @property
    def multistep(self) -> bool:
        """Whether a step builds on the prediction of the one before."""
        ...

    def step(
        self,
        prediction: Float[Tensor, "b c_out t h w"],
        index: int,
        latents: Float[Tensor, "b c t h w"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "b c t h w"]:
        """Take one step towards clean latents.

        Args:
            prediction: All that the network gave, after guidance; channels beyond those of the
                latents are the learned variance, which only ancestral sampling looks at.
            index: Of the step, from 0.
            latents: As the network saw them.
            generators: One per sample, on the CPU; only ancestral sampling draws from them.
        """
        ...


@runtime_checkable
class Schedule(Protocol):
    """How noise is mixed in, what the network predicts of it, and how it is taken out again.

    Timesteps run from 0, clean, to `steps`, pure noise.
    """

    @property
    def steps(self) -> int:
        """Training timesteps."""
        ...

    @property
    def description(self) -> str:
        """For people, in a few words."""
        ...

    def levels(
        self, timestep: Num[Tensor, " b"]
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Give the share of signal and of noise at a timestep."""
        ...

    def add_noise(
        self,
        latents: Float[Tensor, "b c t h w"],
        noise: Float[Tensor, "b c t h w"],
        timestep: Num[Tensor, " b"],
        x_mask: Bool[Tensor, "b t"] | None = None,
    ) -> Float[Tensor, "b c t h w"]:
        """Mix latents with noise; frames that `x_mask` does not hold are as at timestep 0."""
        ...

    def target(
        self,
        clean: Float[Tensor, "b c t h w"],
        noise: Float[Tensor, "b c t h w"],
        timestep: Num[Tensor, " b"],
    ) -> Float[Tensor, "b c t h w"]:
        """Compute what the network should predict."""
        ...

    def draw_noise(
        self, shape: Sequence[int], generator: torch.Generator
    ) -> Float[Tensor, "*b c t h w"]:
        """Draw unit noise of a shape `(..., C, T, h, w)`."""
        ...

    def draw_each(
        self, shape: Sequence[int], generators: Sequence[torch.Generator]
    ) -> Float[Tensor, "b c t h w"]:
        """Draw unit noise of a shape `(C, T, h, w)` for each sample, from its own generator."""
        ...

    def unit_noise(self, shape: Sequence[int], seeds: Sequence[int]) -> Float[Tensor, "b c t h w"]:
        """Draw unit noise of a shape `(C, T, h, w)` for each sample, from its own seed."""
        ...

    def draw_timesteps(
        self, uniform: Float[Tensor, " b"], video_format: ClipFormat | None = None
    ) -> Num[Tensor, " b"]:
        """Turn numbers that are uniform in [0, 1) into training timesteps."""
        ...

    def sampler(self, steps: int, video_format: ClipFormat | None = None) -> Sampler:
        """Prepare one sampling run of so many steps."""
        ...


def least_steps(
    schedule: Schedule, level: float, *, above: int, video_format: ClipFormat | None = None
) -> int | None:
    """Find how many sampling steps it takes for the last one to start at little noise.

    Args:
        schedule: Of the checkpoint.
        level: Timestep at which the last step may start at most.
        above: Start looking at one more than this.
        video_format: Of the samples.

    Returns:
        None if even as many steps as in training do not do.
    """
    for steps in range(above + 1, schedule.steps + 1):
        if schedule.sampler(steps, video_format).timesteps[-1] <= level:
            return steps
    return None

"""The noise schedule of a checkpoint: diffusers' schedulers behind the few calls jog3r needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from jog3r.diffusion.prediction import PredictionType
from jog3r.errors import InputError

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

# Low-noise timesteps of reconstruction, of 1000. The paper gives [0, 10] in training and [0, 5] at
# inference and calls the first 10 % noise, so it counts out of 100.
RECONSTRUCTION_MAX = 100
RECONSTRUCTION_AT = 20
# More training timesteps than anyone has used: a file that asks for more is corrupt.
MOST_STEPS = 100_000


@dataclass(kw_only=True, frozen=True)
class NoiseSchedule:
    """DDPM with linear betas, as in Open-Sora 1.0.

    Args:
        steps: Training timesteps.
        beta_start: First beta.
        beta_end: Last beta.
        prediction_type: What the network predicts. With `v_prediction` the mean squared error is
            that of the noise divided by the signal power alpha-bar (Salimans and Ho 2022), so the
            early, coarse steps of sampling weigh more.
        shared_noise: Share of the noise's variance that all frames of a clip have in common, in
            training and in sampling: the mixed noise of PYoCo (Ge et al. 2023, arXiv 2305.10474).
            Frames that begin alike end alike, with less to learn. 0 is independent noise.

    Raises:
        InputError: Fewer steps than reconstruction needs or very many, betas that do not lie in
            (0, 1) in order, another prediction type, or a share outside [0, 1].
    """

    steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    prediction_type: PredictionType = "v_prediction"
    shared_noise: float = 0.0

    def __post_init__(self) -> None:
        ordered = 0.0 < self.beta_start <= self.beta_end < 1.0
        if not RECONSTRUCTION_MAX < self.steps <= MOST_STEPS:
            raise InputError(
                f"schedule: expected steps from {RECONSTRUCTION_MAX + 1} to {MOST_STEPS}, got"
                f" {self.steps}; 1000 is usual"
            )
        if not ordered or self.prediction_type not in get_args(PredictionType):
            raise InputError(
                "schedule: expected 0 < beta_start <= beta_end < 1 and a prediction_type of"
                f" {get_args(PredictionType)}, got {self}"
            )
        if not 0.0 <= self.shared_noise <= 1.0:
            raise InputError(
                f"schedule: expected a shared_noise from 0 to 1, got {self.shared_noise}"
            )

    def levels(
        self, timestep: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Give the share of signal and of noise at a timestep; their squares add up to one."""
        betas = torch.linspace(self.beta_start, self.beta_end, self.steps, dtype=torch.float64)
        signal = torch.cumprod(1.0 - betas, dim=0).to(timestep.device, torch.float32)[timestep]
        return signal.sqrt(), (1.0 - signal).sqrt()

    def draw_noise(
        self, shape: Sequence[int], generator: torch.Generator
    ) -> Float[Tensor, "*b c t h w"]:
        """Draw unit noise, part of it common to all frames.

        Args:
            shape: `(..., C, T, h, w)`.
            generator: On the CPU.
        """
        own = torch.randn(*shape, generator=generator)
        if self.shared_noise == 0.0:
            return own
        common = torch.randn(*shape[:-3], 1, *shape[-2:], generator=generator)
        return (1.0 - self.shared_noise) ** 0.5 * own + self.shared_noise**0.5 * common

    def unit_noise(self, shape: Sequence[int], seeds: Sequence[int]) -> Float[Tensor, "b c t h w"]:
        """Draw unit noise on the CPU; each sample's depends on its own seed alone.

        Args:
            shape: Of one sample, `(C, T, h, w)`.
            seeds: One per sample.
        """
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return torch.stack([self.draw_noise(shape, generator) for generator in generators])

    def add_noise(
        self,
        latents: Float[Tensor, "b c t h w"],
        noise: Float[Tensor, "b c t h w"],
        timestep: Int[Tensor, " b"],
    ) -> Float[Tensor, "b c t h w"]:
        """Mix latents with noise as they are at a timestep."""
        signal, level = (value[:, None, None, None, None] for value in self.levels(timestep))
        return signal * latents + level * noise

    def sampler(self, steps: int) -> "DPMSolverMultistepScheduler":
        """Set diffusers' DPM-Solver++ (2M) to this schedule.

        Timesteps are trailing: the first is the noisiest one, the last `self.steps / steps - 1`.

        Raises:
            InputError: More steps than it was trained with.
        """
        if not 1 <= steps <= self.steps:
            raise InputError(
                f"num_inference_steps: expected 1 to {self.steps}, got {steps}; 20 is usual"
            )
        from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

        scheduler = DPMSolverMultistepScheduler(
            num_train_timesteps=self.steps,
            beta_start=self.beta_start,
            beta_end=self.beta_end,
            beta_schedule="linear",
            prediction_type=self.prediction_type,
            timestep_spacing="trailing",
        )
        scheduler.set_timesteps(steps)
        if len(scheduler.timesteps) != steps:  # its own division has rounded up by one
            scheduler.set_timesteps(timesteps=scheduler.timesteps[:steps].tolist())
        return scheduler

"""The noise schedule of checkpoints that were trained as DDPM."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from jog3r.diffusion.chain import Chain, respaced
from jog3r.diffusion.interface import ClipFormat, Sampler
from jog3r.diffusion.noise import MixedNoise
from jog3r.diffusion.prediction import PredictionType, generation_target
from jog3r.errors import InputError

Solver = Literal["dpm-solver", "iddpm", "ddim"]
Spacing = Literal["ends", "stride"]

# Low-noise timesteps of reconstruction, of 1000, whatever the schedule. The paper gives [0, 10] in
# training and [0, 5] at inference and calls the first 10 % noise, so it counts out of 100.
RECONSTRUCTION_MAX = 100
RECONSTRUCTION_AT = 20
# More training timesteps than anyone has used: a file that asks for more is corrupt.
MOST_STEPS = 100_000


@dataclass(kw_only=True, frozen=True)
class NoiseSchedule(MixedNoise):
    """DDPM with linear betas, as in Open-Sora 1.0 and 1.1.

    Args:
        kind: Says in a config that it is this one.
        steps: Training timesteps.
        beta_start: First beta.
        beta_end: Last beta.
        prediction_type: What the network predicts. With `v_prediction` the mean squared error is
            that of the noise divided by the signal power alpha-bar (Salimans and Ho 2022), so the
            early, coarse steps of sampling weigh more.
        shared_noise: Share of the noise's variance that all frames of a clip have in common, in
            training and in sampling: the mixed noise of PYoCo (Ge et al. 2023, arXiv 2305.10474).
            Frames that begin alike end alike, with less to learn. 0 is independent noise.
        solver: How to sample: DPM-Solver++; Open-Sora's "iddpm", which draws new noise in each
            step as strong as the network says (it needs a learned variance and about 100 steps);
            or "ddim", the same chain of timesteps without new noise.
        spacing: Timesteps of "iddpm" and "ddim": both "ends" and what lies evenly between them, or
            every n-th from 0 on ("stride"; what Open-Sora calls ddim50 is 50 of these).

    Raises:
        InputError: Fewer steps than reconstruction needs or very many, betas that do not lie in
            (0, 1) in order, another kind, prediction type, solver or spacing, a share outside
            [0, 1], or what excludes each other: shared noise with "iddpm", whose scheduler draws
            independent noise, and a spacing with the solver that has its own.
    """

    kind: Literal["ddpm"] = "ddpm"
    steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    prediction_type: PredictionType = "v_prediction"
    shared_noise: float = 0.0
    solver: Solver = "dpm-solver"
    spacing: Spacing = "ends"

    def __post_init__(self) -> None:
        check_steps(self.steps)
        ordered = 0.0 < self.beta_start <= self.beta_end < 1.0
        if not ordered or self.prediction_type not in get_args(PredictionType):
            raise InputError(
                "schedule: expected 0 < beta_start <= beta_end < 1 and a prediction_type of"
                f" {get_args(PredictionType)}, got {self}"
            )
        check_choice("kind", self.kind, ("ddpm",))
        check_choice("solver", self.solver, get_args(Solver))
        check_choice("spacing", self.spacing, get_args(Spacing))
        self.check_shared_noise()
        self._check_agreement()

    @property
    def description(self) -> str:
        """For people, in a few words."""
        return f"{self.prediction_type}, {self.steps} DDPM steps"

    def betas(self) -> Float[Tensor, " steps"]:
        """Give the variance that each training timestep adds, in float64."""
        return torch.linspace(self.beta_start, self.beta_end, self.steps, dtype=torch.float64)

    def chain(self, timesteps: Int[Tensor, " n"] | None = None) -> Chain:
        """Give the chain of some timesteps in rising order; None for all of them."""
        return Chain.of(self.betas(), torch.arange(self.steps) if timesteps is None else timesteps)

    def levels(
        self, timestep: Num[Tensor, " b"]
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Give the share of signal and of noise at a timestep; their squares add up to one.

        Args:
            timestep: Whole numbers from 0 to `steps - 1`, of any dtype.
        """
        signal = torch.cumprod(1.0 - self.betas(), dim=0)
        signal = signal.to(timestep.device, torch.float32)[timestep.long()]
        return signal.sqrt(), (1.0 - signal).sqrt()

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
            x_mask: Frames to be noised. The others are as at timestep 0, which for DDPM is not
                quite clean; that is also what the backbones are told of them.
        """
        signal, level = (value[:, None, None, None, None] for value in self.levels(timestep))
        noisy = signal * latents + level * noise
        if x_mask is None:
            return noisy
        clean = self.add_noise(latents, noise, torch.zeros_like(timestep))
        return torch.where(x_mask[:, None, :, None, None], noisy, clean)

    def target(
        self,
        clean: Float[Tensor, "b c t h w"],
        noise: Float[Tensor, "b c t h w"],
        timestep: Num[Tensor, " b"],
    ) -> Float[Tensor, "b c t h w"]:
        """Compute what the network should predict: see `generation_target`."""
        signal, level = self.levels(timestep)
        return generation_target(
            clean,
            noise,
            signal_level=signal,
            noise_level=level,
            prediction_type=self.prediction_type,
        )

    def draw_timesteps(
        self, uniform: Float[Tensor, " b"], video_format: ClipFormat | None = None
    ) -> Int[Tensor, " b"]:
        """Turn numbers that are uniform in [0, 1) into training timesteps.

        Args:
            uniform: One per sample.
            video_format: Makes no difference here.
        """
        return (uniform * self.steps).long()

    def sampler(self, steps: int, video_format: ClipFormat | None = None) -> Sampler:
        """Prepare one sampling run.

        The first timestep is the noisiest one. The last is `self.steps / steps - 1` with
        DPM-Solver++, whose timesteps are trailing, and 0 otherwise.

        Args:
            steps: Of sampling.
            video_format: Makes no difference here.

        Raises:
            InputError: More steps than it was trained with, or fewer than the solver can take.
        """
        from jog3r.diffusion.samplers import ChainSampler, SolverSampler

        if self.solver != "dpm-solver":
            chosen = respaced(self.steps, steps, strided=self.spacing == "stride")
            ancestral = self.solver == "iddpm"
            return ChainSampler(self.chain(chosen), self.prediction_type, ancestral=ancestral)
        check_sampling_steps(steps, self.steps)
        return SolverSampler(
            steps,
            num_train_timesteps=self.steps,
            beta_start=self.beta_start,
            beta_end=self.beta_end,
            beta_schedule="linear",
            prediction_type=self.prediction_type,
        )

    def _check_agreement(self) -> None:
        if self.solver == "iddpm" and self.shared_noise > 0.0:
            raise InputError(
                "schedule: expected no shared_noise with solver='iddpm', which draws independent"
                f" noise, got {self.shared_noise}; use another solver"
            )
        if self.solver == "dpm-solver" and self.spacing != "ends":
            raise InputError(
                f"schedule: expected spacing='ends' with solver='dpm-solver', got {self.spacing!r};"
                " this solver has its own timesteps"
            )


def check_steps(steps: int) -> None:
    """Check the number of training timesteps.

    Raises:
        InputError: Fewer than reconstruction needs, or very many.
    """
    if not RECONSTRUCTION_MAX < steps <= MOST_STEPS:
        raise InputError(
            f"schedule: expected steps from {RECONSTRUCTION_MAX + 1} to {MOST_STEPS}, got"
            f" {steps}; 1000 is usual"
        )


def check_sampling_steps(steps: int, trained: int) -> None:
    """Check the number of sampling steps.

    Raises:
        InputError: None, or more than in training.
    """
    if not 1 <= steps <= trained:
        raise InputError(f"num_inference_steps: expected 1 to {trained}, got {steps}; 20 is usual")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Check a field of a schedule that is one of a few words.

    Raises:
        InputError: It is none of them.
    """
    if value not in choices:
        raise InputError(
            f"schedule.{name}: expected one of {choices}, got {value!r}; correct the config"
        )

"""The samplers: diffusers' schedulers, taken through their steps in order."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from jaxtyping import Float
from torch import Tensor

from jog3r.diffusion.chain import Chain
from jog3r.diffusion.prediction import PredictionType
from jog3r.errors import InputError


class SchedulerSampler(ABC):
    """What the samplers have in common.

    Attributes:
        timesteps: What the network is told in each step, noisiest first.
        multistep: Whether a step builds on the prediction of the one before.
    """

    timesteps: list[float]
    multistep: bool = False

    def __init__(self, timesteps: Sequence[float]) -> None:
        self.timesteps = [float(timestep) for timestep in timesteps]
        self._next = 0

    def step(
        self,
        prediction: Float[Tensor, "b c_out t h w"],
        index: int,
        latents: Float[Tensor, "b c t h w"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "b c t h w"]:
        """Take one step; `jog3r.diffusion.interface.Sampler` explains the arguments.

        Raises:
            InputError: A step out of order, a prediction of another size than the latents, or not
                one generator per sample.
        """
        if index != self._next or index >= len(self.timesteps):
            raise InputError(
                f"index: expected {self._next} of {len(self.timesteps)} steps, got {index}; take"
                " each step once, in order, and make a sampler for each run"
            )
        _check_sizes(prediction, latents, generators)
        self._next += 1
        # The latents keep their precision, whatever the network computes in.
        return self._advance(prediction.to(latents.dtype), index, latents, generators)

    @abstractmethod
    def _advance(
        self,
        prediction: Tensor,
        index: int,
        latents: Tensor,
        generators: Sequence[torch.Generator],
    ) -> Tensor: ...


class SolverSampler(SchedulerSampler):
    """DPM-Solver++ (2M) on trailing timesteps.

    Args:
        steps: Of sampling.
        options: Of diffusers' scheduler: the training betas and what is predicted.

    Source: Lu et al. 2022, arXiv 2211.01095.
    """

    multistep = True

    def __init__(self, steps: int, **options: Any) -> None:
        scheduler = DPMSolverMultistepScheduler(timestep_spacing="trailing", **options)
        scheduler.set_timesteps(steps)
        if len(scheduler.timesteps) != steps:  # its own division has rounded up by one
            scheduler.set_timesteps(timesteps=scheduler.timesteps[:steps].tolist())
        super().__init__(scheduler.timesteps.tolist())
        self._scheduler: Any = scheduler

    def _advance(
        self,
        prediction: Tensor,
        index: int,
        latents: Tensor,
        generators: Sequence[torch.Generator],
    ) -> Tensor:
        mean, timestep = prediction[:, : latents.shape[1]], int(self.timesteps[index])
        return self._scheduler.step(mean, timestep, latents, return_dict=False)[0]


class ChainSampler(SchedulerSampler):
    """Down a chain of timesteps by the posteriors of DDPM, or without any noise by DDIM.

    Args:
        chain: Timesteps and betas.
        prediction_type: What the network predicts.
        ancestral: Sample from the posteriors, with the variance that the network has learned to
            choose between the least and the largest possible one; otherwise DDIM.

    Source: ancestral: Nichol and Dhariwal 2021, equation 15; DDIM: Song et al. 2021, equation 12.
    """

    def __init__(self, chain: Chain, prediction_type: PredictionType, *, ancestral: bool) -> None:
        # The chain as a training run of its own: DDIMScheduler takes no timesteps of ours.
        options: dict[str, Any] = {
            "num_train_timesteps": len(chain.betas),
            "trained_betas": chain.betas.tolist(),
            "prediction_type": prediction_type,
            "clip_sample": False,
        }
        if ancestral:
            self._scheduler: Any = DDPMScheduler(variance_type="learned_range", **options)
        else:
            self._scheduler = DDIMScheduler(**options)
        self._scheduler.set_timesteps(len(chain.betas))
        self._ancestral = ancestral
        super().__init__(chain.timesteps.flip(0).tolist())

    def _advance(
        self,
        prediction: Tensor,
        index: int,
        latents: Tensor,
        generators: Sequence[torch.Generator],
    ) -> Tensor:
        channels, place = latents.shape[1], len(self.timesteps) - 1 - index
        if not self._ancestral:
            return self._scheduler.step(
                prediction[:, :channels], place, latents, return_dict=False
            )[0]
        if prediction.shape[1] != 2 * channels:
            raise InputError(
                f"prediction: expected {2 * channels} channels, the second half the learned"
                f" variance, got {prediction.shape[1]}; use solver='ddim'"
            )
        return self._scheduler.step(
            prediction, place, latents, generator=list(generators), return_dict=False
        )[0]


class EulerSampler(SchedulerSampler):
    """Euler's steps along the velocity clean - noise.

    Args:
        fractions: Share of noise at the start of each step, falling.
        timesteps: The same for the network.
    """

    def __init__(self, fractions: Sequence[float], timesteps: Sequence[float]) -> None:
        self._scheduler: Any = FlowMatchEulerDiscreteScheduler()
        self._scheduler.set_timesteps(sigmas=list(fractions))
        self._scheduler.set_begin_index(0)
        super().__init__(timesteps)

    def _advance(
        self,
        prediction: Tensor,
        index: int,
        latents: Tensor,
        generators: Sequence[torch.Generator],
    ) -> Tensor:
        # Its velocity points from clean to noise, Open-Sora's the other way.
        velocity, timestep = -prediction[:, : latents.shape[1]], self._scheduler.timesteps[index]
        return self._scheduler.step(velocity, timestep, latents, return_dict=False)[0]


def _check_sizes(
    prediction: Tensor, latents: Tensor, generators: Sequence[torch.Generator]
) -> None:
    channels = latents.shape[1]
    expected = [(len(latents), c, *latents.shape[2:]) for c in (channels, 2 * channels)]
    if tuple(prediction.shape) not in expected:
        raise InputError(
            f"prediction: expected the size of the latents {tuple(latents.shape)}, or twice their"
            f" channels, got {tuple(prediction.shape)}"
        )
    if len(generators) != len(latents):
        raise InputError(
            f"generators: expected {len(latents)}, one per sample, got {len(generators)}"
        )

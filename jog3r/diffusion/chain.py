"""The chain of timesteps that DDPM takes, all of them or some, and its Gaussian posteriors.

Source: DDPM (Ho et al. 2020) equations 6 and 7; respacing and the clipped log-variance: Nichol and
Dhariwal 2021, sections 4 and 3.1.
"""

from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Float, Int
from torch import Tensor

from jog3r.errors import InputError


@dataclass(frozen=True)
class Chain:
    """Timesteps in rising order, and what belongs to the step from each to the one before it.

    Attributes:
        timesteps: Among those of training.
        betas: Variance that is added.
        alphas_cumprod: Share of the signal's power that is left.
        variance: Of the posterior q(x_before | x, x_clean); 0 in the step to clean latents.
        log_variance: Its logarithm; in the first step that of the second, as log 0 is none.
        clean_weight: Of the clean latents in the posterior's mean.
        noisy_weight: Of the noisy ones.
    """

    timesteps: Int[Tensor, " n"]
    betas: Float[Tensor, " n"]
    alphas_cumprod: Float[Tensor, " n"]
    variance: Float[Tensor, " n"]
    log_variance: Float[Tensor, " n"]
    clean_weight: Float[Tensor, " n"]
    noisy_weight: Float[Tensor, " n"]

    @classmethod
    def of(cls, betas: Float[Tensor, " steps"], timesteps: Int[Tensor, " n"]) -> "Chain":
        """Keep some timesteps of a training run.

        Args:
            betas: Of all timesteps, in float64.
            timesteps: Those to keep, rising.
        """
        kept = torch.cumprod(1.0 - betas, dim=0)[timesteps]
        # float32 from here on: Open-Sora computes so, and where 1 - alphas_cumprod is small, its
        # rounding shows in the fourth digit of the weights and moves the bound at t = 0 by 2e-2.
        betas = (1.0 - kept / _before(kept)).float()
        signal = torch.cumprod(1.0 - betas, dim=0)
        before = _before(signal)
        variance = betas * (1.0 - before) / (1.0 - signal)
        return cls(
            timesteps=timesteps,
            betas=betas,
            alphas_cumprod=signal,
            variance=variance,
            log_variance=torch.cat([variance[1:2], variance[1:]]).log(),
            clean_weight=betas * before.sqrt() / (1.0 - signal),
            noisy_weight=(1.0 - before) * (1.0 - betas).sqrt() / (1.0 - signal),
        )


def respaced(total: int, steps: int, *, strided: bool = False) -> Int[Tensor, " n"]:
    """Choose timesteps for sampling, evenly, in rising order.

    Args:
        total: Training timesteps.
        steps: How many to choose.
        strided: Take every n-th from 0 on, instead of both ends and what is nearest to even steps.

    Raises:
        InputError: Fewer than two steps or more than in training; or, strided, a number that no
            stride gives.

    Example:
        >>> respaced(1000, 5).tolist()
        [0, 250, 500, 749, 999]
        >>> respaced(1000, 5, strided=True).tolist()
        [0, 200, 400, 600, 800]
    """
    if not 2 <= steps <= total:
        raise InputError(f"num_inference_steps: expected 2 to {total}, got {steps}; 100 is usual")
    if not strided:
        # Added up stride by stride, as Open-Sora does: it decides which way halves are rounded.
        strides = [(total - 1) / (steps - 1)] * (steps - 1)
        return torch.tensor([round(place) for place in accumulate(strides, initial=0.0)])
    chosen = torch.arange(0, total, -(-total // steps))
    if len(chosen) != steps:
        raise InputError(
            f"num_inference_steps: expected a number that a stride through {total} timesteps"
            f" gives, got {steps}; {len(chosen)} is one"
        )
    return chosen


def _before(signal: Tensor) -> Tensor:
    """Shift by one step; nothing is lost before the first."""
    return torch.cat([torch.ones_like(signal[:1]), signal[:-1]])

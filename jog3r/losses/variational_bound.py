"""Variational bound of the learned variance, in bits per dimension.

Source: Nichol and Dhariwal 2021, arXiv 2102.09672: the learned range, equation 15, and the bound
with the mean held fixed, section 3.1 (there with weight 0.001; Open-Sora adds it as it is). The
last term is DDPM's discrete decoder (Ho et al. 2020, equation 13).
"""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from jog3r.diffusion.chain import Chain
from jog3r.diffusion.prediction import clean_estimate
from jog3r.diffusion.schedule import NoiseSchedule
from jog3r.errors import InputError
from jog3r.losses.frame_mean import frame_mean

# The decoder sees values in [-1, 1] in 255 steps, as DDPM's did; Open-Sora keeps that for latents.
HALF_STEP = 1.0 / 255.0
EDGE = 0.999
LEAST_PROBABILITY = 1e-12


def variational_bound(
    prediction: Float[Tensor, "b c_out t h w"],
    clean: Float[Tensor, "b c t h w"],
    noisy: Float[Tensor, "b c t h w"],
    timestep: Int[Tensor, " b"],
    *,
    schedule: NoiseSchedule,
    frame_mask: Bool[Tensor, "b t"] | None = None,
    reduction: Literal["mean", "sample"] = "mean",
) -> Float[Tensor, ""] | Float[Tensor, " b"]:
    """Average the terms of the bound at given timesteps, in float32; add it to `generation_loss`.

    Only the variance gets a gradient: the mean is trained by the squared error.

    Args:
        prediction: Of the backbone: what it predicts, then as many channels of learned variance.
        clean: Latents.
        noisy: The same with noise, as the backbone saw them.
        timestep: Of each sample.
        schedule: Of the checkpoint.
        frame_mask: Frames that are noised; the others do not count. None for all.
        reduction: Over everything, or per sample.

    Raises:
        InputError: Sizes that do not fit, or a sample without noised frames.
    """
    if prediction.shape != (len(clean), 2 * clean.shape[1], *clean.shape[2:]):
        raise InputError(
            f"prediction: expected twice the channels of the latents {tuple(clean.shape)}, got"
            f" {tuple(prediction.shape)}; use a backbone with learned variance"
        )
    with torch.autocast(clean.device.type, enabled=False):
        terms = _terms(prediction.float(), clean.float(), noisy.float(), timestep, schedule)
        per_sample = frame_mean(terms / math.log(2.0), frame_mask)
    return per_sample if reduction == "sample" else per_sample.mean()


def _terms(
    prediction: Tensor, clean: Tensor, noisy: Tensor, timestep: Tensor, schedule: NoiseSchedule
) -> Float[Tensor, "b c t h w"]:
    """Give the bound's terms in nats: the divergence of posteriors, at t = 0 the decoder's."""
    chain, at = schedule.chain(), timestep.cpu()
    predicted, spread = prediction.chunk(2, dim=1)
    signal = chain.alphas_cumprod[at].to(clean.device)
    estimate = clean_estimate(
        predicted.detach(),
        noisy,
        signal_level=signal.sqrt(),
        noise_level=(1.0 - signal).sqrt(),
        prediction_type=schedule.prediction_type,
    )
    mean, true_mean = (_posterior_mean(chain, x, noisy, at) for x in (estimate, clean))
    true_log_variance = _each(chain.log_variance, at, clean)
    log_variance = _learned(chain, spread, at)
    divergence = 0.5 * (
        (log_variance - true_log_variance)
        + (true_log_variance - log_variance).exp()
        + (true_mean - mean).square() * (-log_variance).exp()
        - 1.0
    )
    first = (timestep == 0)[:, None, None, None, None]
    return torch.where(first, -_decoder_log_likelihood(clean, mean, log_variance), divergence)


def _posterior_mean(chain: Chain, clean: Tensor, noisy: Tensor, at: Tensor) -> Tensor:
    of_clean, of_noisy = (_each(w, at, noisy) for w in (chain.clean_weight, chain.noisy_weight))
    return of_clean * clean + of_noisy * noisy


def _learned(chain: Chain, spread: Tensor, at: Tensor) -> Tensor:
    """Place the logarithm of the variance between its bounds; -1 is the least, 1 the most."""
    least, most = (_each(x, at, spread) for x in (chain.log_variance, chain.betas.log()))
    share = (spread + 1.0) / 2.0
    return share * most + (1.0 - share) * least


def _decoder_log_likelihood(clean: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Give the logarithm of the probability of a step around each clean value."""
    scale = (-0.5 * log_variance).exp()
    above = _normal_cdf(scale * (clean - mean + HALF_STEP))
    below = _normal_cdf(scale * (clean - mean - HALF_STEP))
    # The outermost steps reach to infinity.
    above = torch.where(clean > EDGE, torch.ones_like(above), above)
    below = torch.where(clean < -EDGE, torch.zeros_like(below), below)
    return (above - below).clamp(min=LEAST_PROBABILITY).log()


def _normal_cdf(x: Tensor) -> Tensor:
    # Page's approximation instead of torch.special.ndtr: they differ by 3e-4, and the decoder's
    # terms, logarithms of small differences, by 2e-2 bits from the ones Open-Sora trains with.
    return 0.5 * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x.pow(3))))


def _each(table: Tensor, at: Tensor, like: Tensor) -> Tensor:
    """Look one number up per sample, to be broadcast over its latents."""
    return table[at].to(like.device)[:, None, None, None, None]

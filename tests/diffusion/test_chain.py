"""The chain's numbers are those of Open-Sora, and those of the textbook."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from jog3r.diffusion.chain import Chain, respaced
from jog3r.diffusion.schedule import NoiseSchedule
from jog3r.errors import InputError

STORED = {
    "timestep_map": "timesteps",
    "betas": "betas",
    "alphas_cumprod": "alphas_cumprod",
    "posterior_variance": "variance",
    "posterior_log_variance_clipped": "log_variance",
    "posterior_mean_coef1": "clean_weight",
    "posterior_mean_coef2": "noisy_weight",
}


@pytest.mark.parity
def test_stored_betas(parity: Callable[[str], Path]) -> None:
    io = load_file(parity("iddpm") / "io.safetensors")
    betas = NoiseSchedule().betas()
    torch.testing.assert_close(betas, io["betas_f64"], atol=0.0, rtol=1e-14)
    signal = torch.cumprod(1.0 - betas, dim=0)
    torch.testing.assert_close(signal, io["alphas_cumprod_f64"], atol=0.0, rtol=1e-12)


@pytest.mark.parity
@pytest.mark.parametrize(("name", "steps"), [("train1000", 1000), ("spaced100", 100)])
@pytest.mark.parametrize("key", STORED)
def test_stored_chains(parity: Callable[[str], Path], name: str, steps: int, key: str) -> None:
    io = load_file(parity("iddpm") / "io.safetensors")
    schedule = NoiseSchedule()
    chain = schedule.chain(None if steps == 1000 else respaced(1000, steps))
    torch.testing.assert_close(
        getattr(chain, STORED[key]), io[f"{name}.{key}"], atol=1e-7, rtol=1e-6
    )


@pytest.mark.parity
def test_stored_strided_timesteps(parity: Callable[[str], Path]) -> None:
    io = load_file(parity("iddpm") / "io.safetensors")
    assert torch.equal(respaced(1000, 50, strided=True), io["ddim50.timestep_map"])
    sampler = NoiseSchedule(solver="ddim", spacing="stride").sampler(50)
    assert sampler.timesteps == io["ddim50.timestep_map"].flip(0).tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(min_value=2, max_value=1000))
def test_respaced_timesteps_reach_both_ends_and_rise(steps: int) -> None:
    chosen = respaced(1000, steps)
    assert len(chosen) == steps
    assert (chosen[0], chosen[-1]) == (0, 999)
    assert bool((chosen.diff() > 0).all())
    # Where they are kept, the signal is that of the whole chain.
    signal = torch.cumprod(1.0 - NoiseSchedule().betas(), dim=0)[chosen]
    chain = Chain.of(NoiseSchedule().betas(), chosen)
    torch.testing.assert_close(chain.alphas_cumprod, signal.float(), atol=0.0, rtol=1e-3)


def test_halves_are_rounded_as_the_sum_of_strides_says() -> None:
    """999 / 20 = 49.95, ten of which add up to a little less than 499.5."""
    assert respaced(1000, 21)[10] == 499
    assert respaced(1000, 5)[2] == 500


def test_the_posterior_is_bayes_rule() -> None:
    """q(x_0 | x_1) of a chain of two: a Gaussian prior times a Gaussian likelihood."""
    chain = Chain.of(torch.tensor([0.1, 0.3], dtype=torch.float64), torch.arange(2))
    prior_variance, likelihood_variance, gain = 0.1, 0.3, 0.7**0.5
    precision = 1.0 / prior_variance + gain**2 / likelihood_variance
    assert chain.variance[1].item() == pytest.approx(1.0 / precision, rel=1e-5)
    assert chain.noisy_weight[1].item() == pytest.approx(
        gain / likelihood_variance / precision, rel=1e-5
    )
    assert chain.clean_weight[1].item() == pytest.approx(
        0.9**0.5 / prior_variance / precision, rel=1e-5
    )


@pytest.mark.parametrize(("steps", "strided"), [(1, False), (1001, False), (0, True), (1, True)])
def test_steps_that_no_chain_has(steps: int, strided: bool) -> None:
    with pytest.raises(InputError, match="num_inference_steps: expected 2 to 1000, got"):
        respaced(1000, steps, strided=strided)


def test_a_number_that_no_stride_gives() -> None:
    with pytest.raises(InputError, match="a stride through 1000 timesteps gives, got 90; 84 is"):
        respaced(1000, 90, strided=True)

"""The schedule agrees with its closed form and with diffusers."""

import pytest
import torch

from jog3r.diffusion.schedule import NoiseSchedule
from jog3r.losses.generation import PredictionType, generation_target


def test_levels_are_the_product_of_the_betas() -> None:
    schedule = NoiseSchedule(steps=3, beta_start=0.1, beta_end=0.3)
    signal, noise = schedule.levels(torch.tensor([0, 1, 2]))
    expected = torch.tensor([0.9, 0.9 * 0.8, 0.9 * 0.8 * 0.7])
    torch.testing.assert_close(signal.square(), expected)
    torch.testing.assert_close(signal.square() + noise.square(), torch.ones(3))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_noising_and_target_are_those_of_diffusers(
    generator: torch.Generator, prediction_type: PredictionType
) -> None:
    from diffusers import DDPMScheduler

    schedule = NoiseSchedule(prediction_type=prediction_type)
    theirs = DDPMScheduler(beta_start=schedule.beta_start, beta_end=schedule.beta_end)
    latents, noise = torch.randn((2, 3, 2, 2, 4, 4), generator=generator)
    times = torch.tensor([7, 50, 999])
    torch.testing.assert_close(
        schedule.add_noise(latents, noise, times), theirs.add_noise(latents, noise, times)
    )
    signal, level = schedule.levels(times)
    target = generation_target(
        latents, noise, signal_level=signal, noise_level=level, prediction_type=prediction_type
    )
    velocity = theirs.get_velocity(latents, noise, times)
    torch.testing.assert_close(target, noise if prediction_type == "epsilon" else velocity)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_sampler_reaches_known_latents(
    generator: torch.Generator, prediction_type: PredictionType
) -> None:
    """With a perfect prediction towards one target, sampling ends there."""
    schedule = NoiseSchedule(prediction_type=prediction_type)
    goal, latents = torch.randn((2, 1, 2, 2, 4, 4), generator=generator)
    sampler = schedule.sampler(20)
    for time in sampler.timesteps.tolist():
        signal, level = schedule.levels(torch.tensor([time]))
        noise = (latents - signal * goal) / level
        prediction = noise if prediction_type == "epsilon" else signal * noise - level * goal
        latents = sampler.step(prediction, time, latents).prev_sample
    torch.testing.assert_close(latents, goal, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("steps", "last"), [(10, 99), (20, 49), (50, 19)])
def test_the_last_step_has_little_noise(steps: int, last: int) -> None:
    assert NoiseSchedule().sampler(steps).timesteps.tolist()[-1] == last

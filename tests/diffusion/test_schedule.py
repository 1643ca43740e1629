"""The schedule agrees with its closed form and with diffusers."""

from typing import Any

import pytest
import torch

from jog3r.diffusion.interface import least_steps
from jog3r.diffusion.noise import seeded
from jog3r.diffusion.prediction import PredictionType
from jog3r.diffusion.schedule import RECONSTRUCTION_MAX, NoiseSchedule
from jog3r.errors import InputError


def test_levels_are_the_product_of_the_betas() -> None:
    schedule = NoiseSchedule(steps=101, beta_start=0.1, beta_end=0.3)
    signal, noise = schedule.levels(torch.tensor([0, 1, 2]))
    expected = torch.tensor([0.9, 0.9 * 0.898, 0.9 * 0.898 * 0.896])
    torch.testing.assert_close(signal.square(), expected)
    torch.testing.assert_close(signal.square() + noise.square(), torch.ones(3))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_noising_and_target_are_those_of_diffusers(
    generator: torch.Generator, prediction_type: PredictionType
) -> None:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    schedule = NoiseSchedule(prediction_type=prediction_type)
    theirs: Any = DDPMScheduler(beta_start=schedule.beta_start, beta_end=schedule.beta_end)
    latents, noise = torch.randn((2, 3, 2, 2, 4, 4), generator=generator)
    times = torch.tensor([7, 50, 999])
    torch.testing.assert_close(
        schedule.add_noise(latents, noise, times), theirs.add_noise(latents, noise, times)
    )
    target = schedule.target(latents, noise, times)
    velocity = theirs.get_velocity(latents, noise, times)
    torch.testing.assert_close(target, noise if prediction_type == "epsilon" else velocity)


@pytest.mark.parametrize(("steps", "last"), [(10, 99), (20, 49), (50, 19)])
def test_the_last_step_has_little_noise(steps: int, last: int) -> None:
    assert NoiseSchedule().sampler(steps).timesteps[-1] == last


def test_there_are_as_many_steps_as_asked_for() -> None:
    for steps in range(1, 201):
        timesteps = NoiseSchedule().sampler(steps).timesteps
        assert len(timesteps) == steps
        assert 0 <= timesteps[-1] <= 1000 / steps


@pytest.mark.parametrize("steps", [0, 102])
def test_steps_that_it_was_not_trained_with(steps: int) -> None:
    with pytest.raises(InputError, match="num_inference_steps: expected 1 to 101"):
        NoiseSchedule(steps=101).sampler(steps)


def test_ten_steps_end_where_reconstruction_is_trained_and_nine_do_not() -> None:
    assert NoiseSchedule().sampler(10).timesteps[-1] <= RECONSTRUCTION_MAX
    assert NoiseSchedule().sampler(9).timesteps[-1] > RECONSTRUCTION_MAX
    assert least_steps(NoiseSchedule(), RECONSTRUCTION_MAX, above=1) == 10


@pytest.mark.parametrize("solver", ["iddpm", "ddim"])
def test_a_chain_ends_with_the_least_noise_there_is(solver: Any) -> None:
    sampler = NoiseSchedule(solver=solver).sampler(5)
    assert sampler.timesteps == [999.0, 749.0, 500.0, 250.0, 0.0]


def test_training_timesteps_are_whole_and_in_range() -> None:
    uniform = torch.tensor([0.0, 0.49999, 0.5, 1.0 - 2**-24])
    times = NoiseSchedule(steps=200).draw_timesteps(uniform)
    assert times.tolist() == [0, 99, 100, 199]
    assert times.dtype == torch.int64


def test_frames_outside_the_mask_are_as_at_timestep_0(generator: torch.Generator) -> None:
    latents, noise = torch.randn((2, 1, 3, 2, 4, 4), generator=generator)
    schedule, times = NoiseSchedule(), torch.tensor([500])
    got = schedule.add_noise(latents, noise, times, torch.tensor([[True, False]]))
    noisy = schedule.add_noise(latents, noise, times)
    assert torch.equal(got[:, :, 0], noisy[:, :, 0])
    first = schedule.add_noise(latents, noise, torch.tensor([0]))
    assert torch.equal(got[:, :, 1], first[:, :, 1])


@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_noise_depends_on_each_seed_alone(shared: float) -> None:
    schedule = NoiseSchedule(shared_noise=shared)
    state = torch.random.get_rng_state()
    both = schedule.unit_noise((3, 2, 4, 5), [7, 8])
    assert both.shape == (2, 3, 2, 4, 5)
    assert torch.equal(both[1:], schedule.unit_noise((3, 2, 4, 5), [8]))
    assert not torch.equal(both[0], both[1])
    assert torch.equal(state, torch.random.get_rng_state())
    generators = seeded([7, 8])
    assert torch.equal(both, schedule.draw_each((3, 2, 4, 5), generators))
    assert not torch.equal(both, schedule.draw_each((3, 2, 4, 5), generators))  # they go on


@pytest.mark.parametrize("shared", [0.0, 0.3, 1.0])
def test_shared_noise_is_the_correlation_of_frames(shared: float) -> None:
    noise = NoiseSchedule(shared_noise=shared).unit_noise((8, 2, 64, 64), [0])[0]
    assert noise.var().item() == pytest.approx(1.0, abs=0.03)
    first, second = noise.unbind(dim=1)
    assert (first * second).mean().item() == pytest.approx(shared, abs=0.03)


@pytest.mark.parametrize("shared", [-0.1, 1.1, float("nan")])
def test_a_share_of_noise_that_is_none(shared: float) -> None:
    with pytest.raises(InputError, match="shared_noise from 0 to 1"):
        NoiseSchedule(shared_noise=shared)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"kind": "rectified-flow"}, r"schedule\.kind: expected one of \('ddpm',\)"),
        ({"solver": "euler"}, r"schedule\.solver: expected one of .*'iddpm'"),
        ({"spacing": "even"}, r"schedule\.spacing: expected one of"),
        ({"solver": "iddpm", "shared_noise": 0.5}, "expected no shared_noise with solver='iddpm'"),
        ({"spacing": "stride"}, "expected spacing='ends' with solver='dpm-solver', got 'stride'"),
    ],
)
def test_fields_that_are_none_or_exclude_each_other(
    wrong: dict[str, Any], says: str, as_a_user: None
) -> None:
    with pytest.raises(InputError, match=says):
        NoiseSchedule(**wrong)

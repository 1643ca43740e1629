"""The samplers walk through the trajectories of Open-Sora's, and end where they should."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.schedulers import scheduling_ddpm
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from safetensors.torch import load_file
from torch import Tensor

from jog3r.diffusion.guidance import guide
from jog3r.diffusion.interface import Sampler, Schedule
from jog3r.diffusion.noise import seeded
from jog3r.diffusion.prediction import PredictionType
from jog3r.diffusion.rectified_flow import RectifiedFlow
from jog3r.diffusion.schedule import NoiseSchedule, Solver
from jog3r.errors import InputError
from tests.diffusion.toys import conditions, iddpm_network

TOLERANCE: dict[str, Any] = {"atol": 2e-4, "rtol": 2e-4}
SCHEDULES = [
    NoiseSchedule(solver="dpm-solver"),
    NoiseSchedule(solver="iddpm"),
    NoiseSchedule(solver="ddim"),
    NoiseSchedule(solver="ddim", spacing="stride"),
    RectifiedFlow(timestep_transform=False),
    RectifiedFlow(timestep_transform=False, discrete_timesteps=True),
]


def walk(sampler: Sampler, latents: Tensor, seeds: list[int], network: Any) -> list[Tensor]:
    """Take all steps; give the latents before each and the last."""
    trajectory, generators = [latents], seeded(seeds)
    for index, timestep in enumerate(sampler.timesteps):
        times = torch.full((len(latents),), timestep)
        latents = sampler.step(network(latents, times), index, latents, generators)
        trajectory.append(latents)
    return trajectory


@pytest.mark.parity
def test_stored_run_of_ddim(parity: Callable[[str], Path]) -> None:
    io = load_file(parity("iddpm") / "io.safetensors")
    sampler = NoiseSchedule(prediction_type="epsilon", solver="ddim").sampler(100)
    assert sampler.timesteps == io["ddim.t"].tolist()
    got = walk(sampler, io["ddim.z"], [0, 1], lambda x, t: iddpm_network(x, t, None))
    torch.testing.assert_close(torch.stack(got[::10]), io["ddim.trajectory"], **TOLERANCE)
    torch.testing.assert_close(got[-1], io["ddim.out"], **TOLERANCE)


@pytest.mark.parity
def test_stored_guided_ancestral_run(
    parity: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    io = load_file(parity("iddpm") / "io.safetensors")
    # Where diffusers draws: the last step, to clean latents, has no noise.
    drawn = iter(io["ancestral.noise"])
    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, **__: next(drawn))
    sampler = NoiseSchedule(prediction_type="epsilon", solver="iddpm").sampler(100)
    assert sampler.timesteps == io["spaced100.timestep_map"].flip(0).tolist()

    def guided(x: Tensor, t: Tensor) -> Tensor:
        both = iddpm_network(x.repeat(2, 1, 1, 1, 1), t.repeat(2), conditions(1))
        return guide(both, 4.0, channels=4)

    got = walk(sampler, io["ancestral.z"], [0], guided)
    torch.testing.assert_close(torch.stack(got[::10]), io["ancestral.trajectory"], **TOLERANCE)
    torch.testing.assert_close(got[-1], io["ancestral.out"], **TOLERANCE)
    assert len(list(drawn)) == 1


def test_the_respaced_chain_is_diffusers_own_with_the_same_timesteps(
    generator: torch.Generator,
) -> None:
    theirs: Any = DDPMScheduler(clip_sample=False, variance_type="learned_range")
    sampler = NoiseSchedule(prediction_type="epsilon", solver="iddpm").sampler(10)
    theirs.set_timesteps(timesteps=[int(timestep) for timestep in sampler.timesteps])
    latents = torch.randn(1, 4, 2, 3, 3, generator=generator)
    ours = walk(sampler, latents, [3], lambda x, t: iddpm_network(x, t, None))[-1]
    same = torch.Generator().manual_seed(3)
    for timestep in theirs.timesteps:
        prediction = iddpm_network(latents, timestep[None], None)
        latents = theirs.step(prediction, timestep, latents, generator=same).prev_sample
    torch.testing.assert_close(ours, latents, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("solver", ["dpm-solver", "iddpm", "ddim"])
@pytest.mark.parametrize("steps", [2, 7, 20])
def test_perfect_predictions_of_one_target_lead_there(
    generator: torch.Generator, prediction_type: PredictionType, solver: Solver, steps: int
) -> None:
    schedule = NoiseSchedule(prediction_type=prediction_type, solver=solver)
    goal, latents = torch.randn((2, 2, 2, 2, 4, 4), generator=generator)

    def perfect(x: Tensor, t: Tensor) -> Tensor:
        signal, level = (a[:, None, None, None, None] for a in schedule.levels(t))
        noise = (x - signal * goal) / level
        mean = noise if prediction_type == "epsilon" else signal * noise - level * goal
        return torch.cat([mean, torch.zeros_like(mean)], dim=1)

    got = walk(schedule.sampler(steps), latents, [0, 1], perfect)[-1]
    torch.testing.assert_close(got, goal, atol=2e-3, rtol=1e-3)


def test_least_variance_is_ddpms_and_most_is_beta(generator: torch.Generator) -> None:
    """One step with the variance at either end of its range, from many equal latents."""
    schedule = NoiseSchedule(prediction_type="epsilon", solver="iddpm")
    latents = torch.zeros(1, 1, 1, 200, 200)
    for share, name in ((-1.0, "variance"), (1.0, "betas")):
        sampler = schedule.sampler(1000)
        prediction = torch.cat([latents, torch.full_like(latents, share)], dim=1)
        got = sampler.step(prediction, 0, latents, [generator])
        expected = getattr(schedule.chain(), name)[-1].item()
        assert got.var().item() == pytest.approx(expected, rel=0.03)


class TestSeeds:
    def test_each_sample_depends_on_its_own_generator(self, generator: torch.Generator) -> None:
        schedule = NoiseSchedule(prediction_type="epsilon", solver="iddpm")
        latents = torch.randn(2, 4, 2, 3, 3, generator=generator)
        network = lambda x, t: iddpm_network(x, t, None)  # noqa: E731
        state = torch.random.get_rng_state()
        together = walk(schedule.sampler(5), latents, [7, 8], network)[-1]
        alone = walk(schedule.sampler(5), latents[1:], [8], network)[-1]
        torch.testing.assert_close(together[1:], alone)
        other = walk(schedule.sampler(5), latents[1:], [9], network)[-1]
        assert (alone - other).abs().max() > 1e-2
        assert torch.equal(state, torch.random.get_rng_state())

    @pytest.mark.parametrize("schedule", [s for s in SCHEDULES if s != SCHEDULES[1]])
    def test_only_ancestral_sampling_draws(self, schedule: Schedule) -> None:
        source = seeded([1])
        state = source[0].get_state()
        latents = torch.ones(1, 4, 2, 3, 3)
        schedule.sampler(5).step(torch.ones(1, 8, 2, 3, 3), 0, latents, source)
        assert torch.equal(state, source[0].get_state())


@pytest.mark.parametrize("schedule", SCHEDULES)
class TestWhatTheyShare:
    def test_schedules_and_samplers_are_what_the_interface_says(self, schedule: Any) -> None:
        assert isinstance(schedule, Schedule)
        sampler = schedule.sampler(5)
        assert isinstance(sampler, Sampler)
        assert sampler.timesteps == sorted(sampler.timesteps, reverse=True)
        assert all(type(timestep) is float for timestep in sampler.timesteps)
        assert len(sampler.timesteps) == 5

    def test_steps_are_taken_once_and_in_order(self, schedule: Schedule) -> None:
        sampler, latents = schedule.sampler(4), torch.zeros(1, 4, 1, 2, 2)
        prediction = torch.zeros(1, 8, 1, 2, 2)
        for wrong in (1, -1, 4):
            with pytest.raises(InputError, match=f"index: expected 0 of 4 steps, got {wrong}"):
                sampler.step(prediction, wrong, latents, seeded([0]))
        for index in range(4):
            sampler.step(prediction, index, latents, seeded([0]))
        with pytest.raises(InputError, match="index: expected 4 of 4 steps, got 4"):
            sampler.step(prediction, 4, latents, seeded([0]))

    def test_latents_keep_their_precision(self, schedule: Schedule) -> None:
        latents, prediction = torch.zeros(1, 4, 1, 2, 2), torch.ones(1, 8, 1, 2, 2)
        stepped = schedule.sampler(4).step(prediction.bfloat16(), 0, latents, seeded([0]))
        expected = schedule.sampler(4).step(prediction, 0, latents, seeded([0]))
        assert torch.equal(stepped, expected)

    @pytest.mark.parametrize("shape", [(1, 6, 1, 2, 2), (2, 8, 1, 2, 2), (1, 8, 1, 2, 1)])
    def test_a_prediction_of_another_size(
        self, schedule: Schedule, shape: tuple[int, ...], as_a_user: None
    ) -> None:
        latents = torch.zeros(1, 4, 1, 2, 2)
        with pytest.raises(InputError, match="prediction: expected the size of the latents"):
            schedule.sampler(4).step(torch.zeros(shape), 0, latents, seeded([0]))

    def test_not_one_generator_per_sample(self, schedule: Schedule) -> None:
        latents, prediction = torch.zeros(2, 4, 1, 2, 2), torch.zeros(2, 8, 1, 2, 2)
        with pytest.raises(InputError, match="generators: expected 2, one per sample, got 1"):
            schedule.sampler(4).step(prediction, 0, latents, seeded([0]))

    @pytest.mark.parametrize("steps", [0, 1001])
    def test_too_few_or_too_many_steps(self, schedule: Schedule, steps: int) -> None:
        with pytest.raises(InputError, match="num_inference_steps: expected"):
            schedule.sampler(steps)


def test_ancestral_sampling_needs_a_variance() -> None:
    latents = torch.zeros(1, 4, 1, 2, 2)
    sampler = NoiseSchedule(solver="iddpm").sampler(4)
    with pytest.raises(InputError, match=r"expected 8 channels, .* got 4; use solver='ddim'"):
        sampler.step(latents, 0, latents, seeded([0]))

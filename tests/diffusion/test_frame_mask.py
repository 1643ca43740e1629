from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from jog3r.backbones.interface import VideoFormat
from jog3r.diffusion.frame_mask import MaskedSampler
from jog3r.diffusion.guidance import guide
from jog3r.diffusion.interface import Schedule
from jog3r.diffusion.noise import seeded
from jog3r.diffusion.rectified_flow import RectifiedFlow
from jog3r.diffusion.schedule import NoiseSchedule
from jog3r.errors import InputError
from tests.diffusion.toys import conditions, flow_network

TOLERANCE: dict[str, Any] = {"atol": 1e-4, "rtol": 1e-4}


@pytest.mark.parity
def test_stored_masked_run(parity: Callable[[str], Path]) -> None:
    io = load_file(parity("rflow") / "io.safetensors")
    run = {key.partition(".")[2]: x for key, x in io.items() if key.startswith("sample_mask.")}
    size = VideoFormat.of(2, num_frames=51, height=480, width=854, fps=24)
    schedule = RectifiedFlow()
    sampler = MaskedSampler(schedule.sampler(12, size), schedule, run["mask"])
    times = torch.tensor(sampler.timesteps)[:, None].expand(-1, 2)
    torch.testing.assert_close(times, run["timesteps"], **TOLERANCE)
    latents = run["z"]
    for index, timestep in enumerate(sampler.timesteps):
        latents = sampler.enter(latents, index, run["noise"][index])
        torch.testing.assert_close(latents, run["trajectory"][index], **TOLERANCE)
        x_mask = sampler.x_mask(index)
        assert torch.equal(x_mask, run["x_mask"][index])
        both = flow_network(
            latents.repeat(2, 1, 1, 1, 1),
            torch.full((4,), timestep),
            conditions(2),
            x_mask.repeat(2, 1),
        )
        latents = sampler.step(guide(both, 3.0, channels=4), index, latents, seeded([0, 1]))
    torch.testing.assert_close(latents, run["trajectory"][-1], **TOLERANCE)
    torch.testing.assert_close(latents, run["out"], **TOLERANCE)


@pytest.mark.parametrize(
    "schedule",
    [RectifiedFlow(timestep_transform=False), NoiseSchedule(), NoiseSchedule(solver="ddim")],
    ids=["rectified-flow", "dpm-solver", "ddim"],
)
def test_kept_frames_stay_and_generated_ones_are_the_samplers(
    schedule: Schedule, generator: torch.Generator
) -> None:
    start, noise, prediction = torch.randn(3, 1, 2, 2, 4, 4, generator=generator)
    mask = torch.tensor([[0.0, 1.0]])
    masked, plain = MaskedSampler(schedule.sampler(5), schedule, mask), schedule.sampler(5)
    latents, expected = start, start
    for index in range(5):
        latents = masked.enter(latents, index, noise)
        latents = masked.step(prediction, index, latents, seeded([0]))
        expected = plain.step(prediction, index, expected, seeded([0]))
    assert torch.equal(latents[:, :, 0], start[:, :, 0])
    assert torch.equal(latents[:, :, 1], expected[:, :, 1])


def test_a_frame_between_enters_once_at_its_noise_level(generator: torch.Generator) -> None:
    schedule = RectifiedFlow(timestep_transform=False)
    sampler = MaskedSampler(schedule.sampler(10), schedule, torch.tensor([[0.55, 1.0]]))
    entered = [sampler.x_mask(index)[0].tolist() for index in range(10)]
    assert entered == [[False, True]] * 5 + [[True, True]] * 5
    start, noise = torch.randn(2, 1, 2, 2, 3, 3, generator=generator)
    for index in range(10):
        latents = sampler.enter(start, index, noise)
        if index != 5:
            assert torch.equal(latents, start)
        else:
            torch.testing.assert_close(latents[:, :, 0], 0.5 * (start + noise)[:, :, 0])
            assert torch.equal(latents[:, :, 1], start[:, :, 1])


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_mask_that_is_no_level(value: float) -> None:
    schedule = RectifiedFlow(timestep_transform=False)
    with pytest.raises(InputError, match="frame_mask: expected numbers from 0"):
        MaskedSampler(schedule.sampler(5), schedule, torch.tensor([[value, 1.0]]))


def test_a_late_frame_has_no_past_for_a_multistep_sampler() -> None:
    schedule = NoiseSchedule()
    with pytest.raises(InputError, match="expected 0 or 1 with a multistep sampler"):
        MaskedSampler(schedule.sampler(5), schedule, torch.tensor([[0.5, 1.0]]))

"""Rectified flow gives Open-Sora 1.2's numbers, and those of its own algebra."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from jog3r.backbones.interface import VideoFormat
from jog3r.diffusion.guidance import guide
from jog3r.diffusion.interface import Sampler, least_steps
from jog3r.diffusion.noise import seeded
from jog3r.diffusion.rectified_flow import RectifiedFlow
from jog3r.diffusion.schedule import RECONSTRUCTION_AT, RECONSTRUCTION_MAX
from jog3r.errors import InputError
from jog3r.losses.generation import generation_loss
from tests.diffusion.toys import conditions, flow_network

TOLERANCE: dict[str, Any] = {"atol": 1e-4, "rtol": 1e-4}
PLAIN = RectifiedFlow(timestep_transform=False)
WIDE = {"num_frames": 51, "height": 480, "width": 854, "fps": 24}


def video(batch: int = 1, **changed: float) -> VideoFormat:
    return VideoFormat.of(batch, **(WIDE | changed))  # type: ignore[arg-type]


@pytest.fixture
def stored(parity: Callable[[str], Path]) -> dict[str, Tensor]:
    return load_file(parity("rflow") / "io.safetensors")


def guided(z: Tensor, times: Tensor, scale: float) -> Tensor:
    both = flow_network(z.repeat(2, 1, 1, 1, 1), times.repeat(2), conditions(len(z)))
    return guide(both, scale, channels=4)


def walk(sampler: Sampler, latents: Tensor, network: Any) -> Tensor:
    """Take all steps; give the latents before each and the last."""
    trajectory, generators = [latents], seeded(range(len(latents)))
    for index, timestep in enumerate(sampler.timesteps):
        times = torch.full((len(latents),), timestep)
        latents = sampler.step(network(latents, times), index, latents, generators)
        trajectory.append(latents)
    return torch.stack(trajectory)


@pytest.mark.parity
class TestStoredNumbers:
    @pytest.mark.parametrize(
        ("name", "schedule", "steps", "scale"),
        [
            ("transform", RectifiedFlow(), 30, 7.0),
            ("plain", PLAIN, 10, 4.0),
            ("discrete", RectifiedFlow(timestep_transform=False, discrete_timesteps=True), 7, 4.0),
        ],
    )
    def test_guided_runs(
        self,
        stored: dict[str, Tensor],
        name: str,
        schedule: RectifiedFlow,
        steps: int,
        scale: float,
    ) -> None:
        run = {
            key: stored[f"sample_{name}.{key}"] for key in ("z", "timesteps", "trajectory", "out")
        }
        sampler = schedule.sampler(steps, video(2))
        times = torch.tensor(sampler.timesteps)[:, None].expand(-1, 2)
        torch.testing.assert_close(times, run["timesteps"].float(), **TOLERANCE)
        got = walk(sampler, run["z"], lambda z, t: guided(z, t, scale))
        torch.testing.assert_close(got, run["trajectory"], **TOLERANCE)
        torch.testing.assert_close(got[-1], run["out"], **TOLERANCE)

    def test_transform(self, stored: dict[str, Tensor]) -> None:
        schedule, times = RectifiedFlow(), stored["transform.t"]
        for case, expected in zip(stored["transform.cases"], stored["transform.out"], strict=True):
            height, width, frames, scale = case.tolist()
            size = video(len(times), num_frames=frames, height=height, width=width)
            got = schedule.transform(times, size, scale=scale)
            torch.testing.assert_close(got, expected, **TOLERANCE)
            scaled = RectifiedFlow(transform_scale=scale, drawing="uniform")
            # From just below 1 on, as a uniform number never is 1.
            drawn = scaled.draw_timesteps((times / 1000.0).clamp(max=1.0 - 1e-7), size)
            torch.testing.assert_close(drawn, expected, **TOLERANCE)

    def test_noising_and_loss(self, stored: dict[str, Tensor]) -> None:
        clean, noise, times = (stored[f"noise.{key}"] for key in ("x0", "noise", "t"))
        noisy = PLAIN.add_noise(clean, noise, times)
        torch.testing.assert_close(noisy, stored["noise.x_t"], **TOLERANCE)
        torch.testing.assert_close(noisy, stored["loss.x_t"], **TOLERANCE)
        prediction = flow_network(noisy, times, stored["loss.y"].flatten(1).mean(dim=1))
        target = PLAIN.target(clean, noise, times)
        loss = generation_loss(prediction, target, reduction="sample")
        torch.testing.assert_close(loss, stored["loss.loss"], **TOLERANCE)

    def test_masked_noising_and_loss(self, stored: dict[str, Tensor]) -> None:
        clean, noise, times = (stored[f"noise.{key}"] for key in ("x0", "noise", "t"))
        mask = stored["loss.mask"]
        noisy = PLAIN.add_noise(clean, noise, times, mask)
        torch.testing.assert_close(noisy, stored["loss.x_t_masked"], **TOLERANCE)
        prediction = flow_network(noisy, times, stored["loss.y"].flatten(1).mean(dim=1), mask)
        target = PLAIN.target(clean, noise, times)
        loss = generation_loss(prediction, target, frame_mask=mask, reduction="sample")
        torch.testing.assert_close(loss, stored["loss.loss_masked"], **TOLERANCE)

    def test_logit_normal_quantiles(self, stored: dict[str, Tensor]) -> None:
        levels = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
        got = PLAIN.draw_timesteps(levels) / PLAIN.steps
        # Ours are exact; the stored ones are of 200,000 draws, with standard errors up to 7e-4.
        torch.testing.assert_close(got, stored["draw.logit_normal_quantiles"], atol=2e-3, rtol=0.0)


class TestAlgebra:
    @settings(max_examples=30, deadline=None)
    @given(st.floats(min_value=0.0, max_value=1000.0), st.integers(min_value=0, max_value=99))
    def test_the_target_leads_from_noisy_to_both_ends(self, time: float, seed: int) -> None:
        clean, noise = torch.randn(2, 1, 2, 2, 3, 3, generator=torch.Generator().manual_seed(seed))
        times = torch.tensor([time])
        noisy, velocity = PLAIN.add_noise(clean, noise, times), PLAIN.target(clean, noise, times)
        signal, level = (a[:, None, None, None, None] for a in PLAIN.levels(times))
        torch.testing.assert_close(noisy + level * velocity, clean, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(noisy - signal * velocity, noise, atol=1e-5, rtol=1e-5)

    @settings(max_examples=20, deadline=None)
    @given(st.integers(min_value=1, max_value=60), st.booleans())
    def test_euler_with_the_exact_velocity_arrives_in_any_number_of_steps(
        self, steps: int, transformed: bool
    ) -> None:
        schedule = RectifiedFlow(timestep_transform=transformed)
        clean, noise = torch.randn(2, 1, 2, 2, 3, 3, generator=torch.Generator().manual_seed(steps))
        sampler = schedule.sampler(steps, video())
        got = walk(sampler, noise, lambda *_: clean - noise)
        torch.testing.assert_close(got[-1], clean, atol=1e-5, rtol=1e-5)
        for latents, time in zip(got, sampler.timesteps, strict=False):
            there = schedule.add_noise(clean, noise, torch.tensor([time]))
            torch.testing.assert_close(latents, there, atol=1e-5, rtol=1e-5)

    @settings(max_examples=50, deadline=None)
    @given(
        st.integers(min_value=1, max_value=500),
        st.floats(min_value=64.0, max_value=2048.0),
        st.floats(min_value=64.0, max_value=2048.0),
    )
    def test_the_transform_rises_from_end_to_end(
        self, frames: int, height: float, width: float
    ) -> None:
        times = torch.linspace(0.0, 1000.0, 11)
        size = video(11, num_frames=frames, height=height, width=width)
        moved = RectifiedFlow().transform(times, size)
        assert (moved[0], moved[-1]) == (0.0, 1000.0)
        assert bool((moved.diff() > 0.0).all())

    def test_two_to_sixteen_frames_lie_between_their_neighbours(self) -> None:
        """Where Open-Sora's own rule gives no latent frame and every time becomes 0 or NaN."""
        times = torch.full((18,), 500.0)
        frames = torch.arange(1, 19).float()
        same = torch.full((18,), 512.0)
        size = VideoFormat(num_frames=frames, height=same, width=same, fps=same)
        moved = RectifiedFlow().transform(times, size) / 1000.0
        ratio = moved / (1.0 - moved)  # the transform of 1/2
        counted = ratio.square().round().int().tolist()
        assert counted == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5]
        torch.testing.assert_close(ratio.square(), ratio.square().round(), atol=1e-4, rtol=1e-4)

    def test_the_scale_belongs_to_training(self) -> None:
        half = RectifiedFlow(transform_scale=0.5, drawing="uniform")
        assert half.sampler(5, video()).timesteps == RectifiedFlow().sampler(5, video()).timesteps
        uniform = torch.tensor([0.3, 0.6])
        assert bool(
            (
                half.draw_timesteps(uniform, video(2))
                < RectifiedFlow(drawing="uniform").draw_timesteps(uniform, video(2))
            ).all()
        )


class TestDrawing:
    @pytest.mark.parametrize("drawing", ["uniform", "logit-normal"])
    def test_times_stay_in_range_and_rise_with_the_number(self, drawing: Any) -> None:
        uniform = torch.tensor([0.0, 1e-6, 0.1, 0.5, 0.9, 1.0 - 2**-24])
        times = RectifiedFlow(timestep_transform=False, drawing=drawing).draw_timesteps(uniform)
        assert times[0] == 0.0
        assert times[3] == 500.0
        assert bool((times.diff() > 0.0).all())
        assert times[-1] < 1000.0
        assert times.dtype == torch.float32

    def test_uniform_times_are_the_numbers(self) -> None:
        uniform = torch.tensor([0.0, 0.25, 0.7501])
        plain = RectifiedFlow(timestep_transform=False, drawing="uniform")
        torch.testing.assert_close(plain.draw_timesteps(uniform), uniform * 1000.0)
        whole = RectifiedFlow(timestep_transform=False, drawing="uniform", discrete_timesteps=True)
        assert whole.draw_timesteps(uniform).tolist() == [0.0, 250.0, 750.0]


class TestLowNoise:
    def test_reconstruction_sees_two_percent_of_noise(self, generator: torch.Generator) -> None:
        clean, noise = torch.randn(2, 3, 2, 2, 3, 3, generator=generator)
        noisy = PLAIN.add_noise(clean, noise, torch.full((3,), RECONSTRUCTION_AT))
        torch.testing.assert_close(noisy, 0.98 * clean + 0.02 * noise)

    def test_the_last_step_counts_after_the_transform(self) -> None:
        assert PLAIN.sampler(10).timesteps[-1] == pytest.approx(100.0)
        assert RectifiedFlow().sampler(10, video()).timesteps[-1] > 300.0

    def test_so_many_steps_do(self) -> None:
        schedule = RectifiedFlow()
        least = least_steps(schedule, RECONSTRUCTION_MAX, above=10, video_format=video())
        assert least == 45
        assert schedule.sampler(least, video()).timesteps[-1] <= RECONSTRUCTION_MAX
        assert schedule.sampler(least - 1, video()).timesteps[-1] > RECONSTRUCTION_MAX

    def test_no_number_of_steps_does(self) -> None:
        huge = video(height=1e6, width=1e6)
        few = RectifiedFlow(steps=101)
        assert least_steps(few, 10, above=90, video_format=huge) is None


class TestBadInput:
    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            ({"steps": 100}, "expected steps from 101"),
            ({"drawing": "cosine"}, r"schedule\.drawing: expected one of"),
            ({"kind": "ddpm"}, r"schedule\.kind: expected one of"),
            ({"transform_scale": 0.0}, "transform_scale: expected a finite number above 0, got 0"),
            ({"transform_scale": float("nan")}, "transform_scale: expected"),
            ({"shared_noise": 1.5}, "shared_noise from 0 to 1"),
        ],
    )
    def test_fields(self, wrong: dict[str, Any], says: str, as_a_user: None) -> None:
        with pytest.raises(InputError, match=says):
            RectifiedFlow(**wrong)

    def test_no_format_where_times_depend_on_it(self) -> None:
        says = "video_format: expected length and size of the videos"
        with pytest.raises(InputError, match=says):
            RectifiedFlow().sampler(10)
        with pytest.raises(InputError, match=says):
            RectifiedFlow().draw_timesteps(torch.rand(2))

    def test_samples_of_several_sizes(self) -> None:
        size = torch.tensor([480.0, 720.0])
        mixed = VideoFormat(num_frames=size, height=size, width=size, fps=size)
        with pytest.raises(InputError, match="video_format: expected samples of one length"):
            RectifiedFlow().sampler(10, mixed)

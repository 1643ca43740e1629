import dataclasses
import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from jog3r.diffusion.interface import Schedule
from jog3r.diffusion.noise import seeded
from jog3r.diffusion.rectified_flow import RectifiedFlow
from jog3r.diffusion.schedule import NoiseSchedule
from jog3r.errors import InputError
from jog3r.model import JOG3R
from jog3r.results import Generation
from jog3r.routes.text_to_video import (
    SamplingOptions,
    initial_noise,
    sample_latents,
)
from jog3r.routes.video_formats import video_format

PROMPT = "a red sphere in a brick room"
QUICK: dict[str, Any] = {"num_inference_steps": 3, "num_frames": 3, "progress": False}


def quick(**changed: Any) -> dict[str, Any]:
    return QUICK | changed


@pytest.fixture
def model(tiny_model: JOG3R) -> JOG3R:
    return tiny_model


def latents(model: JOG3R, prompts: list[str], seeds: list[int], **changed: Any) -> Tensor:
    """Sample, and return the latents: unlike frames, they are not rounded to 8 bits."""
    return sample_latents(model, prompts, seeds, sampling_options(**changed)).latents


def sampling_options(**changed: Any) -> SamplingOptions:
    usual: dict[str, Any] = {"negative_prompt": "", "guidance_scale": 4.0, "steps": 3, "frames": 3}
    return SamplingOptions(**usual | {"callback": None, "progress": False} | changed)


class TestResult:
    def test_one_prompt_gives_one_generation(self, model: JOG3R) -> None:
        shot = model.generate(PROMPT, seed=5, **QUICK)
        assert isinstance(shot, Generation)
        assert (shot.prompt, shot.seed, shot.reconstruction) == (PROMPT, 5, None)
        assert tuple(shot.video.frames.shape) == (3, 16, 16, 3)
        assert shot.video.fps == model.config.fps

    def test_the_length_is_the_models_unless_said(self, model: JOG3R) -> None:
        shot = model.generate(PROMPT, num_inference_steps=1, progress=False)
        assert len(shot.video) == model.config.num_frames
        for frames in (1, 5):
            assert len(model.generate(PROMPT, **quick(num_frames=frames)).video) == frames

    def test_lists_give_lists(self, model: JOG3R) -> None:
        shots = model.generate(PROMPT, seed=[4, 9], **QUICK)
        assert [shot.seed for shot in shots] == [4, 9]
        shots = model.generate([PROMPT, "a blue cube"], seed=4, **QUICK)
        assert [(shot.prompt, shot.seed) for shot in shots] == [(PROMPT, 4), ("a blue cube", 5)]
        assert len(model.generate([PROMPT], **QUICK)) == 1

    def test_the_progress_bar_can_be_switched_off(
        self, model: JOG3R, capsys: pytest.CaptureFixture[str]
    ) -> None:
        model.generate(PROMPT, **QUICK)
        assert not capsys.readouterr().err
        model.generate(PROMPT, **quick(progress=True))
        assert "sampling: 100%" in capsys.readouterr().err


class TestSeeds:
    def test_the_same_seed_gives_the_same_video(self, model: JOG3R) -> None:
        first, again = (model.generate(PROMPT, seed=7, **QUICK) for _ in range(2))
        assert first == again
        assert first.video != model.generate(PROMPT, seed=8, **QUICK).video

    def test_noise_is_each_seeds_own_bit_for_bit(self, model: JOG3R) -> None:
        together = initial_noise(model, seeded([3, 4, 5]), 3)
        assert torch.equal(together[1:2], initial_noise(model, seeded([4]), 3))

    def test_alone_and_in_a_batch_agree_to_rounding(self, model: JOG3R) -> None:
        # Not bit for bit: matrix products of another size round differently.
        prompts = ["a blue cube in a desert, dim light", PROMPT, "a cone"]
        together = latents(model, prompts, [1, 7, 9])
        alone = latents(model, [PROMPT], [7])
        torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)
        assert (together[0] - together[1]).abs().max() > 0.1

    def test_the_global_seed_is_neither_used_nor_changed(self, model: JOG3R) -> None:
        torch.manual_seed(1)
        state = torch.random.get_rng_state()
        first = latents(model, [PROMPT], [7])
        assert torch.equal(state, torch.random.get_rng_state())
        torch.manual_seed(2)
        assert torch.equal(first, latents(model, [PROMPT], [7]))


class TestGuidance:
    def test_the_prompt_matters(self, model: JOG3R) -> None:
        red, blue = (latents(model, [text], [7]) for text in (PROMPT, "a blue cube"))
        assert (red - blue).abs().max() > 1e-3

    def test_scale_one_is_the_prompts_prediction_alone(self, model: JOG3R) -> None:
        plain = latents(model, [PROMPT], [7], guidance_scale=1.0)
        nearly = latents(model, [PROMPT], [7], guidance_scale=1.0 + 1e-6)
        torch.testing.assert_close(plain, nearly, atol=1e-4, rtol=1e-4)

    def test_scale_one_runs_half_the_batch(
        self, model: JOG3R, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes, forward = [], model.stitched.forward

        def spy(batch: Tensor, *rest: Tensor, **told: Any) -> Any:
            sizes.append(len(batch))
            return forward(batch, *rest, **told)

        monkeypatch.setattr(model.stitched, "forward", spy)
        latents(model, [PROMPT], [7], guidance_scale=1.0)
        latents(model, [PROMPT], [7], guidance_scale=2.0)
        assert sizes == [1, 1, 1, 2, 2, 2]

    def test_a_negative_prompt_changes_the_result(self, model: JOG3R) -> None:
        plain = latents(model, [PROMPT], [7])
        steered = latents(model, [PROMPT], [7], negative_prompt="dim light")
        assert (plain - steered).abs().max() > 1e-3


class TestSchedules:
    """The route is the same for every schedule."""

    @pytest.fixture
    def spread_model(self, model: JOG3R) -> JOG3R:
        """Return the model with a learned variance behind what it predicts."""
        network = model.stitched.config
        learning = network.backbone_config | {"learn_sigma": True}
        network = dataclasses.replace(network, backbone_config=learning)
        config = dataclasses.replace(
            model.config, network=network, schedule=NoiseSchedule(solver="iddpm")
        )
        with torch.random.fork_rng():
            torch.manual_seed(5)
            made = JOG3R(config, model.text_encoder.tokenizer)
            for parameter in made.network.parameters():
                if not parameter.any():
                    torch.nn.init.normal_(parameter, std=0.05)
        return made.eval().requires_grad_(False)

    @pytest.mark.parametrize("scale", [1.0, 4.0])
    def test_ancestral_noise_is_each_samples_own(self, spread_model: JOG3R, scale: float) -> None:
        together = latents(spread_model, [PROMPT, PROMPT], [1, 7], guidance_scale=scale)
        alone = latents(spread_model, [PROMPT], [7], guidance_scale=scale)
        torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-5)
        assert (together[0] - together[1]).abs().max() > 0.1

    @pytest.mark.parametrize(
        "schedule", [RectifiedFlow(), NoiseSchedule(solver="ddim", shared_noise=0.5)]
    )
    def test_other_schedules_run(
        self, model: JOG3R, monkeypatch: pytest.MonkeyPatch, schedule: Schedule
    ) -> None:
        usual = latents(model, [PROMPT], [7])
        monkeypatch.setattr(model, "schedule", schedule)
        told: list[float] = []
        options = {"callback": lambda _, timestep, __: told.append(timestep)}
        other = latents(model, [PROMPT], [7], **options)
        assert other.shape == usual.shape
        assert other.isfinite().all()
        size = video_format(model, 1, sampling_options().frames)
        assert told == schedule.sampler(3, size).timesteps


class TestCallback:
    def test_it_sees_every_step(self, model: JOG3R) -> None:
        seen = []

        def callback(index: int, timestep: float, latents: Tensor) -> None:
            seen.append((index, timestep, tuple(latents.shape)))

        watched = model.generate(PROMPT, callback=callback, **QUICK)
        shape = (1, 3, 3, 8, 8)
        assert seen == [(0, 999, shape), (1, 666, shape), (2, 332, shape)]
        assert watched == model.generate(PROMPT, **QUICK)

    def test_what_it_returns_is_gone_on_with(self, model: JOG3R) -> None:
        def callback(index: int, timestep: float, latents: Tensor) -> Tensor | None:
            return torch.zeros_like(latents) if index == 2 else None

        shot = model.generate(PROMPT, callback=callback, **QUICK)
        grey = model.autoencoder.decode(torch.zeros(1, 3, 3, 8, 8))
        expected = ((grey[0] + 1.0) * 127.5).round().byte().permute(0, 2, 3, 1)
        assert torch.equal(shot.video.frames, expected)

    @pytest.mark.parametrize(
        ("returned", "says"),
        [
            (torch.zeros(1, 3, 2, 8, 8), r"of shape \(1, 3, 3, 8, 8\), got \(1, 3, 2, 8, 8\)"),
            (torch.full((1, 3, 3, 8, 8), float("nan")), "expected None or finite latents"),
            (torch.zeros(1, 3, 3, 8, 8, dtype=torch.int64), "expected None or finite latents"),
            ("done", "got str; return the changed latents or nothing"),
        ],
        ids=["shape", "nan", "dtype", "text"],
    )
    def test_something_else_came_back(
        self, model: JOG3R, returned: Any, says: str, as_a_user: None
    ) -> None:
        with pytest.raises(InputError, match=says):
            model.generate(PROMPT, callback=lambda *_: returned, **QUICK)


class TestBadInput:
    def test_a_prompt_of_unknown_words(self, model: JOG3R) -> None:
        with pytest.raises(InputError, match="got none in 'zebra crossing'"):
            model.generate("zebra crossing", **QUICK)
        with pytest.raises(InputError, match="got none in 'blurry'"):
            model.generate(PROMPT, negative_prompt="blurry", **QUICK)

    def test_unknown_words_are_named_once(
        self, model: JOG3R, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING, logger="jog3r"):
            model.generate("a red zebra", seed=[1, 2], negative_prompt="bad cone", **QUICK)
        told = sorted(record.getMessage().rpartition(" ")[2] for record in caplog.records)
        assert told == ["bad", "zebra"]

    def test_a_prompt_that_is_too_long(self, model: JOG3R) -> None:
        with pytest.raises(InputError, match="prompt: expected at most 47 words"):
            model.generate("red " * 60, **QUICK)

    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            ({"num_inference_steps": 0}, "num_inference_steps"),
            ({"num_frames": -1}, "num_frames"),
            ({"guidance_scale": float("inf")}, "guidance_scale"),
            ({"seed": [1.5]}, "seed"),
            ({"callback": "print"}, "callback"),
            ({"negative_prompt": None}, "negative_prompt"),
        ],
    )
    def test_options_are_checked(
        self, model: JOG3R, wrong: dict[str, Any], says: str, as_a_user: None
    ) -> None:
        with pytest.raises(InputError, match=f"^{says}: expected"):
            model.generate(PROMPT, **quick(**wrong))

    def test_regularisers_are_for_cameras(self, model: JOG3R) -> None:
        from jog3r.alignment import Regularisers

        with pytest.raises(InputError, match="regularisers, refine: expected none of them"):
            model.generate(PROMPT, regularisers=Regularisers.off(), **QUICK)

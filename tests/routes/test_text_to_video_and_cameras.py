import dataclasses
from functools import partial
from typing import Any

import pytest
import torch

from jog3r.diffusion.rectified_flow import RectifiedFlow
from jog3r.errors import AlignmentError, InputError
from jog3r.model import JOG3R
from jog3r.routes import text_to_video_and_cameras as route
from jog3r.routes.priors import Priors

PROMPT = "a red sphere in a brick room"
QUICK: dict[str, Any] = {"num_inference_steps": 10, "num_frames": 3, "progress": False}


def quick(**changed: Any) -> dict[str, Any]:
    return QUICK | changed


K = torch.tensor([[15.0, 0.0, 8.0], [0.0, 15.0, 8.0], [0.0, 0.0, 1.0]])


@pytest.fixture
def model(tiny_model: JOG3R, monkeypatch: pytest.MonkeyPatch) -> JOG3R:
    """Give alignment a lens: untrained weights make pointmaps that call for no focal length."""
    monkeypatch.setattr(
        route, "align_pointmaps", partial(route.align_pointmaps, priors=Priors(K=K))
    )
    return tiny_model


def test_video_and_cameras_belong_together(model: JOG3R) -> None:
    shot = model.generate(PROMPT, cameras=True, seed=2, **QUICK)
    scene = shot.reconstruction
    assert scene is not None
    assert scene.video == shot.video == model.generate(PROMPT, seed=2, **QUICK).video
    assert scene.scale == "relative"
    assert scene.cameras.image_size == (16, 16)
    assert scene.depth.shape == (3, 16, 16)
    torch.testing.assert_close(scene.cameras.world_from_camera[0], torch.eye(4))


def test_nothing_is_encoded_or_noised_again(model: JOG3R, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **options: object) -> None:
        raise AssertionError("the pixels were encoded")

    expected = model.generate(PROMPT, cameras=True, **QUICK)
    monkeypatch.setattr(model.autoencoder, "encode", never)
    monkeypatch.setattr(type(model.schedule), "add_noise", never)
    monkeypatch.setattr(model.stitched, "tokens", never)
    assert model.generate(PROMPT, cameras=True, **QUICK) == expected


@pytest.mark.parametrize(
    ("options", "apart"),
    [
        ({"guidance_scale": 4.0}, False),
        ({"guidance_scale": 1.0}, True),
        ({"negative_prompt": "a blue cube"}, True),
    ],
)
def test_tokens_are_those_of_the_last_step_with_the_empty_prompt(
    model: JOG3R, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], apart: bool
) -> None:
    calls: dict[str, list[Any]] = {"forward": [], "joint": []}
    tokens = []

    def spy(name: str) -> Any:
        real = getattr(model.stitched, name)

        def call(*inputs: torch.Tensor, **more: Any) -> Any:
            calls[name].append(inputs)
            return real(*inputs, **more)

        return call

    decode = route.token_pointmaps

    def catch(model: JOG3R, found: torch.Tensor, pairs: torch.Tensor) -> Any:
        tokens.append(found)
        return decode(model, found, pairs)

    for name in calls:
        monkeypatch.setattr(model.stitched, name, spy(name))
    monkeypatch.setattr(route, "token_pointmaps", catch)
    shot = model.generate(PROMPT, cameras=True, **options, **QUICK)
    # One call a step, also where the empty prompt has to come into the last one.
    assert len(calls["forward"]) == (9 if apart else 10)
    assert len(calls["joint"]) == (1 if apart else 0)
    latents, times, *_ = (calls["joint"] or calls["forward"])[-1]
    assert times.unique().tolist() == [99.0]
    with torch.inference_mode():
        expected = model.stitched.tokens(latents[:1], times[:1], *model.text_encoder([""]))
    torch.testing.assert_close(tokens[0], expected[0], atol=1e-5, rtol=1e-4)
    assert shot.video == model.generate(PROMPT, **options, **QUICK).video


def test_one_failure_does_not_lose_the_other_samples(
    model: JOG3R, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = model.generate(PROMPT, cameras=True, seed=[2, 3], **QUICK)
    reconstruct, calls = route.align_pointmaps, []

    def second_fails(*inputs: Any, **options: Any) -> Any:
        calls.append(inputs)
        if len(calls) == 2:
            raise AlignmentError("video: expected a clip, got fog; try another")
        return reconstruct(*inputs, **options)

    monkeypatch.setattr(route, "align_pointmaps", second_fails)
    with pytest.raises(AlignmentError, match="seed 3: video: expected a clip, got fog") as caught:
        model.generate(PROMPT, cameras=True, seed=[2, 3], **QUICK)
    first, second = caught.value.generations
    assert first == expected[0]
    assert second.video == expected[1].video
    assert second.reconstruction is None


def test_each_sample_gets_its_own(model: JOG3R) -> None:
    both = model.generate(PROMPT, cameras=True, seed=[2, 3], **QUICK)
    alone = model.generate(PROMPT, cameras=True, seed=3, **QUICK)
    scenes = [shot.reconstruction for shot in (*both, alone)]
    assert scenes[0] is not None
    assert scenes[1] is not None
    assert scenes[2] is not None
    torch.testing.assert_close(scenes[1].depth, scenes[2].depth, atol=1e-2, rtol=1e-2)
    assert not torch.allclose(scenes[0].depth, scenes[1].depth, atol=1e-2, rtol=1e-2)


class TestBadInput:
    @pytest.mark.parametrize("steps", [1, 9])
    def test_a_last_step_that_is_too_noisy(self, model: JOG3R, steps: int) -> None:
        says = f"num_inference_steps: expected at least 10 with cameras=True, got {steps}"
        with pytest.raises(InputError, match=says):
            model.generate(PROMPT, cameras=True, **quick(num_inference_steps=steps))

    def test_a_last_step_that_is_too_noisy_after_the_transform(
        self, model: JOG3R, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """3 frames of 512x512 px count as they are, 51 of them four times: 10 steps do no more."""
        monkeypatch.setattr(model, "schedule", RectifiedFlow())
        monkeypatch.setattr(
            model, "config", dataclasses.replace(model.config, image_size=(512, 512))
        )
        says = "num_inference_steps: expected at least 36 with cameras=True, got 10"
        with pytest.raises(InputError, match=says):
            model.generate(PROMPT, cameras=True, **quick(num_frames=51))

    def test_no_number_of_steps_ends_low_enough(
        self, model: JOG3R, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(model, "schedule", RectifiedFlow(steps=101))
        monkeypatch.setattr(route, "RECONSTRUCTION_MAX", -1)
        with pytest.raises(InputError, match="expected at least more than there are"):
            model.generate(PROMPT, cameras=True, **QUICK)

    def test_a_single_frame(self, model: JOG3R) -> None:
        with pytest.raises(InputError, match="num_frames: expected at least 2 with cameras=True"):
            model.generate(PROMPT, cameras=True, **quick(num_frames=1))

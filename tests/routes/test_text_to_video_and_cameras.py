from functools import partial
from typing import Any

import pytest
import torch

from jog3r.errors import InputError
from jog3r.model import JOG3R
from jog3r.routes import text_to_video_and_cameras as route

PROMPT = "a red sphere in a brick room"
QUICK: dict[str, Any] = {"num_inference_steps": 10, "num_frames": 3, "progress": False}


def quick(**changed: Any) -> dict[str, Any]:
    return QUICK | changed


K = torch.tensor([[15.0, 0.0, 8.0], [0.0, 15.0, 8.0], [0.0, 0.0, 1.0]])


@pytest.fixture
def model(tiny_model: JOG3R, monkeypatch: pytest.MonkeyPatch) -> JOG3R:
    """Give alignment a lens: untrained weights make pointmaps that call for no focal length."""
    monkeypatch.setattr(route, "reconstruct_tokens", partial(route.reconstruct_tokens, K=K))
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
    monkeypatch.setattr(model.network, "tokens", never)
    assert model.generate(PROMPT, cameras=True, **QUICK) == expected


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_tokens_are_those_of_the_last_step(
    model: JOG3R, monkeypatch: pytest.MonkeyPatch, guidance_scale: float
) -> None:
    calls, forward, tokens = [], model.network.forward, []

    def spy(*inputs: torch.Tensor) -> Any:
        calls.append(inputs)
        return forward(*inputs)

    reconstruct = route.reconstruct_tokens

    def catch(model: JOG3R, found: torch.Tensor, *rest: Any, **options: Any) -> Any:
        tokens.append(found)
        return reconstruct(model, found, *rest, **options)

    monkeypatch.setattr(model.network, "forward", spy)
    monkeypatch.setattr(route, "reconstruct_tokens", catch)
    model.generate(PROMPT, cameras=True, guidance_scale=guidance_scale, **QUICK)
    assert len(calls) == 10
    last = calls[-1]
    assert last[1].unique().tolist() == [99.0]
    # With guidance the first half of the batch sees the empty prompt, as training had it.
    with torch.inference_mode():
        expected = model.network.tokens(*(part[:1] for part in last))
        empty, _ = model.text_encoder([""])
    torch.testing.assert_close(tokens[0], expected[0], atol=1e-5, rtol=1e-4)
    assert torch.allclose(last[2][0, :1], empty[0], atol=1e-5) == (guidance_scale > 1.0)


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

    def test_a_single_frame(self, model: JOG3R) -> None:
        with pytest.raises(InputError, match="num_frames: expected at least 2 with cameras=True"):
            model.generate(PROMPT, cameras=True, **quick(num_frames=1))

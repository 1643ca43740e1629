"""Clips of the world through autoencoder and text encoder, and back into training."""

from pathlib import Path

import numpy as np
import pytest
import torch

from jog3r.data.precomputed import PrecomputedClip
from jog3r.data.world import World, WorldClip, WorldConfig
from jog3r.errors import InputError
from jog3r.model import JOG3R
from jog3r.training.joint import JointTraining
from jog3r.training.precompute import precompute_clip
from jog3r.training.precomputed_data import collate


@pytest.fixture(scope="module")
def clip() -> WorldClip:
    return World(WorldConfig(size=16, samples=1, shadows=False)).clip(7, 3)


def encoded(model: JOG3R, clip: WorldClip) -> PrecomputedClip:
    frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    truth = {
        name: torch.from_numpy(np.asarray(getattr(clip, name)))
        for name in ("depth", "K", "world_from_camera")
    }
    return precompute_clip(model, frames, clip.caption, **truth)


def test_the_same_loss_as_from_pixels(tiny_model: JOG3R, clip: WorldClip, tmp_path: Path) -> None:
    made = encoded(tiny_model, clip)
    made.save(tmp_path / "clip.safetensors")
    batch = collate([PrecomputedClip.load(tmp_path / "clip.safetensors")])
    frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    pixels = {**batch, "video": frames[None]}
    del pixels["latents"], pixels["text"], pixels["text_mask"]
    training = JointTraining(tiny_model.config, start=None, prompt_dropout=0.0)
    training.model.load_state_dict(tiny_model.state_dict())
    losses = [
        training.losses(each, torch.Generator().manual_seed(0))[1]["gen"]
        for each in (batch, pixels)
    ]
    torch.testing.assert_close(losses[0], losses[1], atol=2e-3, rtol=2e-3)


def test_a_dropped_prompt_is_what_guidance_takes(tiny_model: JOG3R, clip: WorldClip) -> None:
    training = JointTraining(tiny_model.config, start=None)
    training.model.load_state_dict(tiny_model.state_dict())
    batch = collate([encoded(tiny_model, clip)])
    text, mask = training._text(batch, [False], empty=1)
    empty, _ = tiny_model.text_encoder([""])
    for row in range(2):
        torch.testing.assert_close(text[row, : empty.shape[1]], empty[0])
    assert mask.sum(dim=1).tolist() == [empty.shape[1]] * 2


def test_depth_of_another_size(tiny_model: JOG3R, clip: WorldClip) -> None:
    training = JointTraining(tiny_model.config, start=None)
    batch = collate([encoded(tiny_model, clip)])
    batch["depth"] = batch["depth"][:, :, :8, :8]
    with pytest.raises(InputError, match=r"depth: expected \(3, 16, 16\).* got \(3, 8, 8\)"):
        training.losses(batch, torch.Generator().manual_seed(0))


def test_a_clip_of_another_size(tiny_model: JOG3R, clip: WorldClip) -> None:
    with pytest.raises(InputError, match=r"video: expected \(T, 3, \*\(16, 16\)\)"):
        precompute_clip(
            tiny_model,
            torch.zeros(3, 3, 8, 8),
            "a red cube",
            depth=torch.ones(3, 8, 8),
            K=torch.from_numpy(clip.K),
            world_from_camera=torch.from_numpy(clip.world_from_camera),
        )

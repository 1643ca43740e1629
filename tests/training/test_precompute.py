"""Clips of the world through autoencoder and text encoder, and back into training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.codecs.temporal_autoencoder import TemporalAutoencoder
from jog3r.codecs.video_autoencoder import VideoAutoencoder
from jog3r.data.precomputed import PrecomputedClip
from jog3r.data.shard_writing import write_shards
from jog3r.data.shards import ShardFolder
from jog3r.data.world import World, WorldClip, WorldConfig
from jog3r.errors import InputError
from jog3r.model import JOG3R
from jog3r.training.joint import JointTraining
from jog3r.training.precompute import precompute_clip
from jog3r.training.prepared_data import collate


@pytest.fixture(scope="module")
def clip() -> WorldClip:
    return World(WorldConfig(size=16, samples=1, shadows=False)).clip(7, 3)


def encoded(model: JOG3R, clip: WorldClip) -> PrecomputedClip:
    frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    truth: dict[str, Any] = {
        name: torch.from_numpy(np.asarray(getattr(clip, name)))
        for name in ("depth", "K", "world_from_camera")
    }
    return precompute_clip(model, frames, clip.caption, id=str(clip.seed), **truth)


def test_the_same_loss_as_from_pixels(tiny_model: JOG3R, clip: WorldClip, tmp_path: Path) -> None:
    made = encoded(tiny_model, clip)
    write_shards(tmp_path, [made], size=(16, 16), encoder="tiny")
    batch = collate([ShardFolder(tmp_path).read("16x16", 0)])
    frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    pixels = {**batch, "video": frames[None]}
    del pixels["latents"], pixels["text"], pixels["text_mask"]
    training = JointTraining(tiny_model.config, start=None, prompt_dropout=0.0)
    training.model.load_state_dict(tiny_model.state_dict())
    losses = [training.losses(each, 0)[1]["gen"] for each in (batch, pixels)]
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
    with pytest.raises(
        InputError, match=r"depth: expected 3 maps.* 16 tokens of 4x4 px.* got \(3, 8, 8\)"
    ):
        training.losses(batch, 0)


def test_a_clip_of_another_size_than_the_models(tiny_model: JOG3R) -> None:
    """Training takes the size of the batch, not that of the model's config."""
    wide = World(WorldConfig(size=32, samples=1, shadows=False)).clip(7, 3)
    batch = collate([encoded(tiny_model, wide)])
    for name in ("latents", "depth"):
        batch[name] = batch[name][..., : batch[name].shape[-2] // 2, :]
    assert batch["latents"].shape[-2:] == (8, 16)
    training = JointTraining(tiny_model.config, start=None)
    loss, parts = training.losses(batch, 0)
    assert torch.isfinite(loss)
    assert parts["rec"] != 0


def test_depth_of_another_size_than_the_frames(
    tiny_model: JOG3R, clip: WorldClip, as_a_user: None
) -> None:
    with pytest.raises(InputError, match=r"depth: expected \(3, 16, 16\), the frames and size"):
        precompute_clip(
            tiny_model,
            torch.zeros(3, 3, 16, 16),
            "a red cube",
            id="a",
            depth=torch.ones(3, 8, 8),
            K=torch.from_numpy(clip.K),
            world_from_camera=torch.from_numpy(clip.world_from_camera),
        )


def test_sides_that_the_autoencoder_does_not_take(tiny_model: JOG3R) -> None:
    with pytest.raises(InputError, match="15"):
        precompute_clip(tiny_model, torch.zeros(3, 3, 16, 15), "a red cube", id="a")


def test_latents_that_span_several_frames(tiny_model: JOG3R) -> None:
    video = VideoAutoencoder.Config(
        spatial=FrameAutoencoder.Config(block_out_channels=(4, 4), latent_channels=4),
        temporal=TemporalAutoencoder.Config(
            filters=4, res_blocks=1, multipliers=(1, 1, 2, 2), groups=2
        ),
    )
    config = replace(tiny_model.config, autoencoder=video, network=None)
    spanning = JOG3R(config, tiny_model.text_encoder.tokenizer)
    with pytest.raises(InputError, match="autoencoder: expected latents of single frames"):
        precompute_clip(spanning, torch.zeros(3, 3, 16, 16), "a red cube", id="a")

"""What a step costs, counted without values, against the same step on real numbers."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.codecs.text import TextEncoder
from jog3r.errors import InputError
from jog3r.model import JOG3R
from jog3r.training.autoencoder import AutoencoderTraining
from jog3r.training.cost import Work, step_flops
from jog3r.training.joint import JointTraining


@pytest.fixture
def joint(tiny_model: JOG3R) -> JointTraining:
    return JointTraining(tiny_model.config, None)


class TestStepFlops:
    def test_the_joint_step_asks_for_what_it_does(self, joint: JointTraining) -> None:
        model, clips, frames = joint.model, 2, 4
        backbone: Any = model.stitched.get_submodule("backbone")
        length = backbone.config.max_text_tokens
        mask = torch.ones(2 * clips, length).bool()
        batch = {
            "depth": torch.ones(clips, frames, 16, 16),
            "K": torch.eye(3).expand(clips, frames, 3, 3),
            "world_from_camera": torch.eye(4).expand(clips, frames, 4, 4),
        }
        with FlopCounterMode(display=False) as counter:
            video = torch.randn(clips, frames, 3, 16, 16)
            with torch.no_grad():
                latents = model.autoencoder.encode(video)
            ids = torch.zeros(2 * clips, length, dtype=torch.long)
            assert isinstance(model.text_encoder, TextEncoder)
            texts = model.text_encoder.t5(input_ids=ids).last_hidden_state
            prediction, tokens = model.stitched.joint(
                torch.cat([latents, latents]), torch.zeros(4), texts, mask, reconstructed=clips
            )
            partners = torch.tensor([[1, 2, 3]] * clips)
            rec, _ = joint.reconstruction_loss(tokens, partners, batch)
            (prediction.square().mean() + rec).backward()  # short attention: plain products
        done = counter.get_total_flops()
        assert step_flops(joint, clips=clips, frames=frames) == pytest.approx(done, rel=0.01)

    def test_single_frames_have_no_second_half(self, joint: JointTraining) -> None:
        frames, pair = (step_flops(joint, clips=1, frames=n, precomputed=True) for n in (1, 2))
        joint.rec_weight = 0.0
        assert step_flops(joint, clips=1, frames=1, precomputed=True) == frames
        assert step_flops(joint, clips=1, frames=2, precomputed=True) < 0.8 * pair

    def test_checkpointing_changes_nothing(self, joint: JointTraining) -> None:
        plain = step_flops(joint, clips=1, frames=2)
        joint.model.stitched.backbone.gradient_checkpointing = True
        assert step_flops(joint, clips=1, frames=2) == plain
        assert joint.model.stitched.backbone.gradient_checkpointing is True

    def test_encoded_clips_spare_both_encoders(self, joint: JointTraining) -> None:
        whole = step_flops(joint, clips=1, frames=2)
        assert step_flops(joint, clips=1, frames=2, precomputed=True) < whole

    def test_real_steps_follow_unharmed(self, joint: JointTraining) -> None:
        network = joint.model.stitched
        inputs = (torch.zeros(1, 3, 3, 8, 8), torch.zeros(1))
        text = (torch.zeros(1, 4, 16), torch.ones(1, 4).bool())
        before = network.tokens(*inputs, *text)
        step_flops(joint, clips=1, frames=3)
        assert torch.equal(network.tokens(*inputs, *text), before)
        assert all(parameter.grad is None for parameter in joint.parameters())

    def test_the_autoencoder(self, tiny_model: JOG3R) -> None:
        config = tiny_model.config.autoencoder
        assert isinstance(config, FrameAutoencoder.Config)
        training = AutoencoderTraining(config)
        with FlopCounterMode(display=False) as counter:
            out = training.model(torch.zeros(8, 3, 64, 64), torch.zeros(8, 3, 32, 32))
            torch.cat([part.flatten() for part in out]).sum().backward()
        assert step_flops(training, clips=8, frames=1) == counter.get_total_flops()

    def test_foreign_modules_are_refused(self) -> None:
        with pytest.raises(InputError, match="at least 1, got -2, 16 and 64"):
            Work(clips=-2, frames=16)
        with pytest.raises(InputError, match="PairTraining, got Linear"):
            step_flops(nn.Linear(2, 2), clips=1, frames=1)

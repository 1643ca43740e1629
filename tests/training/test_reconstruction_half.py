"""What the reconstruction half of a joint step works on."""

from typing import Any

import pytest
import torch
from torch import Tensor

from jog3r.diffusion.schedule import NoiseSchedule
from jog3r.errors import InputError
from jog3r.model import JOG3R
from jog3r.training.cost import step_flops
from jog3r.training.draws import Draws
from jog3r.training.joint import JointTraining
from jog3r.training.reconstruction_half import Frames, ReconstructionHalf

CLIPS, FRAMES = 4, 6


@pytest.fixture
def latents(generator: torch.Generator) -> Tensor:
    return torch.randn(CLIPS, 3, FRAMES, 2, 2, generator=generator)


@pytest.fixture
def drawn(generator: torch.Generator) -> Draws:
    noise = torch.randn(2, CLIPS, 3, FRAMES, 2, 2, generator=generator)
    partners = torch.tensor([[3, 1], [2, 5], [4, 1], [1, 2]])
    return Draws(noise, torch.rand(3, CLIPS, generator=generator), partners)


@pytest.fixture
def batch() -> dict[str, Any]:
    numbers = torch.arange(CLIPS * FRAMES).reshape(CLIPS, FRAMES).float()
    eye = torch.eye(4).expand(CLIPS, FRAMES, 4, 4)
    depth = numbers[..., None, None].expand(-1, -1, 4, 4)
    return {"depth": depth, "K": eye[..., :3, :3], "world_from_camera": eye}


def half(
    latents: Tensor, drawn: Draws, batch: dict[str, Any], every: int = 1, frames: Frames = "all"
) -> ReconstructionHalf:
    schedule = NoiseSchedule()
    return ReconstructionHalf.of(schedule, latents, drawn, batch, every=every, frames=frames)


def test_every_second_clip(latents: Tensor, drawn: Draws, batch: dict[str, Any]) -> None:
    whole, part = half(latents, drawn, batch), half(latents, drawn, batch, every=2)
    assert torch.equal(part.noisy, whole.noisy[::2])
    assert torch.equal(part.timesteps, whole.timesteps[::2])
    assert torch.equal(part.partners, whole.partners[::2])
    assert torch.equal(part.truth["depth"], batch["depth"][::2])


def test_only_the_frames_of_the_pairs(latents: Tensor, drawn: Draws, batch: dict[str, Any]) -> None:
    whole, part = half(latents, drawn, batch), half(latents, drawn, batch, frames="pairs")
    for clip, kept in enumerate([[0, 1, 3], [0, 2, 5], [0, 1, 4], [0, 1, 2]]):
        assert torch.equal(part.noisy[clip], whole.noisy[clip][:, kept])
        assert torch.equal(part.truth["depth"][clip], batch["depth"][clip, kept])
    assert part.partners.tolist() == [[1, 2]] * CLIPS


def test_pairs_share_what_their_first_frame_has_in_common(
    tiny_model: JOG3R, generator: torch.Generator
) -> None:
    network = tiny_model.stitched
    tokens = torch.randn(2, 4, 16, 32, generator=generator, requires_grad=True)
    partners = torch.tensor([[1, 3], [2, 1]])
    pairs = torch.stack([torch.zeros_like(partners), partners], dim=-1)
    found = network.star_pointmaps(tokens, partners, (4, 4))
    plain = network.pointmaps(tokens, pairs, (4, 4))
    for name in ("points_1", "points_2", "confidence_1", "confidence_2"):
        torch.testing.assert_close(getattr(found, name), getattr(plain, name))
    (gradient,) = torch.autograd.grad(found.points_2.square().sum(), tokens)
    (expected,) = torch.autograd.grad(plain.points_2.square().sum(), tokens)
    torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-3)
    with pytest.raises(InputError, match="grid: expected rows x columns = 16"):
        network.star_pointmaps(tokens, partners, (4, 5))


@pytest.fixture(scope="module")
def clips() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    K = torch.tensor([[16.0, 0.0, 8.0], [0.0, 16.0, 8.0], [0.0, 0.0, 1.0]])
    shifts = torch.eye(4).repeat(CLIPS, FRAMES, 1, 1)
    shifts[:, 1:, :3, 3] = torch.rand(CLIPS, FRAMES - 1, 3, generator=generator)
    return {
        "video": torch.rand(CLIPS, FRAMES, 3, 16, 16, generator=generator) * 2.0 - 1.0,
        "caption": ["a red cube", "a blue ball", "a cone", "two red balls"],
        # With as many pixels everywhere, the loss of some clips is the mean of theirs.
        "depth": 1.0 + torch.rand(CLIPS, FRAMES, 16, 16, generator=generator),
        "K": K.expand(CLIPS, FRAMES, 3, 3),
        "world_from_camera": shifts,
        "number": torch.arange(CLIPS),
    }


@pytest.fixture
def joint(tiny_model: JOG3R) -> JointTraining:
    torch.manual_seed(0)
    made = JointTraining(tiny_model.config, None, pairs_per_clip=2)
    made.model.load_state_dict(tiny_model.state_dict())
    return made


def some(clips: dict[str, Any], places: list[int]) -> dict[str, Any]:
    return {
        name: value[places] if isinstance(value, Tensor) else [value[place] for place in places]
        for name, value in clips.items()
    }


def parts(joint: JointTraining, clips: dict[str, Any], places: list[int]) -> dict[str, Tensor]:
    with torch.no_grad():
        return joint.losses(some(clips, places), 0)[1]


def test_the_mean_over_choices_is_the_loss_of_all(
    joint: JointTraining, clips: dict[str, Any]
) -> None:
    whole = parts(joint, clips, [0, 1, 2, 3])
    joint.rec_every = 2
    even, odd = parts(joint, clips, [0, 1, 2, 3]), parts(joint, clips, [1, 0, 3, 2])
    assert abs(even["rec"] - odd["rec"]) > 1e-3
    torch.testing.assert_close((even["rec"] + odd["rec"]) / 2, whole["rec"])
    for one in (even, odd):
        torch.testing.assert_close(one["gen"], whole["gen"])


def test_two_processes_take_the_same_clips(joint: JointTraining, clips: dict[str, Any]) -> None:
    joint.rec_every = 2
    for joint.rec_frames in ("all", "pairs"):
        one = parts(joint, clips, [0, 1, 2, 3])
        two = [parts(joint, clips, places) for places in ([0, 1], [2, 3])]
        for name in ("gen", "rec"):
            torch.testing.assert_close((two[0][name] + two[1][name]) / 2, one[name])


def test_fewer_frames_are_a_shorter_clip(joint: JointTraining, clips: dict[str, Any]) -> None:
    whole = parts(joint, clips, [0, 1])
    joint.rec_frames = "pairs"
    part = parts(joint, clips, [0, 1])
    torch.testing.assert_close(part["gen"], whole["gen"])
    assert abs(part["rec"] - whole["rec"]) > 1e-4
    loss, _ = joint.losses(some(clips, [0, 1]), 0)
    loss.backward()
    assert all(p.grad is not None for p in joint.model.stitched.head_1.parameters())


def test_validation_sees_everything(joint: JointTraining, clips: dict[str, Any]) -> None:
    whole = parts(joint, clips, [0, 1, 2])
    joint.rec_every, joint.rec_frames = 2, "pairs"
    torch.testing.assert_close(parts(joint.eval(), clips, [0, 1, 2])["rec"], whole["rec"])


def test_clips_that_processes_would_choose_differently_are_refused(
    joint: JointTraining, clips: dict[str, Any]
) -> None:
    joint.rec_every = 2
    with pytest.raises(InputError, match="rec_every: expected to divide the 3 clips"):
        joint.losses(some(clips, [0, 1, 2]), 0)
    with pytest.raises(InputError, match="rec_every: expected to divide the 3 clips"):
        step_flops(joint, clips=3, frames=FRAMES)


def test_no_clip_at_all_is_refused(tiny_model: JOG3R) -> None:
    with pytest.raises(InputError, match="rec_every: expected 1 or more, got 0"):
        JointTraining(tiny_model.config, None, rec_every=0)

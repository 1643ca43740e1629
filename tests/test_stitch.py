"""Backbone, tap and head as one network."""

import copy
import dataclasses
from typing import Any

import pytest
import torch

from jog3r.errors import InputError
from jog3r.stitch import StitchedModel


@pytest.fixture
def inputs(tiny_model: Any, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    latents = torch.randn(3, 3, 4, 8, 8, generator=generator)
    text, mask = tiny_model.text_encoder(["a red cube", "a sphere", ""])
    return latents, torch.tensor([500.0, 20.0, 3.0]), text, mask


def star(partners: list[list[int]]) -> torch.Tensor:
    """The pairs (0, f) of each sample."""
    second = torch.tensor(partners)
    return torch.stack([torch.zeros_like(second), second], dim=-1)


def test_one_joint_pass_is_two_passes(tiny_model: Any, inputs: tuple[torch.Tensor, ...]) -> None:
    network: StitchedModel = tiny_model.network
    prediction, tokens = network.joint(*inputs, reconstructed=1)
    first, last = [x[:2] for x in inputs], [x[2:] for x in inputs]
    torch.testing.assert_close(prediction, network(*first).prediction, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(tokens, network.tokens(*last), atol=1e-5, rtol=1e-4)


def test_a_sampling_step_hands_out_the_tap(
    tiny_model: Any, inputs: tuple[torch.Tensor, ...]
) -> None:
    out = tiny_model.network(*inputs)
    torch.testing.assert_close(out.taps[2], tiny_model.network.tokens(*inputs))


def test_pairs_do_not_see_each_other(tiny_model: Any, generator: torch.Generator) -> None:
    tokens = torch.randn(2, 4, 16, 32, generator=generator)
    together = tiny_model.network.pointmaps(tokens, star([[1, 3], [2, 1]]), (4, 4))
    assert together.points_1.shape == (2, 2, 16, 16, 3)
    alone = tiny_model.network.pointmaps(tokens[1:], star([[1]]), (4, 4))
    torch.testing.assert_close(together.points_2[1, 1], alone.points_2[0, 0])
    torch.testing.assert_close(together.confidence_1[1, 1], alone.confidence_1[0, 0])
    assert (together.confidence_1 >= 1.0).all()
    assert not torch.equal(together.points_2[0, 0], together.points_2[0, 1])


def test_any_frame_may_come_first(tiny_model: Any, generator: torch.Generator) -> None:
    tokens = torch.randn(1, 4, 16, 32, generator=generator)
    pairs = torch.tensor([[[0, 1], [3, 2]]])
    found = tiny_model.network.pointmaps(tokens, pairs, (4, 4))
    turned = tiny_model.network.pointmaps(tokens[:, [3, 2]], star([[1]]), (4, 4))
    torch.testing.assert_close(found.points_1[:, 1], turned.points_1[:, 0])
    torch.testing.assert_close(found.points_2[:, 1], turned.points_2[:, 0])


def test_a_grid_that_does_not_fit(tiny_model: Any) -> None:
    with pytest.raises(InputError, match="grid: expected rows x columns = 16"):
        tiny_model.network.pointmaps(torch.zeros(1, 2, 16, 32), star([[1]]), (4, 5))


class TestWithoutAHead:
    @pytest.fixture
    def network(self, tiny_model: Any) -> StitchedModel:
        network = dataclasses.replace(tiny_model.config.network, tap=None).build()
        network.backbone.load_state_dict(tiny_model.network.backbone.state_dict())
        return network.eval().requires_grad_(False)

    def test_it_predicts_the_same(
        self, network: StitchedModel, tiny_model: Any, inputs: tuple[torch.Tensor, ...]
    ) -> None:
        out = network(*inputs)
        assert out.taps == {}
        assert torch.equal(out.prediction, tiny_model.network(*inputs).prediction)
        assert all(name.startswith("backbone.") for name in network.state_dict())

    def test_what_needs_a_head_says_so(
        self, network: StitchedModel, inputs: tuple[torch.Tensor, ...]
    ) -> None:
        message = "network: expected a backbone with a pointmap head, got one without"
        with pytest.raises(InputError, match=message):
            network.tokens(*inputs)
        with pytest.raises(InputError, match=message):
            network.joint(*inputs, reconstructed=1)
        with pytest.raises(InputError, match=message):
            network.pointmaps(torch.zeros(1, 2, 16, 32), star([[1]]), (4, 4))


def test_blocks_behind_the_tap_do_not_run(
    tiny_model: Any, inputs: tuple[torch.Tensor, ...]
) -> None:
    model = copy.deepcopy(tiny_model)
    for parameter in model.network.backbone.blocks[2].parameters():
        parameter.fill_(float("nan"))
    assert torch.equal(model.network.tokens(*inputs), tiny_model.network.tokens(*inputs))
    assert model.network(*inputs).prediction.isnan().any()


def test_a_pair_looks_at_its_two_frames_only(tiny_model: Any, generator: torch.Generator) -> None:
    tokens, pairs = torch.randn(1, 4, 16, 32, generator=generator), star([[2]])
    before = tiny_model.network.pointmaps(tokens, pairs, (4, 4))
    for frame, matters in enumerate([True, False, True, False]):
        changed = tokens.clone()
        changed[:, frame] += torch.linspace(-1.0, 1.0, 32)
        after = tiny_model.network.pointmaps(changed, pairs, (4, 4))
        # The branches look at each other, so either frame matters for both.
        assert torch.equal(before.points_1, after.points_1) != matters
        assert torch.equal(before.points_2, after.points_2) != matters

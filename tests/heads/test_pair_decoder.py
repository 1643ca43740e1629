import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from jog3r.errors import InputError
from jog3r.heads.linear_head import LinearHead
from jog3r.heads.orientation import Layout
from jog3r.heads.pair_decoder import PairDecoder

TINY = PairDecoder.Config(in_width=6, width=16, depth=2, num_heads=2)


@pytest.mark.parity
def test_layers_of_a_public_checkpoint_load_and_agree(reference: Callable[[str], Any]) -> None:
    stored = reference("dust3r")
    config = stored.network.config
    decoder = PairDecoder.Config(
        in_width=config.encoder_width,
        width=config.decoder_width,
        depth=config.decoder_depth,
        num_heads=config.decoder_heads,
    ).build()
    weights = {name: value for name, value in stored.weights.items() if name.startswith("dec")}
    decoder.load_state_dict(weights, strict=True)
    decoded = decoder(stored.io["a.enc1"], stored.io["a.enc2"], (3, 4))
    for view in (1, 2):
        expected = stored.io[f"a.dec{view}.{config.decoder_depth}"]
        torch.testing.assert_close(decoded[view - 1], expected, atol=1e-5, rtol=1e-5)


@pytest.fixture
def tokens(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    first, second = torch.randn(2, 3, 6, 6, generator=generator)
    return first, second


def test_branches_start_alike_and_are_two(tokens: tuple[Tensor, Tensor]) -> None:
    decoder = TINY.build()
    a, b = decoder(*tokens, (2, 3))
    swapped_b, swapped_a = decoder(tokens[1], tokens[0], (2, 3))
    torch.testing.assert_close((a, b), (swapped_a, swapped_b))
    with torch.no_grad():
        decoder.dec_blocks2[0].attn.proj.weight += 1.0  # type: ignore[union-attr, operator]
    assert not torch.allclose(decoder(*tokens, (2, 3))[1], b)


def test_each_branch_sees_the_other(tokens: tuple[Tensor, Tensor]) -> None:
    decoder = TINY.build()
    first, second = (t.clone().requires_grad_() for t in tokens)
    decoded = decoder(first, second, (2, 3))
    for out in decoded:
        for gradient in torch.autograd.grad(
            out[0].square().sum(), (first, second), retain_graph=True
        ):
            assert gradient[0].any()
            assert not gradient[1:].any()  # pairs do not mix


def test_place_matters(tokens: tuple[Tensor, Tensor]) -> None:
    decoder = TINY.build()
    wide, tall = decoder(*tokens, (2, 3))[0], decoder(*tokens, (3, 2))[0]
    assert not torch.allclose(wide, tall)


def test_star_is_all_pairs_with_the_first_frame(generator: torch.Generator) -> None:
    decoder = TINY.build()
    tokens = torch.randn(5, 6, 6, generator=generator, requires_grad=True)
    first = tokens[:1].expand(4, -1, -1)
    expected, got = decoder(first, tokens[1:], (2, 3)), decoder.star(tokens, (2, 3))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    gradients = [
        torch.autograd.grad(a.square().sum() + b.sum(), tokens)[0] for a, b in (expected, got)
    ]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-5)


def test_tokens_behind_every_layer_are_handed_out(tokens: tuple[Tensor, Tensor]) -> None:
    decoder, layout = TINY.build(), Layout((2, 3))
    first, second = decoder.decode(*tokens, layout, layout, keep=(0, 1, 2))
    last = decoder(*tokens, (2, 3))
    for view, kept in enumerate((first, second)):
        assert sorted(kept) == [0, 1, 2]
        assert kept[0] is tokens[view]
        torch.testing.assert_close(kept[2], last[view])
    one, _ = decoder.decode(*tokens, layout, layout, keep=(1,))
    torch.testing.assert_close(one, {1: first[1]})
    shallow = dataclasses.replace(TINY, depth=1).build()
    shallow.load_state_dict(decoder.state_dict(), strict=False)
    torch.testing.assert_close(shallow.dec_norm(first[1]), shallow(*tokens, (2, 3))[0])


def test_checkpointing_changes_nothing(tokens: tuple[Tensor, Tensor]) -> None:
    found = []
    decoder = TINY.build()
    for decoder.gradient_checkpointing in (False, True):
        leaves = [t.clone().requires_grad_() for t in tokens]
        loss = sum(out.square().sum() for out in decoder(*leaves, (2, 3)))
        parameters = [*decoder.parameters()]
        found.append((loss, *torch.autograd.grad(loss, [*leaves, *parameters])))  # type: ignore[arg-type]
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_backward_touches_every_parameter(tokens: tuple[Tensor, Tensor]) -> None:
    decoder = TINY.build()
    sum(out.square().sum() for out in decoder(*tokens, (2, 3))).backward()  # type: ignore[union-attr]
    untouched = [
        n for n, p in decoder.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    ]
    assert untouched == []


@pytest.mark.usefixtures("as_a_user")
def test_bad_sizes_raise(tokens: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(InputError, match="grid: expected 6 places, got 2 x 2"):
        TINY.build()(*tokens, (2, 2))
    with pytest.raises(InputError, match=r"tokens_2: expected as many as tokens_1, 2, .* got 3"):
        TINY.build()(tokens[0][:2], tokens[1], (2, 3))
    with pytest.raises(InputError, match="tokens_2: expected 6 channels, got 5"):
        TINY.build()(tokens[0], tokens[1][..., :5], (2, 3))
    layout = Layout((2, 3))
    with pytest.raises(InputError, match=r"keep: expected layers from 0 to 2, got \[1, 3\]"):
        TINY.build().decode(*tokens, layout, layout, keep=(3, 1))
    with pytest.raises(InputError, match="width: expected a multiple"):
        dataclasses.replace(TINY, num_heads=3).build()
    with pytest.raises(InputError, match="tokens: expected at least 2 frames, got 1"):
        TINY.build().star(tokens[0][:1], (2, 3))


@pytest.mark.parametrize("config", [TINY, LinearHead.Config(width=8, patch=4)])
def test_config_survives_json(config: PairDecoder.Config | LinearHead.Config) -> None:
    plain = json.loads(json.dumps(dataclasses.asdict(config)))
    assert type(config)(**plain).build().config == config

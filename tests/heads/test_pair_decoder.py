import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from jog3r.errors import InputError
from jog3r.heads.linear_head import LinearHead
from jog3r.heads.pair_decoder import PairDecoder

TINY = PairDecoder.Config(in_width=6, width=16, depth=2, num_heads=2)
TOLERANCE: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-5}


class Reference:
    """Decoder and heads with the stored weights."""

    def __init__(self, shared: Path, fixture: str) -> None:
        folder = shared / "parity" / fixture
        config = json.loads((folder / "meta.json").read_text("utf-8"))["config"]
        weights = load_file(folder / "weights.safetensors")
        self.io = load_file(folder / "io.safetensors")
        self.decoder = PairDecoder.Config(
            in_width=config["enc_embed_dim"],
            width=config["dec_embed_dim"],
            depth=config["dec_depth"],
            num_heads=config["dec_num_heads"],
            mlp_ratio=config["mlp_ratio"],
        ).build()
        mine = {k: v for k, v in weights.items() if k.startswith("dec")}
        self.decoder.load_state_dict(mine, strict=True)
        self.heads: list[LinearHead] = []
        for branch in (1, 2):
            prefix = f"downstream_head{branch}."
            head = LinearHead.Config(width=config["dec_embed_dim"], patch=config["patch_size"])
            self.heads.append(head.build())
            state = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
            self.heads[-1].load_state_dict(state, strict=True)


@pytest.mark.parity
def test_every_stored_tensor_and_gradient(shared: Path) -> None:
    reference = Reference(shared, "dust3r")
    io, decoder = reference.io, reference.decoder
    depth, grid = len(decoder.dec_blocks), (3, 4)
    seen: dict[tuple[int, int], Tensor] = {}
    for branch, blocks in ((1, decoder.dec_blocks), (2, decoder.dec_blocks2)):
        for number, block in enumerate(blocks, start=1):

            def keep(_module: Any, _inputs: Any, out: Tensor, key: Any = (branch, number)) -> None:
                seen[key] = out

            block.register_forward_hook(keep)
    decoded = decoder(io["a.enc1"], io["a.enc2"], grid)
    for branch in (1, 2):
        seen[branch, depth] = decoded[branch - 1]  # the last one is stored behind its norm
        for number in range(1, depth + 1):
            expected = io[f"a.dec{branch}.{number}"]
            torch.testing.assert_close(seen[branch, number], expected, **TOLERANCE)

    first, second = (
        head(tokens, grid) for head, tokens in zip(reference.heads, decoded, strict=True)
    )
    torch.testing.assert_close(first.points, io["a.pts3d1"], **TOLERANCE)
    torch.testing.assert_close(second.points, io["a.pts3d2_in_view1"], **TOLERANCE)
    torch.testing.assert_close(first.confidence, io["a.conf1"], **TOLERANCE)
    torch.testing.assert_close(second.confidence, io["a.conf2"], **TOLERANCE)

    loss = first.points.square().mean() + second.points.abs().mean()
    loss = loss + first.confidence.mean() + second.confidence.log().mean()
    loss.backward()
    torch.testing.assert_close(loss, io["a.loss"], **TOLERANCE)
    gradients = {name: p.grad for name, p in decoder.named_parameters()}
    gradients["downstream_head1.proj.bias"] = reference.heads[0].proj.bias.grad
    names = [k.removeprefix("a.grad.") for k in io if k.startswith("a.grad.")]
    names.remove("enc_blocks.0.attn.qkv.weight")  # of the encoder, which is not here
    assert len(names) == 4
    for name in names:
        torch.testing.assert_close(gradients[name], io[f"a.grad.{name}"], atol=1e-7, rtol=1e-4)


@pytest.mark.parity
def test_upright_pairs(shared: Path) -> None:
    """Sample by sample, each with its own grid; stored lying on their side where upright."""
    reference = Reference(shared, "dust3r_manyar")
    io = reference.io
    same = (io["a.true_shape1"] == io["a.true_shape2"]).all(dim=1).nonzero().flatten().tolist()
    assert same
    for sample in same:
        h, w = (io["a.true_shape1"][sample] // 16).tolist()
        one = slice(sample, sample + 1)
        decoded = reference.decoder(io["a.enc1"][one], io["a.enc2"][one], (h, w))
        for branch, name in ((0, "pts3d1"), (1, "pts3d2_in_view1")):
            points = reference.heads[branch](decoded[branch], (h, w)).points
            upright = points if h < w else points.transpose(1, 2)
            torch.testing.assert_close(upright, io[f"a.{name}"][one], **TOLERANCE)


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


def test_backward_touches_every_parameter(tokens: tuple[Tensor, Tensor]) -> None:
    decoder = TINY.build()
    sum(out.square().sum() for out in decoder(*tokens, (2, 3))).backward()  # type: ignore[union-attr]
    untouched = [
        n for n, p in decoder.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    ]
    assert untouched == []


def test_bad_sizes_raise(tokens: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(InputError, match="grid: expected 6 places, got 2 x 2"):
        TINY.build()(*tokens, (2, 2))
    with pytest.raises(InputError, match="width: expected a multiple"):
        dataclasses.replace(TINY, num_heads=3).build()


@pytest.mark.parametrize("config", [TINY, LinearHead.Config(width=8, patch=4)])
def test_config_survives_json(config: PairDecoder.Config | LinearHead.Config) -> None:
    plain = json.loads(json.dumps(dataclasses.asdict(config)))
    assert type(config)(**plain).build().config == config

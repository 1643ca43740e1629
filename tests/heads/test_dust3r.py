import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from jog3r.config import from_plain, to_plain
from jog3r.errors import InputError
from jog3r.heads.dust3r import DUSt3R
from jog3r.heads.pointmap import Pointmap
from jog3r.weights_file import read_weights, write_weights

LINEAR = DUSt3R.Config(
    encoder_width=24,
    encoder_depth=2,
    encoder_heads=3,
    decoder_width=16,
    decoder_depth=3,
    decoder_heads=2,
    head="linear",
)
DPT = dataclasses.replace(
    LINEAR,
    head="dpt",
    dpt_hooks=(0, 1, 2, 3),
    dpt_feature_dim=8,
    dpt_last_dim=4,
    dpt_layer_dims=(4, 4, 6, 6),
)
CLOSE: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(params=[LINEAR, DPT], ids=["linear", "dpt"])
def network(request: pytest.FixtureRequest) -> DUSt3R:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return request.param.build()


def images(generator: torch.Generator, N: int = 3, size: tuple[int, int] = (32, 48)) -> Tensor:
    return torch.rand(N, 3, *size, generator=generator) * 2 - 1


def parts(maps: tuple[Pointmap, Pointmap]) -> list[Tensor]:
    return [*maps[0], *maps[1]]


@pytest.mark.parametrize(
    ("head", "keys", "millions"), [("dpt", 1009, 571.2), ("linear", 877, 532.3)]
)
def test_layout_at_full_size(head: Any, keys: int, millions: float) -> None:
    with torch.device("meta"):
        network = DUSt3R.Config(head=head).build()
    assert len(network.state_dict()) == keys
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == millions


def test_pairs_of_encoded_images_are_what_forward_gives(
    network: DUSt3R, generator: torch.Generator
) -> None:
    first, second = images(generator), images(generator)
    expected = network(first, second)
    got = network.pointmaps(network.encode(first), network.encode(second), (2, 3))
    assert expected[0].points.shape == (3, 32, 48, 3)
    torch.testing.assert_close(parts(got), parts(expected), **CLOSE)


@pytest.mark.parametrize("chunk", [1, 2, 8])
def test_star_is_all_pairs_with_the_first_frame(
    network: DUSt3R, generator: torch.Generator, chunk: int
) -> None:
    tokens = network.encode(images(generator, 5))
    expected = network.pointmaps(tokens[:1].expand(4, -1, -1), tokens[1:], (2, 3))
    got = network.star_pointmaps(tokens, (2, 3), chunk=chunk)
    torch.testing.assert_close(parts(got), parts(expected), **CLOSE)


def test_views_of_a_pair_may_differ_in_size(network: DUSt3R, generator: torch.Generator) -> None:
    first, second = images(generator), images(generator, size=(48, 32))
    expected = network(first, second)
    assert [each.shape[1:3] for each in parts(expected)] == [(32, 48)] * 2 + [(48, 32)] * 2
    got = network.pointmaps(network.encode(first), network.encode(second), (2, 3), (3, 2))
    torch.testing.assert_close(parts(got), parts(expected), **CLOSE)


def test_portrait_images_of_a_mixed_batch(network: DUSt3R, generator: torch.Generator) -> None:
    """Each pair gives what it gives alone and upright, laid back into landscape layout."""
    first, second = images(generator, 4), images(generator, 4)
    shapes = torch.tensor([[32, 48], [48, 32]])
    shape_1, shape_2 = shapes[[0, 1, 0, 1]], shapes[[0, 0, 1, 1]]
    mixed = network(first, second, shape_1, shape_2)
    for pair in range(4):
        turned = [bool(shape[pair, 0] > shape[pair, 1]) for shape in (shape_1, shape_2)]
        upright = [
            view[pair : pair + 1].transpose(2, 3) if turn else view[pair : pair + 1]
            for view, turn in zip((first, second), turned, strict=True)
        ]
        alone = network(*upright)
        for view in (0, 1):
            expected = alone[view].transposed() if turned[view] else alone[view]
            got = Pointmap(*(each[pair : pair + 1] for each in mixed[view]))
            torch.testing.assert_close(got, expected, **CLOSE)


def test_checkpointing_changes_nothing(network: DUSt3R, generator: torch.Generator) -> None:
    first, second = images(generator), images(generator)
    used = {n: p for n, p in network.named_parameters() if "mask_token" not in n}
    used = {n: p for n, p in used.items() if "refinenet4.resConfUnit1" not in n}
    found = []
    for network.gradient_checkpointing in (False, True):
        loss = sum(each.square().mean() for each in parts(network(first, second)))
        found.append(torch.autograd.grad(loss, [*used.values()]))  # type: ignore[arg-type]
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
        assert one.isfinite().all()


def test_config_survives_json(network: DUSt3R) -> None:
    plain = json.loads(json.dumps(to_plain(network.config)))
    assert plain["kind"] == "dust3r"
    assert next(iter(plain)) == "kind"
    assert from_plain(DUSt3R.Config, plain) == network.config


def test_results_are_float32_under_autocast(network: DUSt3R, generator: torch.Generator) -> None:
    first, second = images(generator), images(generator)
    exact = network(first, second)
    with torch.autocast("cpu", torch.bfloat16):
        out = network(first, second)
    for mine, theirs in zip(parts(out), parts(exact), strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, theirs, atol=0.1, rtol=0.1)


def test_inference_leaves_training_possible(network: DUSt3R, generator: torch.Generator) -> None:
    pair = images(generator, 1, (48, 80)), images(generator, 1, (48, 80))
    with torch.inference_mode():
        network(*pair)
    network(*pair)[1].points.sum().backward()


def test_weights_survive_a_file(
    network: DUSt3R, generator: torch.Generator, tmp_path: Path
) -> None:
    write_weights(network, tmp_path)
    with torch.device("meta"):
        other = network.config.build()
    read_weights(other, tmp_path)
    first, second = images(generator), images(generator)
    for mine, theirs in zip(
        parts(network(first, second)), parts(other(first, second)), strict=True
    ):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 32, 40), r"images: expected .* multiples of 16, got \(1, 3, 32, 40\)"),
        ((1, 3, 0, 32), "images: expected"),
        ((0, 3, 32, 32), r"images: expected \(N, 3, H, W\), at least one"),
        ((1, 1, 32, 32), r"images: expected \(N, 3, H, W\)"),
    ],
)
def test_bad_images_raise(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LINEAR.build().encode(torch.zeros(shape))


@pytest.mark.usefixtures("as_a_user")
def test_bad_pairs_raise(network: DUSt3R, generator: torch.Generator) -> None:
    three, two = images(generator), images(generator, 2)
    with pytest.raises(InputError, match="images_2: expected as many as images_1, 3, got 2"):
        network(three, two)
    with pytest.raises(InputError, match=r"images_2: expected \(N, 3, H, W\)"):
        network(three, three[:, :2])
    with pytest.raises(InputError, match="true_shape_1: expected one per image, 3, got 2"):
        network(three, three, torch.tensor([[32, 48]] * 2))
    with pytest.raises(InputError, match="true_shape_2: expected images in landscape layout"):
        network(three, three, None, torch.tensor([[48, 48]] * 3))
    tokens = network.encode(three)
    with pytest.raises(InputError, match=r"tokens_2: expected as many as tokens_1, 3, .* got 2"):
        network.pointmaps(tokens, tokens[:2], (2, 3))
    with pytest.raises(InputError, match=r"tokens_2: expected .* at least one, got 0"):
        network.pointmaps(tokens[:0], tokens[:0], (2, 3))
    with pytest.raises(InputError, match="tokens_1: expected 24 channels, got 7"):
        network.pointmaps(tokens[..., :7], tokens, (2, 3))
    with pytest.raises(InputError, match="grid: expected 6 places, got 2 x 4"):
        network.pointmaps(tokens, tokens, (2, 4))
    with pytest.raises(InputError, match="grid: expected 6 places, got 3 x 3"):
        network.star_pointmaps(tokens, (3, 3))
    with pytest.raises(InputError, match="tokens: expected at least 2 frames, got 1"):
        network.star_pointmaps(tokens[:1], (2, 3))
    with pytest.raises(InputError, match="chunk: expected at least 1, got 0"):
        network.star_pointmaps(tokens, (2, 3), chunk=0)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"head": "mlp"}, r"network.head: expected one of \('linear', 'dpt'\), got 'mlp'"),
        ({"depth_mode": "log"}, "network.depth_mode: expected one of"),
        ({"patch": 8}, "network.patch: expected 16 with a DPT head, got 8"),
        ({"dpt_hooks": (0, 1, 2, 4)}, "network.dpt_hooks: expected 0 and three layers from 1 to 3"),
        ({"dpt_hooks": (1, 1, 2, 3)}, "network.dpt_hooks: expected 0 and three layers"),
        ({"dpt_hooks": (0, 1, 3)}, "network.dpt_hooks: expected 0 and three layers"),
        ({"dpt_layer_dims": (4, 4, 0, 4)}, "network.dpt_layer_dims: expected finite numbers"),
        ({"dpt_layer_dims": (4, 4, 4)}, "network.dpt_layer_dims: expected four"),
        ({"decoder_depth": 0}, "network.decoder_depth: expected finite numbers above 0"),
        ({"encoder_heads": 5}, "width: expected a multiple of 4 times num_heads, got 24"),
    ],
)
def test_bad_configs_raise(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(DPT, **wrong)

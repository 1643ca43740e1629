import json

import pytest
import torch
from torch import Tensor

from jog3r.config import from_plain, to_plain
from jog3r.errors import InputError
from jog3r.heads.dpt_head import DPT, DPTHead

TINY = DPTHead.Config(token_dims=(6, 4, 4, 4), feature_dim=8, last_dim=5, layer_dims=(4, 3, 5, 6))


def tokens(
    generator: torch.Generator, S: int, P: int = 3, first: int | None = None
) -> list[Tensor]:
    counts = (first or P, P, P, P)
    sizes = zip(counts, TINY.token_dims, strict=True)
    return [torch.randn(n, S, D, generator=generator) for n, D in sizes]


@pytest.mark.parametrize("grid", [(1, 1), (1, 4), (3, 2), (5, 7), (4, 6)])
def test_every_grid_gives_16_pixels_a_token(
    grid: tuple[int, int], generator: torch.Generator
) -> None:
    out = TINY.build()(tokens(generator, grid[0] * grid[1]), grid)
    assert out.points.shape == (3, 16 * grid[0], 16 * grid[1], 3)
    assert out.confidence.shape == (3, 16 * grid[0], 16 * grid[1])
    assert out.points.isfinite().all()


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_chunks_change_nothing(chunk: int, generator: torch.Generator) -> None:
    head, three = TINY.build(), tokens(generator, 6)
    torch.testing.assert_close(head(three, (2, 3), chunk=chunk), head(three, (2, 3)))


@pytest.mark.parametrize("chunk", [1, 8])
def test_first_depth_may_come_once(chunk: int, generator: torch.Generator) -> None:
    head, shared = TINY.build(), tokens(generator, 6, first=1)
    repeated = [shared[0].expand(3, -1, -1), *shared[1:]]
    torch.testing.assert_close(head(shared, (2, 3), chunk=chunk), head(repeated, (2, 3)))


def test_views_do_not_mix(generator: torch.Generator) -> None:
    head, three = TINY.build(), tokens(generator, 6)
    other = [each.clone() for each in three]
    for each in other:
        each[1] += 1.0
    before, after = head(three, (2, 3)), head(other, (2, 3))
    changed = (before.points != after.points).flatten(1).any(dim=1)
    assert changed.tolist() == [False, True, False]


def test_backward_touches_every_parameter_that_is_used(generator: torch.Generator) -> None:
    head = TINY.build()
    out = head(tokens(generator, 6), (2, 3))
    (out.points.sum() + out.confidence.log().sum()).backward()
    untouched = {name for name, p in head.named_parameters() if p.grad is None}
    unused = "dpt.scratch.refinenet4.resConfUnit1."
    assert untouched == {f"{unused}conv{n}.{part}" for n in (1, 2) for part in ("weight", "bias")}


def test_result_is_float32_under_autocast(generator: torch.Generator) -> None:
    head, three = TINY.build(), tokens(generator, 6)
    exact = head(three, (2, 3))
    with torch.autocast("cpu", torch.bfloat16):
        out = head(three, (2, 3))
    assert out.points.dtype == out.confidence.dtype == torch.float32
    torch.testing.assert_close(out, exact, atol=2e-2, rtol=2e-2)


def test_both_names_of_a_projection_are_one_tensor() -> None:
    state = DPT(TINY).state_dict()
    for number in range(4):
        first = state[f"scratch.layer{number + 1}_rn.weight"]
        assert first.data_ptr() == state[f"scratch.layer_rn.{number}.weight"].data_ptr()


def test_bad_sizes_raise(generator: torch.Generator) -> None:
    head, three = TINY.build(), tokens(generator, 6)
    for wrong, grid in (
        (three, (2, 2)),
        (three[:3], (2, 3)),
        ([], (2, 3)),
        ([*three[:3], three[3][:2]], (2, 3)),
        ([*three[:3], three[0]], (2, 3)),
    ):
        with pytest.raises(InputError, match="tokens: expected sizes"):
            head(wrong, grid)
    with pytest.raises(InputError, match="chunk: expected at least 1, got 0"):
        head(three, (2, 3), chunk=0)


def test_config_survives_json() -> None:
    plain = json.loads(json.dumps(to_plain(TINY)))
    assert from_plain(DPTHead.Config, plain).build().config == TINY

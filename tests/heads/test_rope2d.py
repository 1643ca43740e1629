from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from jog3r.errors import InputError
from jog3r.heads.rope2d import Rotation, rotate, rotation_at, rotation_of_grid


@pytest.mark.parity
@pytest.mark.parametrize(
    ("case", "base", "scale"), [("f100", 100.0, 1.0), ("f10", 10.0, 1.0), ("f100_F05", 100.0, 0.5)]
)
def test_stored_rotations(
    parity: Callable[[str], Path], case: str, base: float, scale: float
) -> None:
    io = load_file(parity("rope2d") / "io.safetensors")
    tokens = io[f"{case}.tokens"]
    at = rotation_at(io[f"{case}.positions"], tokens.shape[-1], base=base, scale=scale)
    every_head = Rotation(at.cos[:, None], at.sin[:, None])
    got = rotate(tokens, every_head)
    torch.testing.assert_close(got, io[f"{case}.out"], atol=1e-6, rtol=1e-6)


whole = st.integers(-20, 20)


@given(st.tuples(whole, whole), st.tuples(whole, whole), st.tuples(whole, whole))
def test_products_depend_on_the_offset_only(
    a: tuple[int, int], b: tuple[int, int], move: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 2, 8, generator=generator, dtype=torch.float64)

    def product(shift: tuple[int, int]) -> torch.Tensor:
        places = torch.tensor([a, b]) + torch.tensor(shift)
        at = rotation_at(places, 8)
        return rotate(q, at)[0] @ rotate(k, at)[1]

    torch.testing.assert_close(product(move), product((0, 0)), atol=1e-4, rtol=1e-4)


def test_rotation_keeps_lengths_and_starts_at_none(generator: torch.Generator) -> None:
    tokens = torch.randn(2, 3, 12, 16, generator=generator)
    turned = rotate(tokens, rotation_of_grid(3, 4, 16, 100.0, torch.device("cpu")))
    torch.testing.assert_close(turned.norm(dim=-1), tokens.norm(dim=-1))
    assert torch.equal(turned[:, :, 0], tokens[:, :, 0])
    assert not torch.equal(turned, tokens)


def test_grid_is_row_by_row() -> None:
    places = torch.tensor([[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]])
    grid, listed = rotation_of_grid(2, 3, 8, 100.0, torch.device("cpu")), rotation_at(places, 8)
    assert torch.equal(grid.cos, listed.cos)
    assert torch.equal(grid.sin, listed.sin)


def test_precision_of_the_tokens_is_kept(generator: torch.Generator) -> None:
    tokens = torch.randn(4, 8, generator=generator, dtype=torch.bfloat16)
    assert rotate(tokens, rotation_of_grid(2, 2, 8, 100.0, torch.device("cpu"))).dtype == (
        torch.bfloat16
    )


def test_odd_heads_raise() -> None:
    with pytest.raises(InputError, match="head_channels: expected a multiple of 4, got 6"):
        rotation_at(torch.zeros(1, 2), 6)

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from jog3r.heads.doubled_convolution import convolve_doubled, doubled

side = st.integers(1, 40)


def layer(C: int = 3, out: int = 2, dtype: torch.dtype = torch.float64) -> nn.Conv2d:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Conv2d(C, out, 3, padding=1, dtype=dtype)


@given(side, side)
def test_it_is_the_convolution_of_the_doubled_map(h: int, w: int) -> None:
    conv, generator = layer(), torch.Generator().manual_seed(h + 100 * w)
    x = torch.randn(2, 3, h, w, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(convolve_doubled(x, conv), conv(doubled(x)))


def test_rounding_errors_are_as_large_as_the_plain_way_has_them(generator: torch.Generator) -> None:
    conv, exact = layer(64, 32, torch.float32), layer(64, 32)
    exact.load_state_dict(conv.state_dict())
    x = torch.randn(1, 64, 24, 40, generator=generator)
    truth = exact(doubled(x.double()))
    mine, plain = ((y - truth).abs().max() for y in (convolve_doubled(x, conv), conv(doubled(x))))
    assert mine < 1.5 * plain < 1e-4


def test_gradients_are_those_of_the_plain_way(generator: torch.Generator) -> None:
    conv = layer()
    x = torch.randn(2, 3, 5, 18, generator=generator, dtype=torch.float64, requires_grad=True)
    leaves = (x, *conv.parameters())
    mine, plain = (
        torch.autograd.grad(y.square().sum(), leaves)
        for y in (convolve_doubled(x, conv), conv(doubled(x)))
    )
    torch.testing.assert_close(mine, plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_follows_pointwise_sees_channels_last(
    dtype: torch.dtype, generator: torch.Generator
) -> None:
    conv, mixing = layer(dtype=dtype), nn.Linear(2, 5, dtype=dtype)
    x = torch.randn(2, 3, 9, 7, generator=generator).to(dtype)
    got = convolve_doubled(x, conv, mixing)
    expected = mixing(conv(doubled(x)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    assert got.shape == (2, 5, 18, 14)
    torch.testing.assert_close(got, expected)


def test_autocast_takes_the_plain_way(generator: torch.Generator) -> None:
    conv, x = layer(dtype=torch.float32), torch.randn(1, 3, 8, 8, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        got, expected = convolve_doubled(x, conv), conv(doubled(x))
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, expected)


def test_tables_made_in_inference_serve_training(generator: torch.Generator) -> None:
    conv, x = layer(), torch.randn(1, 3, 31, 37, generator=generator, dtype=torch.float64)
    with torch.inference_mode():
        convolve_doubled(x, conv)
    convolve_doubled(x.requires_grad_(), conv).sum().backward()
    assert x.grad is not None

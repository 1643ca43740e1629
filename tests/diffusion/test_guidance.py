import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jog3r.diffusion.guidance import guide
from jog3r.errors import InputError

SHAPE = (6, 8, 2, 3, 3)


def both(seed: int = 0) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def test_it_goes_on_along_the_line_through_both() -> None:
    constant = torch.ones(1, 2, 1, 1, 1)
    guided = guide(torch.cat([2.0 * constant, 5.0 * constant]), 4.0, channels=2)
    assert torch.equal(guided, 14.0 * constant)  # 2 + 4 * (5 - 2)


@pytest.mark.parametrize(("scale", "half"), [(1.0, 1), (0.0, 0)])
def test_scales_one_and_zero_are_the_halves(scale: float, half: int) -> None:
    prediction = both()
    guided = guide(prediction, scale, channels=8)
    torch.testing.assert_close(guided, prediction.chunk(2)[half])


@settings(max_examples=20, deadline=None)
@given(st.floats(min_value=0.0, max_value=100.0), st.integers(min_value=0, max_value=100))
def test_variance_channels_are_those_of_the_conditional_half(scale: float, seed: int) -> None:
    prediction = both(seed)
    guided = guide(prediction, scale, channels=4)
    assert guided.shape == (3, 8, 2, 3, 3)
    assert torch.equal(guided[:, 4:], prediction[3:, 4:])
    assert torch.equal(guided[:, :4], guide(prediction[:, :4], scale, channels=4))


@settings(max_examples=20, deadline=None)
@given(st.floats(min_value=-5.0, max_value=20.0))
def test_equal_halves_stay_what_they_are(scale: float) -> None:
    half = both()[:3]
    assert torch.equal(guide(torch.cat([half, half]), scale, channels=4), half)


@pytest.mark.parametrize(("samples", "channels"), [(5, 4), (6, 9), (6, 0)])
def test_no_two_halves_or_too_few_channels(samples: int, channels: int) -> None:
    with pytest.raises(InputError, match="prediction: expected two halves of a batch"):
        guide(both()[:samples], 2.0, channels=channels)

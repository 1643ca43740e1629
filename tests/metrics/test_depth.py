"""Depth metrics against closed forms."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jog3r.errors import InputError
from jog3r.metrics.depth import constant_depth, depth_errors

TRUTH = torch.tensor([[[1.0, 2.0, 4.0], [5.0, 8.0, 10.0]]])


def test_closed_form_without_scale() -> None:
    errors = depth_errors(TRUTH + 1.0, TRUTH, scale="none")
    assert errors.abs_rel == pytest.approx((1 + 1 / 2 + 1 / 4 + 1 / 5 + 1 / 8 + 1 / 10) / 6)
    # Ratios 2, 1.5, 1.25, 1.2, ...: exactly 1.25 is not below.
    assert errors.delta == pytest.approx(3 / 6)
    assert errors.scale == 1.0


@settings(deadline=None, max_examples=20)
@given(factor=st.floats(1e-3, 1e3))
@pytest.mark.parametrize("scale", ["median", "least-squares"])
def test_a_common_factor_is_taken_out(scale, factor: float) -> None:
    errors = depth_errors(factor * TRUTH.double(), TRUTH.double(), scale=scale)
    assert errors.abs_rel == pytest.approx(0, abs=1e-9)
    assert errors.delta == 1.0
    assert errors.scale == pytest.approx(1 / factor)


def test_least_squares_scale_is_the_minimiser() -> None:
    found = TRUTH.flip(-1)
    best = depth_errors(found, TRUTH, scale="least-squares").scale

    def loss(factor: float) -> float:
        return float((factor * found - TRUTH).square().sum())

    assert loss(best) < min(loss(0.99 * best), loss(1.01 * best))


def test_the_median_scale_withstands_outliers() -> None:
    found = 2 * TRUTH
    found[0, 1, 2] = 1e6
    assert depth_errors(found, TRUTH).scale == pytest.approx(0.5)
    assert depth_errors(found, TRUTH, scale="least-squares").scale < 1e-3


def test_invalid_pixels_do_not_count_and_missing_estimates_lower_coverage() -> None:
    truth, found = TRUTH.clone(), TRUTH.clone()
    truth[0, 0, 0], found[0, 0, 0] = 0.0, 77.0  # no truth
    found[0, 0, 1] = 0.0  # no estimate
    found[0, 0, 2] = float("nan")
    errors = depth_errors(found, truth)
    assert errors.abs_rel == 0.0
    assert errors.coverage == pytest.approx(3 / 5)
    valid = truth > 4.5
    assert depth_errors(found, truth, valid).coverage == 1.0


def test_a_wall_is_scored_by_the_spread_of_the_depth() -> None:
    errors = depth_errors(constant_depth(TRUTH), TRUTH, scale="none")
    assert errors.abs_rel == pytest.approx((0 + 1 / 2 + 3 / 4 + 4 / 5 + 7 / 8 + 9 / 10) / 6)
    flat = torch.full((1, 2, 3), 3.0)
    assert depth_errors(constant_depth(flat), flat).abs_rel == pytest.approx(0, abs=1e-6)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("estimate", "truth", "valid", "scale", "message"),
    [
        (TRUTH[:, :1], TRUTH, None, "median", "the shape of truth"),
        (TRUTH, TRUTH, torch.ones(2, 3).bool(), "median", "the shape of truth"),
        (TRUTH, 0 * TRUTH, None, "median", "truth: expected finite, positive"),
        (TRUTH, TRUTH, torch.zeros(1, 2, 3).bool(), "median", "in a valid pixel, got none"),
        (-TRUTH, TRUTH, None, "median", "estimate: expected positive depth"),
        (TRUTH, TRUTH, None, "mean", "scale: expected 'median'"),
    ],
)
def test_wrong_arguments_give_one_clear_error(estimate, truth, valid, scale, message: str) -> None:
    with pytest.raises(InputError, match=message):
        depth_errors(estimate, truth, valid, scale=scale)

"""RotErr and TransErr against closed forms, and what their scale rules do."""

import math
from typing import Any

import pytest
import roma
import torch

from jog3r.errors import InputError
from jog3r.geometry import rigid
from jog3r.metrics import camera_control_errors, no_motion, straight_forward
from tests.scenes import scene


def test_both_are_sums_over_frames() -> None:
    truth = straight_forward(4).double()
    estimate = truth.clone()
    angle = torch.tensor([0.0, 0.1, 0.2, 0.3]).double()
    turns = torch.stack([0 * angle, angle, 0 * angle], dim=-1)
    estimate[:, :3, :3] = roma.rotvec_to_rotmat(turns)
    estimate[:, 0, 3] = torch.tensor([0.0, 0.0, 1.0, 2.0]).double()
    errors = camera_control_errors(estimate, truth, scale_rule="none")
    assert errors.rot_err == pytest.approx(0.6)
    assert errors.trans_err == pytest.approx(1 + 4)
    assert errors.trans_err_unsquared == pytest.approx(1 + 2)
    assert (errors.scale, errors.coverage) == (1.0, 1.0)


def test_only_what_is_relative_to_the_first_frame_counts() -> None:
    truth = scene("handheld", frames=5, size=(4, 4), seed=3).world_from_camera
    turn = roma.rotvec_to_rotmat(torch.tensor([0.4, -2.0, 1.0]).double())
    elsewhere = rigid(turn, torch.tensor([4.0, 5.0, 6.0]).double())
    errors = camera_control_errors(elsewhere @ truth, truth, scale_rule="none")
    assert errors.rot_err == pytest.approx(0, abs=1e-6)
    assert errors.trans_err_unsquared == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("rule", "scale"), [("first-step", 0.5), ("least-squares", 0.8), ("none", 1.0)]
)
def test_the_scale_follows_the_rule(rule, scale: float) -> None:
    # The estimate's steps are 2, 0.5 against 1, 1: positions 2, 2.5 against 1, 2.
    truth, estimate = straight_forward(3), straight_forward(3)
    estimate[:, 2, 3] = torch.tensor([0.0, 2.0, 2.5])
    if rule == "least-squares":
        scale = (2 * 1 + 2.5 * 2) / (4 + 6.25)
    errors = camera_control_errors(estimate, truth, scale_rule=rule)
    assert errors.scale == pytest.approx(scale)
    assert errors.trans_err == pytest.approx((2 * scale - 1) ** 2 + (2.5 * scale - 2) ** 2)
    assert errors.scale_rule == rule


@pytest.mark.parametrize("rule", ["first-step", "least-squares"])
def test_a_scaled_estimate_is_right(rule) -> None:
    truth = scene("arc", frames=5, size=(4, 4)).world_from_camera
    estimate = truth.clone()
    estimate[:, :3, 3] *= 7
    errors = camera_control_errors(estimate, truth, scale_rule=rule)
    assert errors.trans_err == pytest.approx(0, abs=1e-9)
    assert errors.scale == pytest.approx(1 / 7)


@pytest.mark.parametrize("rule", ["first-step", "least-squares", "none"])
def test_no_motion_scores_the_distance_from_the_start(rule) -> None:
    errors = camera_control_errors(no_motion(4), straight_forward(4), scale_rule=rule)
    assert errors.trans_err == 1 + 4 + 9
    assert errors.rot_err == 0.0
    assert errors.scale == 1.0


def test_missing_frames_lower_coverage_and_are_left_out() -> None:
    truth, estimate = straight_forward(4), 0 * straight_forward(4) + no_motion(4)
    estimate[3] = float("nan")
    errors = camera_control_errors(estimate, truth, scale_rule="none")
    assert errors.coverage == 0.75
    assert errors.trans_err == 1 + 4
    assert math.isnan(float(errors.distance[3]))
    mask = torch.tensor([True, True, True, False])
    assert camera_control_errors(no_motion(4), truth, mask, scale_rule="none").trans_err == 5


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale_rule": "median"}, "scale_rule: expected one of"),
        ({"estimate": straight_forward(3)}, "as many frames"),
        ({"valid": torch.tensor([False, True, True, True])}, "the first missing"),
        ({"valid": torch.tensor([True, False, True, True])}, "use 'least-squares'"),
        ({"estimate": no_motion(1), "truth": no_motion(1)}, "at least one more"),
    ],
)
def test_wrong_arguments_give_one_clear_error(change: dict, message: str) -> None:
    given: dict[str, Any] = {"estimate": straight_forward(4), "truth": straight_forward(4)} | change
    with pytest.raises(InputError, match=message):
        camera_control_errors(**given)


def test_an_estimate_that_waits_has_no_first_step() -> None:
    late = straight_forward(4)
    late[:, 2, 3] = torch.tensor([0.0, 0.0, 1.0, 2.0])
    with pytest.raises(InputError, match="use 'least-squares'"):
        camera_control_errors(late, straight_forward(4))
    assert camera_control_errors(late, straight_forward(4), scale_rule="least-squares").scale > 1

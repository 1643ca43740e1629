"""Relative pose metrics against closed forms, and their invariances."""

import math

import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jog3r.errors import InputError
from jog3r.geometry import rigid
from jog3r.metrics.relative_pose import (
    RelativePoseErrors,
    no_motion,
    relative_pose_errors,
    straight_forward,
)
from tests.scenes import scene


def turned(degrees: list[float], positions: list[list[float]]) -> torch.Tensor:
    """Return cameras turned about the y axis."""
    angle = torch.tensor(degrees).double().deg2rad()
    rotvec = torch.stack([0 * angle, angle, 0 * angle], dim=-1)
    return rigid(roma.rotvec_to_rotmat(rotvec), torch.tensor(positions, dtype=torch.float64))


def test_rotation_errors_are_the_angles_by_which_relative_rotations_differ() -> None:
    still = [[0.0, 0.0, 0.0]] * 3
    truth, estimate = turned([0, 10, 20], still), turned([0, 13, 28], still)
    errors = relative_pose_errors(estimate, truth)
    expected = torch.tensor([3.0, 8.0, 5.0]).double()  # pairs 01, 02, 12
    torch.testing.assert_close(errors.rotation_deg, expected)
    assert errors.rra(4.0) == pytest.approx(1 / 3)
    assert errors.rra(5.1) == pytest.approx(2 / 3)


@pytest.mark.parametrize("degrees", [0.0, 1e-3, 30.0, 89.0, 91.0, 150.0, 180.0])
def test_direction_errors_are_signed_or_blind(degrees: float) -> None:
    angle = math.radians(degrees)
    truth = turned([0, 0], [[0, 0, 0], [0, 0, 1]])
    estimate = turned([0, 0], [[0, 0, 0], [7 * math.sin(angle), 0, 7 * math.cos(angle)]])
    errors = relative_pose_errors(estimate, truth)
    assert float(errors.direction_deg) == pytest.approx(degrees, abs=1e-5)
    assert float(errors.line_deg) == pytest.approx(min(degrees, 180 - degrees), abs=1e-5)
    assert errors.rta(35) == float(degrees < 35)
    assert errors.rta(35, sign_blind=True) == float(min(degrees, 180 - degrees) < 35)


def test_directions_are_compared_in_the_first_camera_of_the_pair() -> None:
    # Both cameras of the estimate turned alike: the direction in the world differs, in them not.
    truth = turned([0, 0], [[0, 0, 0], [0, 0, 1]])
    estimate = turned([90, 90], [[0, 0, 0], [1, 0, 0]])
    assert float(relative_pose_errors(estimate, truth).direction_deg) == pytest.approx(0, abs=1e-6)


def errors_of(rotation: list[float], direction: list[float]) -> RelativePoseErrors:
    all_true = torch.ones(len(rotation), dtype=torch.bool)
    return RelativePoseErrors(
        torch.tensor(rotation), torch.tensor(direction), all_true, all_true.clone()
    )


@pytest.mark.parametrize(
    ("rotation", "direction", "expected"),
    [
        ([0.0], [0.0], 1.0),
        ([0.5], [0.2], 1.0),
        ([0.5], [12.5], 18 / 30),  # below the thresholds 13 ... 30
        ([12.5], [0.5], 18 / 30),  # the larger of the two counts
        ([29.5], [0.0], 1 / 30),
        ([30.5], [0.0], 0.0),
        ([0.5, 12.5], [0.0, 0.0], (30 + 18) / 60),
    ],
)
def test_auc_is_the_mean_share_over_thresholds(rotation, direction, expected: float) -> None:
    assert errors_of(rotation, direction).auc() == pytest.approx(expected)


@settings(deadline=None, max_examples=30)
@given(error=st.floats(0.0, 60.0))
def test_auc_in_bins_is_above_the_integral_by_less_than_a_bin(error: float) -> None:
    errors = errors_of([error], [0.0])
    assert errors.auc_exact() == pytest.approx(max(1 - error / 30, 0), abs=1e-6)
    assert -1e-6 <= errors.auc() - errors.auc_exact() <= 1 / 30 + 1e-6


def test_pairs_that_the_estimate_lacks_count_as_wrong() -> None:
    truth = scene("arc", frames=4, size=(4, 4)).world_from_camera
    estimate = truth.clone()
    estimate[3] = float("nan")
    for errors in (
        relative_pose_errors(estimate, truth),
        relative_pose_errors(truth, truth, torch.arange(4) < 3),
    ):
        assert errors.estimated == errors.rra(5) == errors.rta(5) == 0.5
        assert errors.auc() == errors.auc_exact() == errors.rta(5, sign_blind=True) == 0.5
        assert errors.coverage == 1.0


def test_auc_joins_both_errors_pair_by_pair() -> None:
    # Half of the pairs have a bad rotation, the other half a bad direction: no pair is good.
    errors = errors_of([0.0, 90.0], [90.0, 0.0])
    assert errors.rra(30) == errors.rta(30) == 0.5
    assert errors.auc() == 0.0


def test_a_sign_flip_costs_the_signed_measure_only() -> None:
    errors = errors_of([1.0], [179.0])
    assert (errors.rta(5), errors.rta(5, sign_blind=True)) == (0.0, 1.0)
    assert (errors.auc(), errors.auc(sign_blind=True)) == (0.0, pytest.approx(29 / 30))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31 - 1))
def test_world_frame_and_scale_do_not_matter(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    truth = scene("handheld", frames=4, size=(4, 4), seed=seed % 7).world_from_camera
    noise = 0.2 * torch.randn(5, 3, generator=generator, dtype=torch.float64)
    estimate = truth @ rigid(roma.rotvec_to_rotmat(noise[:4]), noise[:4].flip(0))
    moved = rigid(roma.rotvec_to_rotmat(9 * noise[4]), noise[4]) @ estimate
    moved[:, :3, 3] *= 11.0
    a, b = relative_pose_errors(estimate, truth), relative_pose_errors(moved, truth)
    torch.testing.assert_close(a.rotation_deg, b.rotation_deg, rtol=0, atol=1e-4)
    torch.testing.assert_close(a.direction_deg, b.direction_deg, rtol=0, atol=1e-4)


def test_no_motion_has_no_right_direction() -> None:
    truth = scene("forward", frames=4, size=(4, 4), turn_deg=0.0).world_from_camera
    errors = relative_pose_errors(no_motion(4).double(), truth)
    assert errors.rra(1) == 1.0
    assert bool((errors.direction_deg == 180).all())
    assert bool((errors.line_deg == 90).all())
    assert errors.rta(180) == errors.rta(90, sign_blind=True) == errors.auc() == 0.0


def test_straight_forward_is_right_about_a_dolly() -> None:
    truth = scene("forward", frames=4, size=(4, 4), turn_deg=0.0).world_from_camera
    errors = relative_pose_errors(straight_forward(4).double(), truth)
    assert errors.auc() == errors.rta(1) == errors.coverage == 1.0


def test_pairs_without_a_true_baseline_lower_coverage_and_count_for_rotation_alone() -> None:
    truth = turned([0, 0, 0], [[0, 0, 0], [0, 0, 0], [0, 0, 1]])
    estimate = turned([0, 40, 0], [[0, 0, 0], [1, 0, 0], [0, 0, 1]])
    errors = relative_pose_errors(estimate, truth)
    assert errors.coverage == pytest.approx(2 / 3)
    assert errors.rra(30) == pytest.approx(1 / 3)
    assert errors.rta(5) == pytest.approx(1 / 2)


def test_a_static_clip_has_no_translation_score() -> None:
    errors = relative_pose_errors(straight_forward(3), no_motion(3))
    assert errors.coverage == 0.0
    assert errors.rra(1) == 1.0
    assert math.isnan(errors.rta(30))
    assert math.isnan(errors.auc())


def test_pooled_clips_count_pair_by_pair() -> None:
    one, three = errors_of([1.0], [1.0]), errors_of([1.0, 40.0, 40.0], [1.0, 1.0, 1.0])
    assert RelativePoseErrors.pooled([one, three]).rra(30) == 0.5
    with pytest.raises(InputError, match="at least one"):
        RelativePoseErrors.pooled([])


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("estimate", "truth", "message"),
    [
        (no_motion(3), no_motion(4), "as many frames as the truth"),
        (no_motion(1), no_motion(1), "at least two"),
        (no_motion(3)[None], no_motion(3)[None], "as many frames"),
        (2 * no_motion(3), no_motion(3), "estimate: expected the last row"),
        (no_motion(3), torch.full((3, 4, 4), float("nan")), "truth: expected finite"),
        (no_motion(3)[:, :3], no_motion(3), "use to_homogeneous"),
    ],
)
def test_wrong_arguments_give_one_clear_error(estimate, truth, message: str) -> None:
    with pytest.raises(InputError, match=message):
        relative_pose_errors(estimate, truth)

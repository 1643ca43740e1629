"""ATE and RPE against the reference tool's stored values, closed forms, and their invariances."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jog3r.errors import InputError
from jog3r.export.kitti import read_kitti
from jog3r.export.tum import read_tum
from jog3r.geometry import rigid
from jog3r.metrics import (
    absolute_trajectory_error,
    associate,
    no_motion,
    relative_trajectory_error,
    straight_forward,
)
from jog3r.metrics.trajectories import ErrorSummary, align_trajectory
from tests.scenes import scene

DATA = Path(__file__).parent / "data"
STORED = json.loads((DATA / "expected.json").read_text())["results"]
TUM = [row for row in STORED if "tum" in row["command"]]
SUMS = ("rmse", "mean", "median", "max")
# Printed to six decimals; cameras are read as float32, which turns 1e-7 rad or 6e-6 deg.
LENGTH, ANGLE_DEG, DIGIT = 6e-7, 6e-6, 5.1e-7


def found(row: dict, estimate: Tensor, truth: Tensor) -> ErrorSummary:
    """Compute what a row of the stored values is about."""
    name = row["metric"]
    if name.startswith("ATE"):
        alignment = next(a for a in ("no", "rigid", "similarity") if f"{a} alignment" in name)
        errors = absolute_trajectory_error(
            estimate,
            truth,
            alignment="none" if alignment == "no" else alignment,  # type: ignore[arg-type]
        )
    else:
        errors = relative_trajectory_error(estimate, truth, alignment="none", delta_frames=1)
    assert errors.coverage == 1.0
    return errors.rotation_deg if "rotation" in name else errors.translation


def label(row: dict) -> str:
    return f"{Path(row['estimate']).stem}: {row['metric']}"


def tum_in_double(path: Path) -> tuple[Tensor, Tensor]:
    """Return time stamps and cameras."""
    lines = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    table = torch.tensor([[float(word) for word in line] for line in lines], dtype=torch.float64)
    quaternion = table[:, 4:] / table[:, 4:].norm(dim=1, keepdim=True)
    return table[:, 0], rigid(roma.unitquat_to_rotmat(quaternion), table[:, 1:4])


@pytest.mark.parity
@pytest.mark.parametrize("row", TUM, ids=label)
def test_tum_values_are_those_of_the_reference_tool(row: dict) -> None:
    (found_s, estimate), (true_s, truth) = (
        tum_in_double(DATA / row[name]) for name in ("estimate", "reference")
    )
    i, j = associate(found_s, true_s)
    got = found(row, estimate[i], truth[j])
    for name in SUMS:
        assert getattr(got, name) == pytest.approx(row[name], rel=0, abs=DIGIT), name


@pytest.mark.parity
@pytest.mark.parametrize("row", TUM, ids=label)
def test_tum_files_read_as_float32_lose_the_last_digit_only(row: dict) -> None:
    estimate, truth = (read_tum(DATA / row[name]) for name in ("estimate", "reference"))
    i, j = associate(estimate.timestamps_s, truth.timestamps_s)
    assert len(i) == 785
    got = found(row, estimate.world_from_camera[i], truth.world_from_camera[j])
    for name in SUMS:
        tolerance = ANGLE_DEG if "degrees" in row["metric"] else LENGTH
        assert getattr(got, name) == pytest.approx(row[name], rel=0, abs=tolerance), name


@pytest.fixture(scope="module")
def kitti(shared: Path) -> tuple[list[dict], Callable[[str], Path]]:
    """Return the stored values, and a function that finds a file; not ours to copy."""
    folder = shared / "data" / "trajectory_eval"
    rows = json.loads((folder / "expected.json").read_text())["results"]
    return [row for row in rows if "kitti" in row["command"]], folder.joinpath


def in_double(path: Path) -> Tensor:
    rows = [[float(word) for word in line.split()] for line in path.read_text().splitlines()]
    cameras = torch.eye(4).double().repeat(len(rows), 1, 1)
    cameras[:, :3] = torch.tensor(rows, dtype=torch.float64).reshape(-1, 3, 4)
    return cameras


@pytest.mark.parity
def test_kitti_values_are_those_of_the_reference_tool(kitti) -> None:
    rows, file = kitti
    assert len(rows) == 6
    for row in rows:
        estimate, truth = (in_double(file(row[name])) for name in ("estimate", "reference"))
        got = found(row, estimate, truth)
        for name in SUMS:
            assert getattr(got, name) == pytest.approx(row[name], rel=0, abs=DIGIT), label(row)


@pytest.mark.parity
def test_kitti_files_read_as_float32_lose_the_last_digits_only(kitti) -> None:
    rows, file = kitti
    estimate, truth = (read_kitti(file(rows[0][name])) for name in ("estimate", "reference"))
    for row in rows:
        got = found(row, estimate, truth)
        for name in SUMS:
            # Positions of 500 m are exact to 3e-5 m.
            assert getattr(got, name) == pytest.approx(row[name], rel=0, abs=6e-5), label(row)


def noisy(seed: int = 0, frames: int = 6) -> tuple[Tensor, Tensor]:
    """Return an estimate and its truth."""
    truth = scene("handheld", frames=frames, size=(4, 4), seed=seed % 7).world_from_camera
    generator = torch.Generator().manual_seed(seed)
    # Off the straight line, about which a fit could turn as the noise likes.
    truth[:, :3, 3] += 0.5 * torch.randn(frames, 3, generator=generator, dtype=torch.float64)
    noise = 0.05 * torch.randn(2, frames, 3, generator=generator, dtype=torch.float64)
    return truth @ rigid(roma.rotvec_to_rotmat(noise[0]), noise[1]), truth


def moved(cameras: Tensor, scale: float) -> Tensor:
    numbers = torch.tensor([[0.3, -1.0, 2.0], [4.0, 5.0, 6.0]], dtype=torch.float64)
    turn = rigid(roma.rotvec_to_rotmat(numbers[0]), numbers[1])
    scaled = cameras.clone()
    scaled[:, :3, 3] *= scale
    return turn @ scaled


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31 - 1), scale=st.floats(0.1, 10.0))
def test_alignment_takes_out_what_it_says(seed: int, scale: float) -> None:
    estimate, truth = noisy(seed)
    for alignment, factor in (("rigid", 1.0), ("similarity", scale)):
        a = absolute_trajectory_error(estimate, truth, alignment=alignment)  # type: ignore[arg-type]
        b = absolute_trajectory_error(moved(estimate, factor), truth, alignment=alignment)  # type: ignore[arg-type]
        assert vars(a.translation) == pytest.approx(vars(b.translation), abs=1e-6)
        assert vars(a.rotation_deg) == pytest.approx(vars(b.rotation_deg), abs=1e-4)
    rmse = [
        absolute_trajectory_error(estimate, truth, alignment=alignment).translation.rmse
        for alignment in ("none", "rigid", "similarity")
    ]
    assert rmse == sorted(rmse, reverse=True)
    one = relative_trajectory_error(estimate, truth, alignment="similarity")
    two = relative_trajectory_error(moved(estimate, scale), truth, alignment="similarity")
    assert vars(one.translation) == pytest.approx(vars(two.translation), abs=1e-6)


def test_errors_without_alignment_are_plain_differences() -> None:
    truth = straight_forward(4).double()
    turn = roma.rotvec_to_rotmat(torch.tensor([0.0, math.radians(10), 0.0], dtype=torch.float64))
    estimate = truth.clone()
    estimate[:, 0, 3] = torch.tensor([0.0, 3.0, 0.0, 4.0])
    estimate[2:, :3, :3] = turn
    error = absolute_trajectory_error(estimate, truth, alignment="none")
    assert error.translation == ErrorSummary(2.5, 1.75, 1.5, 4.0)
    assert error.rotation_deg.mean == pytest.approx(5.0)
    steps = relative_trajectory_error(estimate, truth, alignment="none", delta_frames=2)
    # 0 -> 2 and 1 -> 3: no shift and 10 degrees; one to the right and 10 degrees.
    assert steps.translation.mean == pytest.approx(0.5)
    assert steps.rotation_deg.max == pytest.approx(10.0)
    assert steps.delta_frames == 2


def test_the_scale_of_the_estimate_matters_without_alignment_only() -> None:
    truth = noisy(3)[1]
    twice = truth.clone()
    twice[:, :3, 3] *= 2
    assert absolute_trajectory_error(twice, truth, alignment="rigid").translation.rmse > 0.01
    assert absolute_trajectory_error(twice, truth).translation.rmse < 1e-6
    assert absolute_trajectory_error(twice, truth).scale == pytest.approx(0.5)
    assert relative_trajectory_error(twice, truth, alignment="none").translation.mean > 0.01
    assert relative_trajectory_error(twice, truth).translation.mean < 1e-6


def test_on_a_straight_line_positions_are_compared_and_rotations_are_not() -> None:
    truth = straight_forward(4)
    tilted = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]) @ truth[:, :3]
    estimate = torch.cat([tilted, truth[:, 3:]], dim=1)
    error = absolute_trajectory_error(estimate, truth, alignment="similarity")
    assert error.translation.max == pytest.approx(0, abs=1e-6)
    assert math.isnan(error.rotation_deg.rmse)
    assert absolute_trajectory_error(estimate, truth, alignment="none").rotation_deg.max == (
        pytest.approx(90, abs=1e-3)
    )


def test_no_motion_scores_the_spread_of_the_truth() -> None:
    truth = noisy(1)[1]
    positions = truth[:, :3, 3]
    spread = float((positions - positions.mean(dim=0)).norm(dim=-1).square().mean().sqrt())
    for alignment in ("rigid", "similarity"):
        error = absolute_trajectory_error(no_motion(6), truth, alignment=alignment)  # type: ignore[arg-type]
        assert error.translation.rmse == pytest.approx(spread, rel=1e-5)
    steps = relative_trajectory_error(no_motion(6), truth)
    true_steps = (positions.diff(dim=0)).norm(dim=-1)
    assert steps.translation.max == pytest.approx(float(true_steps.max()), rel=1e-5)


def test_missing_frames_lower_coverage_and_are_left_out() -> None:
    estimate, truth = noisy(2)
    gap = estimate.clone()
    gap[2] = float("nan")
    mask = torch.arange(6) != 2
    wrong = estimate.clone()
    wrong[2, :3, 3] = 1e6
    for error in (
        absolute_trajectory_error(gap, truth),
        absolute_trajectory_error(wrong, truth, mask),
    ):
        assert error.coverage == pytest.approx(5 / 6)
        assert error == absolute_trajectory_error(estimate[mask], truth[mask]).__class__(
            **{
                **vars(absolute_trajectory_error(estimate[mask], truth[mask])),
                "coverage": error.coverage,
            }
        )
    steps = relative_trajectory_error(gap, truth)
    assert steps.coverage == pytest.approx(3 / 5)
    only = torch.tensor([True, False, True, False, True, False])
    none = relative_trajectory_error(estimate, truth, only)
    assert none.coverage == 0
    assert math.isnan(none.translation.rmse)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"estimate": no_motion(5)}, "as many frames as the truth"),
        ({"estimate": 2 * no_motion(4)}, "estimate: expected the last row"),
        ({"truth": torch.full((4, 4, 4), torch.nan)}, "truth: expected finite"),
        ({"estimate": torch.full((4, 4, 4), torch.nan)}, "a camera in some frame"),
        ({"valid": torch.ones(3, dtype=torch.bool)}, "valid: expected 4"),
        ({"valid": torch.zeros(4, dtype=torch.bool)}, "a camera in some frame"),
        ({"alignment": "affine"}, "alignment: expected"),
        ({"truth": no_motion(4)}, "expected motion to fit a scale to"),
        ({"valid": torch.arange(4) < 2}, "at least 3 frames to align"),
    ],
)
def test_wrong_arguments_give_one_clear_error(change: dict, message: str) -> None:
    given: dict[str, Any] = {"estimate": straight_forward(4), "truth": straight_forward(4)} | change
    for metric in (absolute_trajectory_error, relative_trajectory_error):
        with pytest.raises(InputError, match=message):
            metric(**given)


@pytest.mark.usefixtures("as_a_user")
def test_pairs_that_do_not_exist_and_alignments_that_do_nothing_are_refused() -> None:
    truth = straight_forward(4)
    for delta in (0, 4):
        with pytest.raises(InputError, match="delta_frames: expected 1 to 3"):
            relative_trajectory_error(truth, truth, delta_frames=delta)
    with pytest.raises(InputError, match="changes no motion"):
        relative_trajectory_error(truth, truth, alignment="rigid")  # type: ignore[arg-type]


def test_a_rigid_fit_to_a_still_truth_is_possible() -> None:
    aligned = align_trajectory(noisy(4)[0], no_motion(6), "rigid")
    assert aligned.scale == 1.0
    assert not aligned.turn_is_known


def test_association_gives_every_true_frame_to_the_nearest_estimate() -> None:
    truth_s = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64)
    estimate_s = torch.tensor([2.004, 0.5, 1.999, 3.01, 1.02], dtype=torch.float64)
    i, j = associate(estimate_s, truth_s)
    assert (i.tolist(), j.tolist()) == ([2, 3], [2, 0])
    i, j = associate(estimate_s, truth_s, max_difference_s=0.05)
    assert (i.tolist(), j.tolist()) == ([4, 2, 3], [1, 2, 0])
    assert associate(truth_s[:1], truth_s[:1])[0].tolist() == [0]


def test_clocks_that_do_not_agree_are_noticed() -> None:
    stamps = torch.tensor([1.0, 2.0], dtype=torch.float64)
    with pytest.raises(InputError, match=r"nearest is 8 s away"):
        associate(stamps, stamps + 9)
    with pytest.raises(InputError, match="expected time stamps"):
        associate(stamps, stamps[:0])

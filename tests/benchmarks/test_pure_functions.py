"""The numbers of the benchmarks, on cases whose answer is known."""

import argparse
import csv
import math
from pathlib import Path

import jog3r  # noqa: F401  before torch, see jog3r/torchvision_cpu.py

# isort: split
import numpy as np
import pytest
import torch

from benchmarks.caption_scores import (
    average_precision,
    balanced_accuracy,
    best_threshold,
    caption_rows,
    rank_rate,
)
from benchmarks.poses import angle_deg, mean_and_error, pose_row
from benchmarks.probe import ATTRIBUTES, PLACES, THINGS, UNCLEAR, frame_labels
from benchmarks.prompted_moves import group_of, mean_direction, move_rows, obeys
from benchmarks.record import Record
from benchmarks.tables import format_table
from benchmarks.warping import look_up, warp_errors
from benchmarks.world_cameras import fov_deg, path_numbers, rotation_deg, rows, world_paths
from jog3r.data.world import HELD_OUT, Scene, World, WorldConfig
from jog3r.data.world.camera_paths import MOVES
from jog3r.data.world.scene import SolidObject
from jog3r.geometry import intrinsics_from_fov
from jog3r.metrics.relative_pose import relative_pose_errors, straight_forward


def turned(degrees: float, frames: int = 4) -> torch.Tensor:
    """A path on the spot that turns to the right."""
    angles = torch.deg2rad(torch.linspace(0, degrees, frames))
    path = torch.eye(4).repeat(frames, 1, 1)
    path[:, 0, 0] = path[:, 2, 2] = angles.cos()
    path[:, 0, 2], path[:, 2, 0] = angles.sin(), -angles.sin()
    return path


def moved(direction: tuple[float, float, float], frames: int = 4) -> torch.Tensor:
    path = torch.eye(4).repeat(frames, 1, 1)
    path[:, :3, 3] = torch.arange(frames)[:, None] * torch.tensor(direction)
    return path


def test_mean_and_error_leaves_out_what_is_no_number() -> None:
    mean, error = mean_and_error([1.0, 3.0, math.nan])
    assert (mean, error) == (2.0, 1.0)
    assert all(math.isnan(value) for value in mean_and_error([]))


def test_pose_row_of_a_perfect_and_of_a_backward_path() -> None:
    truth = straight_forward(5)
    perfect = pose_row([relative_pose_errors(truth, truth)])
    assert perfect["AUC@30_%"] == perfect["RTA@5_%"] == perfect["directed_%"] == 100
    backward = moved((0.0, 0.0, -1.0), 5)
    wrong = pose_row([relative_pose_errors(backward, truth)])
    assert wrong["RTA@15_%"] == 0
    assert wrong["RRA@5_%"] == 100


def test_angle_is_nan_without_a_direction() -> None:
    x, none = torch.tensor([1.0, 0.0, 0.0]), torch.zeros(3)
    assert math.isnan(float(angle_deg(none, x)))
    assert float(angle_deg(x, -x)) == 180


@pytest.mark.parametrize("move", MOVES)
def test_a_path_obeys_its_own_move_and_not_the_opposite(move: str) -> None:
    _, direction, side = MOVES[move]
    turns = group_of(move) == "turns"
    path, opposite = (turned(30 * s) if turns else moved(direction) for s in (side, -side))
    if not turns:
        opposite = moved((-direction[0], -direction[1], -direction[2]))
    assert obeys(path, move)
    assert not obeys(opposite, move)
    assert not obeys(None, move)


def test_mean_direction_is_seen_from_the_moving_camera() -> None:
    path = turned(90, 2)
    path[1, :3, 3] = torch.tensor([1.0, 0.0, 0.0])
    assert torch.equal(mean_direction(path), torch.tensor([1.0, 0.0, 0.0]))
    world = turned(180, 3)[1:]  # begins looking to the right
    world[1, :3, 3] = torch.tensor([1.0, 0.0, 0.0])
    assert torch.allclose(mean_direction(world), torch.tensor([0.0, 0.0, 1.0]), atol=1e-6)


def test_move_rows_judge_a_prompt_on_its_own_path_and_on_the_others() -> None:
    moves = ["moves forward", "moves left", "moves forward"]
    paths = [moved((0.0, 0.0, 1.0)), moved((-1.0, 0.0, 0.0)), None]
    rows = {row["moves"]: row for row in move_rows("ours", paths, moves)}
    assert rows["all"]["obeyed_%"] == pytest.approx(200 / 3)
    assert rows["all"]["shuffled_%"] == pytest.approx(100 * (0 + 0 + 0.5) / 3)
    assert rows["sideways"]["prompts"] == 1


def test_warp_of_a_true_scene_is_much_better_than_none() -> None:
    clip = World(WorldConfig(size=32)).clip(seed=5, frames=4)
    video = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    depth, K, path = map(torch.from_numpy, (clip.depth, clip.K, clip.world_from_camera))
    found = warp_errors(video, depth, K, path)
    assert found.coverage > 0.3
    assert found.motion_px > 0.5
    assert found.warped < 0.6 * found.unmoved


def test_warp_without_motion_is_no_warp() -> None:
    video = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
    K = intrinsics_from_fov(60.0, (8, 8)).repeat(2, 1, 1)
    found = warp_errors(video, torch.ones(2, 8, 8), K, torch.eye(4).repeat(2, 1, 1))
    assert found.warped == pytest.approx(found.unmoved, abs=1e-2)
    assert found.motion_px == pytest.approx(0, abs=1e-4)
    nothing = warp_errors(video, torch.zeros(2, 8, 8), K, torch.eye(4).repeat(2, 1, 1))
    assert nothing.coverage == 0
    assert math.isnan(nothing.warped)


def test_look_up_hits_pixel_centres() -> None:
    image = torch.arange(12.0).reshape(1, 3, 4)
    assert float(look_up(image, torch.tensor([2.5, 1.5]).expand(1, 1, 1, 2))) == 6


def test_frame_labels_follow_the_visible_share() -> None:
    things = [SolidObject("sphere", "red", 1, 0.3), SolidObject("cube", "patterned", 2, 0.3)]
    empty = np.zeros((3, 1))
    scene = Scene(empty, empty, np.zeros(20), np.zeros((0, 2, 2, 3)), "desert", "dim light", things)
    ids = np.zeros((100, 100), dtype=np.int16)
    ids[:10, :20], ids[50, :50] = 1, 2  # 2 % and 0.5 %
    labels = dict(zip(ATTRIBUTES, frame_labels(scene, ids), strict=True))
    assert labels["red"] == labels["sphere"] == labels["desert"] == 1
    assert labels["cube"] == UNCLEAR
    assert labels["blue"] == labels["cone"] == labels["gallery"] == 0


def test_average_precision_and_balanced_accuracy() -> None:
    scores, present = torch.tensor([0.9, 0.8, 0.7, 0.1]), torch.tensor([True, False, True, False])
    assert average_precision(scores, present) == pytest.approx((1 + 2 / 3) / 2)
    assert balanced_accuracy(scores > 0.75, present) == 0.5
    assert balanced_accuracy(scores > best_threshold(scores, present), present) == 0.75


def test_rank_rate_is_one_half_for_equal_scores() -> None:
    named = torch.tensor([[True], [False], [False]])
    assert rank_rate(torch.zeros(3, 1), named, named) == 0.5
    assert rank_rate(torch.tensor([[1.0], [0.0], [2.0]]), named, named) == 0.5
    assert rank_rate(torch.tensor([[3.0], [0.0], [2.0]]), named, named) == 1


def test_caption_rows_of_clips_that_show_what_they_should() -> None:
    scores = torch.zeros(3, 2, len(ATTRIBUTES))
    named = torch.zeros(3, len(ATTRIBUTES), dtype=torch.bool)
    for clip in range(3):
        for attribute in (clip, len(THINGS) + clip):  # a colour and a place
            scores[clip, :, attribute], named[clip, attribute] = 1.0, True
    limits, base = torch.full((len(THINGS),), 0.5), torch.full((len(ATTRIBUTES),), 0.25)
    rows = {
        row["attributes"]: row
        for row in caption_rows(scores, named, limits, base, {"real": scores})
    }
    for kind in ("colours", "place"):
        row = rows[kind]
        assert row["own_caption_%"] == row["rank_%"] == row["real_%"] == row["gain_%"] == 100
        assert row["shuffled_captions_%"] == 0
        assert row["chance_%"] == 25
    assert rows["shapes"]["clips"] == 0
    assert len(PLACES) == 10


def test_path_numbers_of_a_known_path() -> None:
    path = turned(15, 4).double().numpy()
    path[:, 2, 3] = [0.0, 1.0, 2.0, 3.0]
    found = path_numbers(path, 58.0)
    assert found["rotation_per_frame_deg"] == pytest.approx(5, abs=1e-4)
    assert found["rotation_whole_deg"] == pytest.approx(15, abs=1e-4)
    assert found["yaw_whole_deg"] == pytest.approx(15, abs=1e-4)
    assert found["net_over_path_length"] == pytest.approx(1)
    assert found["travel_to_view_deg"] == pytest.approx(5, abs=0.1)
    assert fov_deg(0.5) == 90
    assert rotation_deg(np.eye(4), np.eye(4)) == 0


def test_a_record_is_a_csv_file_that_says_where_it_comes_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = argparse.Namespace(out=tmp_path, seed=3, threads=1, clips=2)
    file = Record("claim", args).write([{"method": "ours", "error": 1 / 3}], {"rule": "none"})
    lines = file.read_text().splitlines()
    header = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
    assert {"commit", "versions", "device", "date", "rule"} <= set(header)
    assert "seed 3" in header["options"]
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert rows == [{"method": "ours", "error": "0.3333"}]
    assert "0.3333" in capsys.readouterr().out
    assert str(tmp_path) not in file.read_text()


def test_a_wide_table_is_turned_round() -> None:
    names = [f"a long column name {i}" for i in range(9)]
    text = format_table([names, ["1"] * 9])
    assert len(text.splitlines()) == 9
    assert format_table([["a", "b"], ["1", "2"]]).splitlines() == ["a  b", "1  2"]


def test_cameras_of_the_world_move_like_real_ones() -> None:
    """Medians lie near those of 21 RealEstate10K paths, and so does the spread.

    The real numbers are those of benchmarks/results/world_cameras-cpu.csv; 21 paths tell a 10th
    and 90th percentile roughly.
    """
    real = {  # 10 %, 50 %, 90 %
        "rotation_per_frame_deg": (0.218, 1.301, 3.429),
        "travel_to_view_deg": (6.566, 17.99, 93.93),
        "fov_vertical_deg": (56.0, 59.0, 61.18),
    }
    paths = world_paths(400, HELD_OUT + 3_000_000, threads=1)
    drawn = {row["quantity"]: row for row in rows("world", paths)}
    for quantity, (low, median, high) in real.items():
        got = drawn[quantity]
        assert got["median"] == pytest.approx(median, rel=0.25), quantity
        assert got["p10"] < median < got["p90"], quantity
        assert 0.4 < got["p10"] / low < 2.6, quantity
        assert 0.6 < got["p90"] / high < 1.7, quantity

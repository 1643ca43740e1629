"""`jog3r evaluate-cameras`: the table, and how frames find each other."""

from pathlib import Path

import pytest
import torch

from jog3r.cli import main
from jog3r.cli.evaluate_cameras import pair_frames
from jog3r.errors import InputError
from jog3r.export.cameras import write_cameras
from jog3r.paths import Orbit, Trajectory, cameras_along
from jog3r.results import Cameras
from tests.paths.test_sampling import scene

DATA = Path(__file__).parents[1] / "metrics" / "data"
CAMERAS = cameras_along(
    Orbit(angle_deg=60.0, radius_world=2.0, elevation_deg=10.0),
    6,
    image_size=(48, 64),
    fov_y_deg=60,
)


def rows(text: str) -> dict[str, list[str]]:
    """Return the printed values by metric."""
    return {line[:34].strip(): line[34:].split() for line in text.splitlines() if line[34:].strip()}


def test_the_table_says_what_the_reference_tool_says(capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(DATA / f"freiburg1_xyz-{name}.txt") for name in ("rgbdslam", "groundtruth")]
    assert main(["evaluate-cameras", *files, "--from", "tum"]) == 0
    text = capsys.readouterr().out
    assert "785 paired by time stamps" in text
    table = rows(text)
    assert table["ATE, none, rmse"][0] == "0.020079"
    assert table["ATE, rigid, rmse"][0] == "0.01347"
    assert table["ATE, similarity, rmse"][0] == "0.013389"
    assert table["RPE delta 1, none, rmse [deg]"][0] == "0.35361"
    assert len(table["RRA@5 [%]"]) == 4  # with both baselines, and coverage


def test_missing_images_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{index}.png" for index in range(6)]
    write_cameras(tmp_path / "truth.json", CAMERAS, "json", files=names)
    some = torch.tensor([4, 0, 3, 1])
    part = type(CAMERAS)(CAMERAS.world_from_camera[some], CAMERAS.K[some], CAMERAS.image_size)
    write_cameras(tmp_path / "found.json", part, "json", files=[names[i] for i in some])
    assert (
        main(["evaluate-cameras", str(tmp_path / "found.json"), str(tmp_path / "truth.json")]) == 0
    )
    table = rows(capsys.readouterr().out)
    assert float(table["ATE, similarity, rmse"][0]) == pytest.approx(0, abs=1e-6)
    assert table["ATE, similarity, rmse"][3] == "0.66667"
    assert table["RRA@5 [%]"][0] == "40"  # 6 of 15 pairs
    # The second frame is there, the baselines have all frames.
    assert float(table["RotErr, sum [rad]"][0]) == pytest.approx(0, abs=1e-6)
    assert float(table["RotErr, sum [rad]"][1]) > 1


def test_a_saved_scene_is_compared_frame_by_frame(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = scene()
    here.save(tmp_path / "scene")
    here.cameras.save(tmp_path / "truth.kitti", "kitti")
    line = ["evaluate-cameras", str(tmp_path / "scene"), str(tmp_path / "truth.kitti")]
    assert main([*line, "--delta-frames", "2"]) == 0
    text = capsys.readouterr().out
    assert "paired one by one" in text
    assert "RPE delta 2, none, rmse" in text
    assert rows(text)["AUC@30 [%]"][0] == "100"


def test_what_is_not_defined_is_a_dash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    still = type(CAMERAS)(torch.eye(4).repeat(6, 1, 1), CAMERAS.K, CAMERAS.image_size)
    for name, cameras in (("a.json", CAMERAS), ("b.json", still)):
        cameras.save(tmp_path / name, "json")
    assert main(["evaluate-cameras", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 0
    table = rows(capsys.readouterr().out)
    assert table["ATE, similarity, rmse"] == ["-"] * 4
    assert table["RTA@5 [%]"][0] == "-"
    assert table["RRA@5 [%]"][0] != "-"


def test_names_are_compared_without_folders_where_they_can_be() -> None:
    cameras = CAMERAS.world_from_camera[:2]

    def paired(found: tuple[str, str], true: tuple[str, str]) -> list[bool]:
        pair = Trajectory(cameras, files=found), Trajectory(cameras, files=true)
        return [not bool(camera.isnan().any()) for camera in pair_frames(*pair)[0]]

    assert paired(("frames/1.png", "frames/0.png"), ("images/0.png", "images/2.png")) == [
        True,
        False,
    ]
    # Left and right images of the same name are told apart by their folders.
    assert paired(("l/0.png", "l/1.png"), ("l/0.png", "r/0.png")) == [True, False]
    with pytest.raises(InputError, match="none of the same name"):
        paired(("0.png", "1.png"), ("2.png", "3.png"))


def test_frames_that_nothing_pairs_are_refused() -> None:
    one, two = (Trajectory(torch.eye(4).repeat(count, 1, 1)) for count in (3, 4))
    with pytest.raises(
        InputError, match=r"3 estimated and 4 true frames; say which .* --truth-frames"
    ):
        pair_frames(one, two)


def test_the_frames_of_the_truth_can_be_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"photo{index}.png" for index in range(6)]
    write_cameras(tmp_path / "truth.json", CAMERAS, "json", files=names)
    part = Cameras(CAMERAS.world_from_camera[1::2], CAMERAS.K[1::2], CAMERAS.image_size)
    write_cameras(tmp_path / "o.json", part, "json", files=[f"frames/{i}.png" for i in range(3)])
    line = ["evaluate-cameras", str(tmp_path / "o.json"), str(tmp_path / "truth.json")]
    assert main(line) == 2
    assert "--truth-frames FROM:TO:STEP says which" in capsys.readouterr().err
    assert main([*line, "--truth-frames", "1::2"]) == 0
    text = capsys.readouterr().out
    assert "3 estimated and 3 true frames; paired one by one" in text
    assert float(rows(text)["ATE, none, rmse"][0]) == pytest.approx(0, abs=1e-6)
    assert main([*line, "--truth-frames", "0:4"]) == 2
    assert "as many frames of TRUTH as ESTIMATE has, got 3 est" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*line, "--truth-frames", "4"])
    assert "expected FROM:TO:STEP as in 0:12 or ::3, got '4'" in capsys.readouterr().err

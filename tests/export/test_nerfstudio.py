"""transforms.json: conventions by a worked example, round trips, foreign and damaged files."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jog3r import Cameras, FileError, InputError
from jog3r.export.nerfstudio import (
    from_saved_world,
    read_nerfstudio,
    to_saved_world,
    write_nerfstudio,
)
from jog3r.geometry import intrinsics_from_fov

NAMES = [f"images/{name}.png" for name in "kaghbcfedlmji"]


def test_round_trip_is_exact(cameras: Cameras, tmp_path: Path) -> None:
    write_nerfstudio(tmp_path / "t.json", cameras, files=NAMES, ply_file="points.ply")
    read = read_nerfstudio(tmp_path / "t.json")
    assert read.cameras == cameras  # bit for bit
    assert read.files == tuple(NAMES)
    assert read.ply_file == "points.ply"
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    back = from_saved_world(to_saved_world(points), read.saved_from_world)
    assert torch.equal(back, points)


def test_worked_example(tmp_path: Path) -> None:
    """A camera two ahead of the first and one below it, looking the same way."""
    world_from_camera = torch.eye(4).repeat(2, 1, 1)
    world_from_camera[1, :3, 3] = torch.tensor([0.0, 1.0, 2.0])
    K = intrinsics_from_fov(90.0, (48, 64)).repeat(2, 1, 1)
    cameras = Cameras(world_from_camera, K, (48, 64))
    write_nerfstudio(tmp_path / "t.json", cameras, files=["b.png", "a.png"])
    content = json.loads((tmp_path / "t.json").read_text())
    assert (content["w"], content["h"], content["cx"], content["cy"]) == (64, 48, 32, 24)
    assert content["fl_x"] == content["fl_y"] == K[0, 0, 0]
    assert content["applied_transform"] == [[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]]
    second = np.array(content["frames"][1]["transform_matrix"])
    assert content["frames"][1]["file_path"] == "a.png"
    assert second[:3, 3].tolist() == [0, 2, -1]  # ahead is y, below is negative z
    assert second[:3, 0].tolist() == [1, 0, 0]  # the camera's right
    assert second[:3, 1].tolist() == [0, 0, 1]  # the camera's up is the world's up
    assert (-second[:3, 2]).tolist() == [0, 1, 0]  # it looks along y, against its third axis


def test_lenses_are_shared_or_per_frame(cameras: Cameras, tmp_path: Path) -> None:
    write_nerfstudio(tmp_path / "own.json", cameras, files=NAMES)
    content = json.loads((tmp_path / "own.json").read_text())
    assert "fl_x" not in content  # nerfstudio would use it for all frames
    assert content["frames"][3]["fl_x"] == cameras.K[3, 0, 0]
    shared = Cameras(cameras.world_from_camera, cameras.K[:1].repeat(13, 1, 1), cameras.image_size)
    write_nerfstudio(tmp_path / "shared.json", shared, files=NAMES)
    content = json.loads((tmp_path / "shared.json").read_text())
    assert content["fl_x"] == cameras.K[0, 0, 0]
    assert set(content["frames"][3]) == {"file_path", "transform_matrix"}
    assert read_nerfstudio(tmp_path / "shared.json").cameras == shared


def test_a_real_file_undistorted(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data/fox"
    with pytest.raises(FileError, match=r"k1: expected no lens distortion, got k1 = 0\.05.*undist"):
        read_nerfstudio(folder / "original_transforms.json")
    content = json.loads((folder / "original_transforms.json").read_text())
    for name in ("k1", "k2", "p1", "p2"):
        del content[name]
    (tmp_path / "t.json").write_text(json.dumps(content))
    read = read_nerfstudio(tmp_path / "t.json")
    assert read.cameras.image_size == (1920, 1080)
    assert len(read.files) == 67
    assert read.saved_from_world.tolist() == np.eye(4).tolist()
    reference = json.loads((folder / "cameras.json").read_text())["frames"]
    by_name = {Path(frame["file"]).name: frame["world_from_camera"] for frame in reference}
    mine_by_name = dict(zip(read.files, read.cameras.world_from_camera, strict=True))
    assert len(by_name) == 50
    for name, reference_transform in by_name.items():
        mine = mine_by_name[f"images/{name}"]
        expected = torch.tensor(reference_transform)
        torch.testing.assert_close(mine[:3, :3], expected[:3, :3], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "applied",
    [[[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]], [[0, -1, 0, 3], [1, 0, 0, 4], [0, 0, 1, 5]]],
)
def test_foreign_applied_transforms_are_undone(
    cameras: Cameras, tmp_path: Path, applied: list[list[float]]
) -> None:
    write_nerfstudio(tmp_path / "t.json", cameras, files=NAMES)
    content = json.loads((tmp_path / "t.json").read_text())
    ours = np.vstack([content["applied_transform"], [0, 0, 0, 1]])
    change = np.vstack([applied, [0, 0, 0, 1]]) @ np.linalg.inv(ours)
    content["applied_transform"] = applied
    for frame in content["frames"]:
        frame["transform_matrix"] = (change @ np.array(frame["transform_matrix"])).tolist()
    (tmp_path / "t.json").write_text(json.dumps(content))
    back = read_nerfstudio(tmp_path / "t.json").cameras
    torch.testing.assert_close(
        back.world_from_camera, cameras.world_from_camera, atol=1e-6, rtol=1e-6
    )


def test_writing_refuses(cameras: Cameras, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="files: expected 13 image names, got 1"):
        write_nerfstudio(tmp_path / "t.json", cameras, files=["a"])
    K = cameras.K.clone()
    K[2, 0, 1] = 1.0
    skewed = Cameras(cameras.world_from_camera, K, cameras.image_size)
    with pytest.raises(InputError, match="K: expected no skew"):
        write_nerfstudio(tmp_path / "t.json", skewed, files=NAMES)
    assert not list(tmp_path.iterdir())


def entry(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.update({name: value})


def frame_entry(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["frames"][2].update({name: value})


MIRRORED = [[-1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
SCALED = [[2.0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("frames"), "frames: expected a list of cameras, got None"),
        (entry("frames", []), "frames: expected one entry per camera, got none"),
        (entry("frames", [5]), r"frames: expected a list of cameras, got \[5\]"),
        (lambda content: content["frames"][2].pop("fl_x"), r"frames\[2\].fl_x: expected a number"),
        (lambda content: content["frames"][2].pop("w"), r"frames\[2\].w: expected a number"),
        (frame_entry("w", 2.5), r"frames\[2\].w, h: expected whole pixels, got 2.5, 18"),
        (frame_entry("w", 48), r"w, h: expected images of one size, got .*\(18, 24\), \(18, 48\)"),
        (frame_entry("cy", "9"), r"frames\[2\].cy: expected a number, .* got '9'"),
        (frame_entry("cx", float("nan")), r"frames\[2\].cx: expected a number, .* got nan"),
        (frame_entry("cx", True), r"frames\[2\].cx: expected a number, .* got True"),
        (frame_entry("fl_x", -5.0), "K: expected"),
        (frame_entry("k1", 0.01), r"frames\[2\].k1: expected no lens distortion, got k1 = 0.01"),
        (entry("p2", 0.01), "p2: expected no lens distortion, got p2 = 0.01; undistort"),
        (entry("camera_model", "OPENCV_FISHEYE"), "camera_model: .*got camera_model 'OPENCV_FISH"),
        (entry("applied_scale", 0.5), "applied_scale: expected none, got 0.5"),
        (entry("applied_transform", MIRRORED[:3]), "applied_transform: .*determinant -1"),
        (entry("applied_transform", "z up"), "applied_transform: expected 4x4 finite numbers"),
        (entry("ply_file_path", 5), "ply_file_path: expected the name of a file, got 5"),
        (frame_entry("file_path", None), r"frames\[2\].file_path: expected the name of a file"),
        (frame_entry("file_path", "a\0"), r"frames\[2\].file_path: expected the name of a file"),
        (frame_entry("transform_matrix", None), r"frames\[2\].transform_matrix: expected 4x4"),
        (frame_entry("transform_matrix", [[1.0]]), r"frames\[2\].transform_matrix: expected 4x4"),
        (frame_entry("transform_matrix", MIRRORED), r"\[2\].transform_matrix: .*determinant -1,"),
        (frame_entry("transform_matrix", SCALED), r"\[2\].transform_matrix: .*determinant 8, off"),
    ],
)
def test_damaged_files(
    cameras: Cameras, tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    path = tmp_path / "t.json"
    write_nerfstudio(path, cameras, files=NAMES)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(FileError, match=f"^{re.escape(str(path))}: .*{message}"):
        read_nerfstudio(path)


def test_truncated_files(cameras: Cameras, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    write_nerfstudio(path, cameras, files=NAMES)
    path.write_text(path.read_text()[:500])
    with pytest.raises(FileError, match=r"line \d+, column \d+: expected JSON"):
        read_nerfstudio(path)
    with pytest.raises(FileError, match="got none of this name"):
        read_nerfstudio(tmp_path / "nothing.json")

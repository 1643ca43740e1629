"""ScanNet's exported layout and 7-Scenes against the analytic room; a real indoor walk."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jog3r.data.clip import Clip
from jog3r.data.readers.lens import Lens
from jog3r.data.readers.registry import open_reader
from jog3r.data.readers.rgbd import RGBD, SEVEN_SCENES_LENS
from jog3r.errors import FileError
from jog3r.geometry import invert, project, transform_points, unproject
from tests.data.readers.trees import (
    check_reprojection,
    check_truth,
    save,
    scannet_scene,
    seven_scenes_sequence,
    shoot,
    write_matrix,
)

COLOR = Lens((110.0, 112.0), (62.0, 49.0), (96, 128))
DEPTH = Lens((55.0, 55.5), (32.5, 24.5), (48, 64))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    arc, walk = tmp_path / "scans/scene0000_00", tmp_path / "scans/scene0000_01"
    scannet_scene(arc, shoot(COLOR), shoot(DEPTH))
    scannet_scene(walk, shoot(COLOR, path="handheld"), shoot(DEPTH, path="handheld"))
    return tmp_path


def test_scannet(tree: Path) -> None:
    reader = open_reader(tree, "rgbd")
    ids = ["scans/scene0000_00", "scans/scene0000_01"]
    assert [entry.id for entry in reader.index.entries] == ids
    assert reader.index.problems == ()
    clips = [reader.read(entry) for entry in reader.index.entries]
    for clip in clips:
        assert clip.image_size == (96, 128)
        check_truth(clip, colour=1.2, depth=0.03)
    clip = clips[0]
    assert (clip.source, clip.scale) == ("ScanNet", "metric")
    assert clip.licence == reader.licence == "ScanNet Terms of Use (research)"
    seven_scenes_sequence(
        tree / "chess" / "seq-01", shoot(SEVEN_SCENES_LENS.resized((48, 64)), frames=1)
    )
    mixed = RGBD(tree)
    assert (mixed.source, mixed.licence, len(mixed.index.entries)) == ("RGB-D", "unknown", 3)
    (alone,) = RGBD(tree / "scans" / "scene0000_00").index.entries
    assert (alone.id, alone.length) == ("scene0000_00", 4)


def test_depth_on_the_pixels_of_equal_lenses_is_exact(tmp_path: Path) -> None:
    shots = shoot(COLOR)
    scannet_scene(tmp_path / "scene", shots, shots)
    reader = RGBD(tmp_path)
    clip = reader.read(reader.index.entries[0])
    assert clip.depth is not None
    torch.testing.assert_close(clip.depth, shots.depth.float(), atol=5.1e-4, rtol=0)
    check_truth(clip, colour=1.2, depth=5e-4, share=1.0)


def test_frames_that_were_not_tracked_are_counted(tree: Path) -> None:
    scene = tree / "scans/scene0000_00"
    write_matrix(scene / "pose/1.txt", np.full((4, 4), -np.inf))
    (scene / "pose/3.txt").write_text("1 0 0 0\n0 1 0 0\n0 0")
    other = tree / "scans/scene0000_01"
    (other / "pose/0.txt").unlink()
    (other / "depth/1.png").unlink()
    (other / "color/2.jpg").unlink()
    reader = RGBD(tree)
    index = reader.index
    assert index.unexplained == 0
    counted = {"camera": 2, "no-camera": 1, "no-map": 1, "no-picture": 1}
    assert index.counted() == counted
    assert [entry.length for entry in index.entries] == [2, 1]  # frames 0 and 2; frame 3
    where = {problem.where for problem in index.problems if problem.kind == "camera"}
    assert where == {"scans/scene0000_00/pose/3.txt", "scans/scene0000_01/pose/0.txt"}
    check_truth(reader.read(index.entries[0]), colour=1.2, depth=0.03)
    write_matrix(scene / "pose/0.txt", np.full((4, 4), np.nan))
    check_truth(reader.read(index.entries[0], [1]), colour=1.2, depth=0.03)  # reads no other pose


def test_words_in_a_pose_are_counted(tree: Path) -> None:
    (tree / "scans/scene0000_00/pose/1.txt").write_text("lost " * 16)
    assert RGBD(tree, even=False).index.counted() == {"camera": 1}


def test_a_scene_without_intrinsics_is_counted(tree: Path) -> None:
    (tree / "scans/scene0000_00/intrinsic/intrinsic_depth.txt").unlink()
    shutil.rmtree(tree / "scans/scene0000_01/depth")
    index = RGBD(tree).index
    assert index.counted() == {"unreadable": 2}
    assert index.unexplained == 0
    texts = " ".join(problem.what for problem in index.problems)
    assert "intrinsic_depth.txt: expected a text file" in texts
    assert "expected files depth/N.png, got none" in texts


def test_truncated_depth_stops_its_reading(tree: Path) -> None:
    path = tree / "scans/scene0000_00/depth/0.png"
    path.write_bytes(path.read_bytes()[:200])
    reader = RGBD(tree)
    with pytest.raises(FileError, match=r"0.png: expected a readable image"):
        reader.read(reader.index.entries[0])


def test_seven_scenes(tmp_path: Path) -> None:
    shots = shoot(SEVEN_SCENES_LENS, frames=2)
    for name in ("seq-01", "seq-02"):
        seven_scenes_sequence(tmp_path / "chess" / name, shots)
    holes = np.full((480, 640), 65535, np.uint16)
    save(tmp_path / "chess/seq-02/frame-000001.depth.png", holes)
    reader = RGBD(tmp_path)
    assert [entry.id for entry in reader.index.entries] == ["chess/seq-01", "chess/seq-02"]
    assert reader.source == "7-Scenes"
    clip = reader.read(reader.index.entries[0])
    assert clip.image_size == (480, 640)
    assert clip.K is not None
    assert clip.K[0].tolist() == [[585.0, 0.0, 320.0], [0.0, 585.0, 240.0], [0.0, 0.0, 1.0]]
    check_truth(clip, depth=5e-4, share=1.0)
    assert (clip.source, clip.scale) == ("7-Scenes", "metric")
    empty = reader.read(reader.index.entries[1], [1])
    assert empty.depth is not None
    assert not bool(empty.depth.any())
    assert [entry.id for entry in RGBD(tmp_path / "chess" / "seq-01").index.entries] == ["seq-01"]


def test_a_real_walk(shared: Path, tmp_path: Path) -> None:
    """Real colour and depth in ScanNet's layout: depth carried into the next frame fits there."""
    source = shared / "data" / "hololens_rgbd"
    content = json.loads((source / "cameras.json").read_text())
    scene = tmp_path / "walk"
    for kind in ("color", "depth"):
        (scene / kind).mkdir(parents=True)
    for number, frame in enumerate(content["frames"][20:26]):
        shutil.copy(source / frame["file"], scene / f"color/{number}.jpg")
        shutil.copy(source / frame["depth"], scene / f"depth/{number}.png")
        write_matrix(scene / f"pose/{number}.txt", np.array(frame["world_from_camera"]))
    for kind, key in (("color", "K"), ("depth", "K_depth")):
        K = np.eye(4)
        K[:3, :3] = content["frames"][0][key]
        K[:2, 2] -= 0.5
        write_matrix(scene / f"intrinsic/intrinsic_{kind}.txt", K)
    reader = RGBD(tmp_path)
    clip = reader.read(reader.index.entries[0])
    assert clip.image_size == (360, 540)
    assert clip.depth is not None
    assert float((clip.depth > 0).float().mean()) > 0.5
    with Image.open(scene / "depth/0.png") as stored:
        metres = np.asarray(stored) / 1000
    # Every stored pixel is 2 x 2 of the colours'.
    assert float(clip.depth[0, 101, 201]) == pytest.approx(metres[50, 100], abs=1e-6)
    assert _carried(clip) < 0.02


def _carried(clip: Clip) -> float:
    """Return the median difference [m] of depth carried from frame 0 to frame 1."""
    depth, K, cameras = clip.depth, clip.K, clip.world_from_camera
    assert depth is not None
    assert K is not None
    assert cameras is not None
    world = transform_points(cameras[0], unproject(depth[0], K[0])[depth[0] > 0])
    pixel, z = project(transform_points(invert(cameras[1]), world), K[1])
    inside = (z > 0) & (pixel >= 0).all(-1) & (pixel < pixel.new_tensor([540, 360])).all(-1)
    column, row = pixel[inside].long().unbind(-1)
    there = depth[1, row, column]
    return float((z[inside] - there)[there > 0].abs().median())


def test_reprojection_would_notice_a_wrong_unit(tree: Path) -> None:
    reader = RGBD(tree)
    clip = reader.read(reader.index.entries[0])
    assert clip.depth is not None
    with pytest.raises(AssertionError):
        check_reprojection(clip.replaced(depth=clip.depth * 1.2), 0.03)

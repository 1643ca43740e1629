"""`jog3r export` and `jog3r convert-cameras`: from words to files."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from jog3r import Cameras, Reconstruction, Video
from jog3r.cli import convert_cameras, export, main
from jog3r.export.cameras import read_named_cameras, write_cameras
from jog3r.export.colmap import read_colmap
from jog3r.export.ply import read_ply
from jog3r.export.scene import SceneFormat
from jog3r.geometry import intrinsics_from_fov
from jog3r.results import CameraFormat, Mesh, PointSelection
from jog3r.results.mesh import MESH_SELECTION


@pytest.fixture(scope="module")
def scene() -> Reconstruction:
    """A wall of random colours, seen by four cameras side by side."""
    frames = torch.randint(
        0, 256, (4, 12, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    world_from_camera = torch.eye(4).repeat(4, 1, 1)
    world_from_camera[:, 0, 3] = torch.arange(4) * 50.0  # too far apart to see the same
    K = intrinsics_from_fov(60.0, (12, 16)).repeat(4, 1, 1)
    confidence = 1 + torch.rand(4, 12, 16, generator=torch.Generator().manual_seed(1))
    cameras = Cameras(world_from_camera, K, (12, 16))
    return Reconstruction(
        Video(frames, 8), cameras, torch.full((4, 12, 16), 2.0), confidence, "relative"
    )


@pytest.fixture(scope="module")
def saved(scene: Reconstruction, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(scene.save(tmp_path_factory.mktemp("scene") / "scene"))


def test_names_are_those_of_the_library() -> None:
    assert set(export.FORMATS) == set(get_args(SceneFormat))
    assert set(convert_cameras.FORMATS) == set(get_args(CameraFormat))
    assert set(export.SELECTION) < set(PointSelection.__dataclass_fields__)


def test_export_prints_the_report(
    saved: str, scene: Reconstruction, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "project"
    assert main(["export", saved, "--format", "3dgs", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{out}\n  3dgs: folder for trainers")
    assert f"  4 cameras, {len(scene.points)} points\n" in told
    assert "camera  in front  in image  colour  depth" in told
    assert "     3    100.0%     25.4%    1.00   1.00" in told
    assert "WARNING" not in told
    assert read_colmap(out).files == ("0000.png", "0001.png", "0002.png", "0003.png")
    assert main(["export", saved, "--format", "3dgs", "--out", str(out)]) == 2
    assert "expected a new name" in capsys.readouterr().err
    assert main(["export", saved, "--format", "3dgs", "--out", str(out), "--overwrite"]) == 0


def test_export_takes_a_selection(
    saved: str, scene: Reconstruction, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["export", saved, "--format", "ply", "--out", str(tmp_path / "a.ply")]
    assert main([*line, "--drop-fraction", "0.5", "--max-points", "100"]) == 0
    rule = PointSelection(drop_fraction=0.5, max_points=100)
    assert read_ply(tmp_path / "a.ply") == scene.select_points(rule)
    assert main([*line, "--overwrite", "--drop-fraction", "2"]) == 2
    assert "--drop-fraction: expected a share in [0, 1), got 2.0" in capsys.readouterr().err
    line[3] = "kitti"
    assert main([*line, "--overwrite", "--max-points", "9"]) == 2
    assert "selection: expected None, kitti holds no points" in capsys.readouterr().err


def test_export_of_a_mesh(
    saved: str, scene: Reconstruction, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["export", saved, "--format", "mesh", "--out", str(tmp_path / "a.ply")]
    assert main([*line, "--voxel-ratio", "0.005"]) == 0
    mesh = scene.mesh(replace(MESH_SELECTION, voxel_ratio=0.005))
    assert Mesh.load(tmp_path / "a.ply") == mesh
    assert f"  4 cameras, {len(mesh.vertices)} vertices\n" in capsys.readouterr().out
    assert main([*line, "--overwrite", "--max-points", "9"]) == 2
    assert "for a mesh, got max_points; leave them out" in capsys.readouterr().err


def test_export_reads_npz_too(
    saved: str, scene: Reconstruction, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    npz = str(tmp_path / "scene.npz")
    assert main(["export", saved, "--format", "npz", "--out", npz]) == 0
    assert "  4 cameras, no points\n" in capsys.readouterr().out
    assert main(["export", npz, "--format", "json", "--out", str(tmp_path / "a.json")]) == 0
    assert Cameras.load(tmp_path / "a.json", "json") == scene.cameras
    nothing = str(tmp_path / "nothing")
    assert main(["export", nothing, "--format", "json", "--out", nothing]) == 1
    assert "expected a folder written by save()" in capsys.readouterr().err


def test_convert_takes_quaternions_with_w_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("0 0 0 0 1 0 0 0\n1 1 2 3 0.6 0.8 0 0\n")
    line = ["convert-cameras", str(tmp_path / "a.txt"), "--from", "tum", "--to", "json"]
    line += [str(tmp_path / "a.json"), "--image-size", "8x6", "--K", "9", "9", "4", "3"]
    assert main(line) == 1
    assert "--quaternion wxyz" in capsys.readouterr().err
    assert main([*line, "--quaternion", "wxyz"]) == 0
    cameras = Cameras.load(tmp_path / "a.json", "json")
    assert torch.equal(cameras.world_from_camera[0], torch.eye(4))
    assert cameras.world_from_camera[1, 2, 1] == pytest.approx(2 * 0.6 * 0.8)
    line = ["convert-cameras", str(tmp_path / "a.json"), "--to", "npz", str(tmp_path / "b.npz")]
    assert main([*line, "--quaternion", "wxyz"]) == 2
    assert "quaternion: expected None, json has one order" in capsys.readouterr().err


def test_convert_keeps_names_and_cameras(
    scene: Reconstruction, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["d.jpg", "b.jpg", "a.jpg", "c.jpg"]
    write_cameras(tmp_path / "in.json", scene.cameras, "json", files=names, fps=8)
    steps = ["in.json", "colmap", "t.json", "text", "back.npz"]
    formats = ["colmap-binary", "nerfstudio", "colmap-text", "npz"]
    for source, out, format in zip(steps[:-1], steps[1:], formats, strict=True):
        line = ["convert-cameras", str(tmp_path / source), "--to", format, str(tmp_path / out)]
        assert main(line) == 0
        told = capsys.readouterr().out
        assert "4 cameras" in told
        assert ("no place for: frame rate" in told) == (source == "in.json")
    back = read_named_cameras(tmp_path / "back.npz", "npz")
    assert back.files == tuple(names)
    torch.testing.assert_close(back.cameras.world_from_camera, scene.cameras.world_from_camera)
    assert torch.equal(back.cameras.K, scene.cameras.K)


def test_convert_tells_what_is_lost(
    scene: Reconstruction, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cameras(tmp_path / "in.json", scene.cameras, "json", files=list("abcd"))
    out = tmp_path / "out.txt"
    line = ["convert-cameras", str(tmp_path / "in.json"), "--to", "tum", str(out)]
    assert main([*line, "--fps", "4"]) == 0
    assert "  no place for: K and image size, image names\n" in capsys.readouterr().out
    assert np.loadtxt(out)[:, 0].tolist() == [0, 0.25, 0.5, 0.75]
    assert main(line) == 2
    assert "OUT: expected a new name" in capsys.readouterr().err
    assert main([*line, "--overwrite"]) == 0


def test_convert_keeps_time(
    scene: Reconstruction, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.cameras.save(tmp_path / "a.txt", "realestate10k", fps=8)
    line = ["convert-cameras", str(tmp_path / "a.txt"), "--to", "tum", str(tmp_path / "b.txt")]
    assert main(line) == 0
    assert np.loadtxt(tmp_path / "b.txt")[:, 0].tolist() == [0, 0.125, 0.25, 0.375]
    assert "frame rate" not in capsys.readouterr().out
    lines = (tmp_path / "a.txt").read_text().splitlines()
    (tmp_path / "a.txt").write_text("\n".join([*lines[:2], *lines[3:]]))  # a frame is missing
    assert main([*line, "--overwrite"]) == 0
    assert "no even frame rate in IN" in capsys.readouterr().out
    assert np.loadtxt(tmp_path / "b.txt")[:, 0].tolist() == [0, 1, 2]


def test_convert_takes_the_lens_that_a_file_lacks(
    scene: Reconstruction, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.cameras.save(tmp_path / "path.txt", "kitti")
    line = ["convert-cameras", str(tmp_path / "path.txt"), "--to", "json", str(tmp_path / "a")]
    assert main(line) == 2
    assert "--K, --image-size: expected both, FX FY CX CY and WxH" in capsys.readouterr().err
    fx, fy, cx, cy = (str(float(scene.cameras.K[0][place])) for place in ENTRIES)
    lens = ["--image-size", "16x12", "--K", fx, fy, cx, cy]
    assert main([*line, *lens, "--from", "kitti"]) == 0
    assert Cameras.load(tmp_path / "a", "json") == scene.cameras
    assert main([*line, *lens, "--overwrite", "--from", "tum"]) == 1
    assert "line 1: expected 8 columns" in capsys.readouterr().err
    assert main([*line, *lens, "--overwrite", "--fps", "4000"]) == 2
    (tmp_path / "path.txt").write_text("1 2 3\n")
    assert main([*line, *lens, "--overwrite"]) == 2
    assert "name the format, one of" in capsys.readouterr().err


ENTRIES = ((0, 0), (1, 1), (0, 2), (1, 2))


def test_convert_asks_for_the_size_by_its_option(
    scene: Reconstruction, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.cameras.save(tmp_path / "a.txt", "realestate10k")
    lines = (tmp_path / "a.txt").read_text().splitlines()
    (tmp_path / "a.txt").write_text("\n".join(["https://example.org/video", *lines[1:]]))
    line = ["convert-cameras", str(tmp_path / "a.txt"), "--to", "json", str(tmp_path / "b")]
    assert main(line) == 2
    assert "--image-size: expected WxH in pixels" in capsys.readouterr().err
    assert main([*line, "--image-size", "16x12"]) == 0


@pytest.mark.parametrize("word", ["640", "640x", "0x480", "640x480x3", "6.5x7", "wide"])
def test_image_sizes_that_are_none(word: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected WIDTHxHEIGHT as in 640x480"):
        convert_cameras.image_size(word)


@pytest.mark.parametrize(
    "line",
    [
        ["export", "scene", "--out", "a"],
        ["export", "scene", "--format", "obj", "--out", "a"],
        ["export", "scene", "--format", "ply", "--out", "a", "--max-points", "0"],
        ["convert-cameras", "in", "out"],
        ["convert-cameras", "in", "--to", "evo", "out"],
        ["convert-cameras", "in", "--to", "tum", "out", "--image-size", "640"],
    ],
)
def test_wrong_usage(line: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(line)
    assert stopped.value.code == 2

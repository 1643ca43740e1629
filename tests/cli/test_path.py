"""`jog3r path`: from words to cameras, pictures and descriptions."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch

from jog3r.cli import main
from jog3r.cli.path import HELP, MOVES
from jog3r.export.tum import read_tum
from jog3r.paths import (
    Dolly,
    Eased,
    Orbit,
    Reversed,
    Together,
    Zoom,
    cameras_along,
    median_depth,
    read_path,
)
from jog3r.paths.path_file import PLAIN
from jog3r.results import Cameras, Reconstruction
from tests.paths.test_sampling import scene


def test_moves_and_their_options_are_those_of_the_library() -> None:
    plain = {name: kind for name, kind in PLAIN.items() if name in MOVES}
    assert set(PLAIN) - set(plain) == {"series", "together", "reversed", "eased"}
    assert {name: tuple(f.name for f in fields(kind)) for name, kind in plain.items()} == MOVES
    assert set(HELP) == {key for keys in MOVES.values() for key in keys}


def test_a_move_gives_cameras_picture_and_description(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, picture, data = tmp_path / "p.txt", tmp_path / "p.png", tmp_path / "p.json"
    line = ["path", "orbit", "--angle-deg", "90", "--radius-world", "2", "--frames", "5"]
    line += ["--image-size", "64x48", "--fov-deg", "50", "--out", str(out)]
    assert main([*line, "--preview", str(picture), "--description", str(data)]) == 0
    assert "5 cameras of 64x48 px" in capsys.readouterr().out
    move = Orbit(angle_deg=90.0, radius_world=2.0)
    expected = cameras_along(move, 5, image_size=(48, 64), fov_y_deg=50.0)
    read = Cameras.load(out, "realestate10k")
    torch.testing.assert_close(read.world_from_camera, expected.world_from_camera)
    torch.testing.assert_close(read.K, expected.K)
    assert picture.stat().st_size > 1000
    assert read_path(data) == move
    # An existing output is replaced on request only.
    assert main(line) == 2
    assert main([*line, "--overwrite"]) == 0


def test_outputs_of_one_name_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = str(tmp_path / "p.png")
    line = ["path", "pan", "--angle-deg", "10", "--frames", "3", "--out", one, "--preview", one]
    assert main(line) == 2
    assert "expected different names" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_description_can_be_eased_and_reversed(tmp_path: Path) -> None:
    data, out, again = tmp_path / "p.json", tmp_path / "p.tum", tmp_path / "q.json"
    data.write_text('{"camera_path": {"move": "dolly", "distance_world": 2}}')
    line = ["path", str(data), "--ease", "in", "--reverse", "--frames", "3"]
    K = ["--K", "50", "50", "32", "24", "--image-size", "64x48"]
    line += ["--format", "tum", "--fps", "2", "--description", str(again)]
    assert main([*line, *K, "--out", str(out)]) == 0
    assert read_tum(out).timestamps_s.tolist() == [0.0, 0.5, 1.0]
    assert read_path(again) == Eased(of=Reversed(of=Dolly(distance_world=2.0)), easing="in")
    lens = torch.tensor([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])
    read = Cameras.load(out, "tum", image_size=(48, 64), K=lens)
    assert read.world_from_camera[:, 2, 3].tolist() == [0.0, -0.5, -2.0]


def test_a_camera_file_is_resampled_and_scaled(tmp_path: Path) -> None:
    walk, out = tmp_path / "walk.json", tmp_path / "out.json"
    move = Together(moves=(Dolly(distance_world=1.0), Zoom(factor=2.0)))
    cameras = cameras_along(move, 3, image_size=(48, 64), fov_y_deg=50.0)
    cameras.save(walk, "json")
    line = ["path", str(walk), "--scale", "4", "--format", "json", "--overwrite", "--out", str(out)]
    assert main([*line, "--frames", "5"]) == 0
    read = Cameras.load(out, "json")
    assert read.world_from_camera[:, 2, 3].tolist() == [0, 1, 2, 3, 4]
    # Its lens goes with it, also backwards and at another size, unless another one is given.
    torch.testing.assert_close(read.K[::2], cameras.K)
    assert read.image_size == (48, 64)
    assert main([*line, "--frames", "3", "--reverse"]) == 0
    torch.testing.assert_close(Cameras.load(out, "json").K, cameras.K.flip(0))
    assert main([*line, "--frames", "3", "--image-size", "128x96"]) == 0
    torch.testing.assert_close(Cameras.load(out, "json").K[:, :2], 2 * cameras.K[:, :2])
    assert main([*line, "--frames", "3", "--fov-deg", "90"]) == 0
    assert float(Cameras.load(out, "json").K[0, 1, 1]) == pytest.approx(24.0)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Save a scene and another one, in units of their own."""
    folder = tmp_path_factory.mktemp("scenes")
    return (
        scene("forward").save(folder / "here"),
        scene("arc", scale=10.0).save(folder / "elsewhere"),
    )


def test_a_scene_gives_lens_start_and_unit(saved: tuple[Path, Path], tmp_path: Path) -> None:
    here = Reconstruction.load(saved[0])
    line = ["path", "dolly", "--distance-depths", "0.5", "--scene", str(saved[0]), "--frames", "3"]
    for name, start in (("a.txt", []), ("b.txt", ["--start-frame", "2"])):
        frame = 2 if start else 0
        out = tmp_path / name
        assert main([*line, *start, "--out", str(out)]) == 0
        read = Cameras.load(out, "realestate10k")
        torch.testing.assert_close(read.K[0], here.cameras.K[frame])
        torch.testing.assert_close(
            read.world_from_camera[0], here.cameras.world_from_camera[frame], rtol=0, atol=1e-6
        )
        way = (read.world_from_camera[2, :3, 3] - read.world_from_camera[0, :3, 3]).norm()
        assert float(way) == pytest.approx(0.5 * median_depth(here, frame), rel=1e-5)


def test_the_path_of_another_video_fits_the_scene(saved: tuple[Path, Path], tmp_path: Path) -> None:
    here, elsewhere = map(Reconstruction.load, saved)
    line = ["path", str(saved[1]), "--frames", "4", "--format", "json"]
    assert main([*line, "--scene", str(saved[0]), "--out", str(tmp_path / "a.json")]) == 0
    assert main([*line, "--out", str(tmp_path / "b.json")]) == 0
    ends = [
        Cameras.load(tmp_path / name, "json").world_from_camera[3, :3, 3].norm()
        for name in ("a.json", "b.json")
    ]
    ratio = median_depth(here) / median_depth(elsewhere)
    assert float(ends[0]) == pytest.approx(ratio * float(ends[1]), rel=1e-4)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["orbit", "--angle-deg", "9"], "--out: expected a file"),
        (["orbit", "--angle-deg", "9", "--out", "x"], "expected radius_world"),
        (["fly", "--out", "x"], "expected a move (dolly"),
        (["pan", "--angle-deg", "3", "--factor", "3", "--out", "x"], "got 'factor'"),
        (["dolly", "--distance-depths", "1", "--out", "x"], "expected a scene"),
        (["pan", "--angle-deg", "3", "--scale", "2", "--out", "x"], "--scale: expected a source"),
        (["pan", "--angle-deg", "3", "--start-frame", "1", "--out", "x"], "expected --scene"),
        (["pan", "--angle-deg", "3", "--format", "obj", "--out", "x"], "format: expected one of"),
        (["walk.json", "--angle-deg", "3", "--out", "x"], "since --angle-deg is given"),
        (["data.json", "--scale", "3", "--out", "x"], "got a description"),
        (["broken.json", "--out", "x"], "unknown"),
    ],
    ids=" ".join,
)
def test_what_makes_no_path_is_one_line(
    words: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.json").write_text('{"camera_path": {"move": "pan", "angle_deg": 3}}')
    Path("broken.json").write_text('{"camera_path": {"move": "unknown"}}')
    assert main(["path", *words]) in (1, 2)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert says in told
    assert not Path("x").exists()


def test_a_scene_has_its_own_lens(
    saved: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    line = ["path", "pan", "--angle-deg", "3", "--scene", str(saved[0]), "--fov-deg", "50"]
    assert main([*line, "--out", str(tmp_path / "x")]) == 2
    assert "--fov-deg: expected none" in capsys.readouterr().err

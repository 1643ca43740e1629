"""Camera formats: round trips, independent readers, real files, pairing, and what is refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jog3r import Cameras, FileError, InputError
from jog3r.export.cameras import FORMATS, NamedCameras, read_named_cameras, write_cameras
from jog3r.export.cameras_json import read_cameras_json, write_cameras_json
from jog3r.export.guess import guess_camera_format
from jog3r.export.kitti import read_kitti, write_kitti
from jog3r.export.realestate10k import read_realestate10k, write_realestate10k
from jog3r.export.tum import read_tum, write_tum
from jog3r.results import CameraFormat

Make = Callable[..., Cameras]


def rotation_of(quaternion_xyzw: np.ndarray) -> np.ndarray:
    """Textbook formula, written apart from the one under test."""
    x, y, z, w = quaternion_xyzw
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def write_lines(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def lens(cameras: Cameras, format: str) -> dict[str, Any]:
    """What has to be told to read formats that hold no lens."""
    known = {"K": cameras.K[0], "image_size": cameras.image_size}
    return known if format in WITHOUT_LENS else {}


EXACT = {"json", "kitti", "nerfstudio", "npz"}
WITHOUT_LENS = {"tum", "kitti"}

# Round trips


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), magnitude=st.sampled_from([1e-3, 1.0, 1e4]))
def test_round_trips_are_exact_to_float32(
    make_cameras: Make, tmp_path_factory: pytest.TempPathFactory, seed: int, magnitude: float
) -> None:
    folder = tmp_path_factory.mktemp("cameras")
    original = make_cameras(seed=seed)
    original.world_from_camera[:, :3, 3] *= magnitude
    for format in ("json", "realestate10k"):
        loaded = Cameras.load(original.save(folder / format, format), format)
        assert torch.equal(loaded.K, original.K)
        assert loaded.image_size == original.image_size
        difference = (loaded.world_from_camera - original.world_from_camera).abs()
        assert difference[:, :3, :3].max() <= (0 if format == "json" else 6e-8)
        assert difference[:, :3, 3].max() <= (0 if format == "json" else 1.2e-7 * 13 * magnitude)
    path = original.save(folder / "tum", "tum")
    loaded = Cameras.load(path, "tum", K=original.K[0], image_size=original.image_size)
    # float32 rotations are no exact rotations, a unit quaternion always is one
    torch.testing.assert_close(
        loaded.world_from_camera[:, :3, :3],
        original.world_from_camera[:, :3, :3],
        atol=3e-7,
        rtol=0,
    )
    assert torch.equal(loaded.world_from_camera[:, :3, 3], original.world_from_camera[:, :3, 3])
    assert torch.equal(loaded.K, original.K[:1].repeat(len(original), 1, 1))


@pytest.mark.parametrize("format", get_args(CameraFormat))
@pytest.mark.parametrize("magnitude", [1e-3, 1.0, 1e4])
def test_every_format_comes_back(
    make_cameras: Make, tmp_path: Path, format: Any, magnitude: float
) -> None:
    original = make_cameras()
    original.world_from_camera[:, :3, 3] *= magnitude
    loaded = Cameras.load(original.save(tmp_path / "a", format), format, **lens(original, format))
    assert guess_camera_format(tmp_path / "a") == format
    if format in EXACT:
        assert torch.equal(loaded.world_from_camera, original.world_from_camera)
    else:  # through an inverse or a quaternion
        difference = (loaded.world_from_camera - original.world_from_camera).abs()
        assert difference[:, :3, :3].max() <= 1.2e-7
        assert difference[:, :3, 3].max() <= 1.2e-7 * 13 * magnitude
    if format not in WITHOUT_LENS:
        assert torch.equal(loaded.K, original.K)
        assert loaded.image_size == original.image_size


def test_every_format_is_in_the_table() -> None:
    assert set(FORMATS) == set(get_args(CameraFormat))
    assert {name for name, format in FORMATS.items() if format.read is None} == WITHOUT_LENS


def test_time_stamps_follow_the_frame_rate(cameras: Cameras, tmp_path: Path) -> None:
    cameras.save(tmp_path / "a", "realestate10k", fps=8)
    assert read_realestate10k(tmp_path / "a").timestamps_us[:3] == (0, 125_000, 250_000)
    cameras.save(tmp_path / "b", "tum", fps=8)
    assert read_tum(tmp_path / "b").timestamps_s[:3].tolist() == [0, 0.125, 0.25]
    cameras.save(tmp_path / "c", "json", fps=8)
    assert read_cameras_json(tmp_path / "c").fps == 8
    cameras.save(tmp_path / "d", "tum")
    assert read_tum(tmp_path / "d").timestamps_s[:3].tolist() == [0, 1, 2]


# Independent readers


def test_realestate10k_as_numpy_reads_it(cameras: Cameras, tmp_path: Path) -> None:
    write_realestate10k(tmp_path / "cameras.txt", cameras, fps=10)
    rows = np.loadtxt(tmp_path / "cameras.txt", skiprows=1)
    assert rows.shape == (13, 19)
    height, width = cameras.image_size
    fx, fy, cx, cy = rows[:, 1:5].T * np.array([[width], [height], [width], [height]])
    np.testing.assert_allclose(np.stack([fx, cx], -1), cameras.K[:, 0, ::2], rtol=1e-7)
    np.testing.assert_allclose(np.stack([fy, cy], -1), cameras.K[:, 1, 1:], rtol=1e-7)
    assert not rows[:, 5:7].any()
    for row, world_from_camera in zip(rows, cameras.world_from_camera.numpy(), strict=True):
        camera_from_world = row[7:].reshape(3, 4)
        # The camera's own position must come to lie at its origin.
        position = np.append(world_from_camera[:3, 3], 1)
        np.testing.assert_allclose(camera_from_world @ position, np.zeros(3), atol=2e-6)
        np.testing.assert_allclose(camera_from_world[:, :3], world_from_camera[:3, :3].T, atol=3e-7)


def test_tum_as_numpy_reads_it(cameras: Cameras, tmp_path: Path) -> None:
    write_tum(tmp_path / "cameras.txt", cameras)
    rows = np.loadtxt(tmp_path / "cameras.txt")
    assert rows.shape == (13, 8)
    for row, world_from_camera in zip(rows, cameras.world_from_camera.numpy(), strict=True):
        np.testing.assert_array_equal(row[1:4].astype(np.float32), world_from_camera[:3, 3])
        np.testing.assert_allclose(
            rotation_of(row[4:]), world_from_camera[:3, :3], atol=3e-7, rtol=0
        )


def test_missing_json_is_called_missing(tmp_path: Path) -> None:
    with pytest.raises(
        FileError, match=r"^\S+a\.json: expected a text file, got none of this name$"
    ):
        read_cameras_json(tmp_path / "a.json")


def test_json_as_the_documented_layout(cameras: Cameras, tmp_path: Path) -> None:
    write_cameras_json(tmp_path / "c.json", cameras, files=[f"{i}.png" for i in range(13)])
    content = json.loads((tmp_path / "c.json").read_text())
    assert set(content) == {"convention", "image_size", "frames"}
    assert content["image_size"] == [24, 18]  # width first
    assert set(content["frames"][0]) == {"file", "K", "world_from_camera"}


# Real files


@pytest.mark.parametrize("clip", range(5))
def test_real_realestate10k_files_agree_with_their_json(shared: Path, clip: int) -> None:
    folder = sorted(path for path in (shared / "data/re10k_clips").iterdir() if path.is_dir())[clip]
    reference = read_cameras_json(folder / "cameras.json")
    assert reference.cameras.image_size == (256, 384)
    read = read_realestate10k(folder / "original_cameras.txt", image_size=(256, 384))
    assert read.first_line.startswith("https://www.youtube.com/")
    assert reference.files == tuple(f"frames/{i:04d}.jpg" for i in range(16))
    content = json.loads((folder / "cameras.json").read_text())
    assert list(read.timestamps_us) == [frame["timestamp_us"] for frame in content["frames"]]
    torch.testing.assert_close(read.cameras.K, reference.cameras.K, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        read.cameras.world_from_camera, reference.cameras.world_from_camera, atol=2e-6, rtol=2e-6
    )


@pytest.mark.parametrize(
    ("name", "size", "count"),
    [("fox", (640, 360), 50), ("hololens_rgbd", (360, 540), 63), ("herz_jesu_p8", (427, 640), 8)],
)
def test_real_json_files(shared: Path, name: str, size: tuple[int, int], count: int) -> None:
    content = read_cameras_json(shared / "data" / name / "cameras.json")
    assert content.cameras.image_size == size
    assert len(content.cameras) == count


def test_a_json_without_image_size_asks_for_it(shared: Path) -> None:
    path = shared / "data/sacre_coeur/cameras.json"
    with pytest.raises(InputError, match=r"image_size: expected \(height, width\)"):
        read_cameras_json(path)


def test_real_tum_files(shared: Path) -> None:
    for path in (shared / "data/trajectory_eval").glob("freiburg1_xyz-*.txt"):
        read = read_tum(path)
        rows = np.loadtxt(path)
        assert len(read.world_from_camera) == len(rows) > 700
        np.testing.assert_array_equal(read.timestamps_s, rows[:, 0])
        for index in (0, 13, len(rows) - 1):
            np.testing.assert_allclose(
                read.world_from_camera[index, :3, :3], rotation_of(rows[index, 4:]), atol=3e-4
            )


# Pairing


def test_each_camera_keeps_its_own_image_beyond_ten_frames(
    make_cameras: Make, tmp_path: Path
) -> None:
    cameras = make_cameras(123)
    files = [f"frame{index}.png" for index in range(123)]  # names that sort wrongly as text
    write_cameras_json(tmp_path / "c.json", cameras, files=files)
    read = read_cameras_json(tmp_path / "c.json")
    for file, world_from_camera in zip(read.files, read.cameras.world_from_camera, strict=True):
        assert file == f"frame{int(world_from_camera[0, 3])}.png"
    for format in get_args(CameraFormat):
        path = cameras.save(tmp_path / format, format)
        loaded = Cameras.load(path, format, **lens(cameras, format))
        x = loaded.world_from_camera[:, 0, 3]
        torch.testing.assert_close(x, torch.arange(123.0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("format", [name for name, known in FORMATS.items() if known.has_files])
def test_every_name_keeps_its_camera(make_cameras: Make, tmp_path: Path, format: Any) -> None:
    cameras = make_cameras(23)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(1)).tolist()
    names = [f"view{number}.jpg" for number in order]  # sorted, they are another order
    write_cameras(tmp_path / "a", cameras, format, files=names)
    read = read_named_cameras(tmp_path / "a", format)
    assert read.files is not None
    for name, world_from_camera in zip(read.files, read.cameras.world_from_camera, strict=True):
        assert name == f"view{order[round(float(world_from_camera[0, 3]))]}.jpg"
    write_cameras(tmp_path / "plain", cameras, format)
    plain = read_named_cameras(tmp_path / "plain", format).files
    assert plain is None or list(plain) == sorted(plain)


def test_names_and_time_go_where_there_is_a_place(cameras: Cameras, tmp_path: Path) -> None:
    names = [f"{index}.png" for index in range(13)]
    for name, format in FORMATS.items():
        if not format.has_files:
            with pytest.raises(InputError, match=f"files: expected None, {name} has no place"):
                write_cameras(tmp_path / "a", cameras, name, files=names)  # type: ignore[arg-type]
        if not format.has_time:
            with pytest.raises(InputError, match=f"fps: expected None, {name} has no place"):
                cameras.save(tmp_path / "a", name, fps=8)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
    for name in ("json", "npz"):
        write_cameras(tmp_path / name, cameras, name, files=names, fps=8)
        assert read_named_cameras(tmp_path / name, name) == NamedCameras(cameras, tuple(names), 8)


def test_even_time_stamps_are_a_frame_rate(cameras: Cameras, tmp_path: Path) -> None:
    for name in ("tum", "realestate10k"):
        for fps in (8.0, 29.97, 0.5):
            path = cameras.save(tmp_path / name, name, fps=fps)
            assert read_named_cameras(path, name, **lens(cameras, name)).fps == fps
    lines = (tmp_path / "tum").read_text().splitlines()
    write_lines(tmp_path / "tum", lines[:4] + lines[5:])  # a frame is missing
    assert read_named_cameras(tmp_path / "tum", "tum", **lens(cameras, "tum")).fps is None


def test_as_many_images_as_cameras(cameras: Cameras, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="files: expected 13 image names, got 2"):
        write_cameras_json(tmp_path / "c.json", cameras, files=["a", "b"])
    assert not list(tmp_path.iterdir())


# Arguments


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("format", "arguments", "message"),
    [
        ("colmap", {}, r"format: expected one of \('realestate10k', .*\), got 'colmap'"),
        ("tum", {}, "K, image_size: expected both for tum"),
        ("tum", {"K": torch.eye(3)}, "K, image_size: expected both for tum"),
        ("json", {"K": torch.eye(3)}, "K: expected None, since json files store it"),
        ("json", {"image_size": (24, 18)}, r"image_size: expected \(18, 24\) as in"),
        ("json", {"image_size": (24, 18, 3)}, r"image_size: expected \(height, width\), whole"),
        ("realestate10k", {"image_size": 24}, r"image_size: expected \(height, width\), whole"),
        ("tum", {"K": [[1.0]], "image_size": "ab"}, r"image_size: .* got 'ab'"),
        ("tum", {"K": [[1.0]], "image_size": (18, 24)}, "K: expected 3x3 numbers"),
        ("tum", {"K": "K", "image_size": (18, 24)}, "K: expected 3x3 numbers"),
        ("realestate10k", {"image_size": (24, 18)}, r"image_size: expected \(18, 24\) as in"),
        ("kitti", {"image_size": (18, 24)}, "K, image_size: expected both for kitti"),
        ("npz", {"image_size": (24, 18)}, r"image_size: expected \(18, 24\) as in"),
        ("nerfstudio", {"image_size": (24, 18)}, r"image_size: expected \(18, 24\) as in"),
        ("colmap-text", {"image_size": (24, 18)}, r"image_size: expected \(18, 24\) as in"),
        ("colmap-binary", {"K": torch.eye(3)}, "K: expected None, since colmap-binary files"),
    ],
)
def test_loading_refuses_arguments_it_cannot_honour(
    cameras: Cameras, tmp_path: Path, format: Any, arguments: dict[str, Any], message: str
) -> None:
    known = format if format != "colmap" else "json"
    cameras.save(tmp_path / "cameras", known)
    with pytest.raises(InputError, match=message):
        Cameras.load(tmp_path / "cameras", cast(Any, format), **arguments)


@pytest.mark.usefixtures("unchecked")
def test_saving_refuses(cameras: Cameras, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="format: expected one of"):
        cameras.save(tmp_path / "a", "colmap")  # type: ignore[arg-type]
    for fps in (0, float("nan"), float("inf"), 1e-320, "8", True):
        with pytest.raises(InputError, match=r"fps: expected frames per second in .*, got"):
            cameras.save(tmp_path / "a", "tum", fps=fps)  # type: ignore[arg-type]
    for path in ("/", "a\0b", 5, "\ud800"):
        with pytest.raises(InputError, match="path: expected"):
            cameras.save(path, "json")  # type: ignore[arg-type]
    K = cameras.K.clone()
    K[3, 0, 1] = 0.5
    skewed = Cameras(cameras.world_from_camera, K, cameras.image_size)
    with pytest.raises(InputError, match="K: expected no skew"):
        skewed.save(tmp_path / "a", "realestate10k")
    assert not list(tmp_path.iterdir())
    assert Cameras.load(skewed.save(tmp_path / "b", "json"), "json") == skewed


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", [torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.double])
def test_intrinsics_and_size_may_come_as_lists_or_arrays(
    cameras: Cameras, tmp_path: Path, kind: Callable[[torch.Tensor], Any]
) -> None:
    path = cameras.save(tmp_path / "a", "tum")
    size: Any = [18, 24]
    loaded = Cameras.load(path, "tum", K=kind(cameras.K[0]), image_size=size)
    assert torch.equal(loaded.K[5], cameras.K[0])
    assert loaded.image_size == (18, 24)


@pytest.mark.parametrize("format", ["realestate10k", "tum", "kitti", "json", "nerfstudio"])
def test_a_byte_order_mark_is_passed_over(cameras: Cameras, tmp_path: Path, format: Any) -> None:
    path = cameras.save(tmp_path / "a", format)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert Cameras.load(path, format, **lens(cameras, format)).image_size == (18, 24)


def test_foreign_realestate10k_files_need_the_image_size(shared: Path) -> None:
    path = next((shared / "data/re10k_clips").glob("*/original_cameras.txt"))
    with pytest.raises(InputError, match=r"image_size: expected \(height, width\) of the images"):
        Cameras.load(path, "realestate10k")


# Which format is it?


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("re10k_clips/0bf152ef84195293/original_cameras.txt", "realestate10k"),
        ("trajectory_eval/freiburg1_xyz-groundtruth.txt", "tum"),
        ("trajectory_eval/KITTI_00_gt.txt", "kitti"),
        ("fox/cameras.json", "json"),
        ("fox/original_transforms.json", "nerfstudio"),
    ],
)
def test_real_files_are_recognised(shared: Path, name: str, format: str) -> None:
    assert guess_camera_format(shared / "data" / name) == format


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "format: expected lines of 19 or 8 or 12 columns .* got .*; name the format"),
        ("1 2 3\n", r"got \[3\]; name the format"),
        ("0 0 0 0 0 0 0 1\n1 0 0 0 0 1 0 0 0 0 1 0\n", r"got \[8, 12\]"),
        ('{"frames": [{"pose": 1}]}', "expected 'convention' or frames with 'transform_matrix'"),
        ('{"frames": 5}', "got neither; name the format"),
    ],
)
def test_unknown_content_is_not_guessed(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(InputError, match=message):
        guess_camera_format(tmp_path / "a")


def test_guessing_needs_something_to_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a COLMAP model in .*, got neither"):
        guess_camera_format(tmp_path)
    with pytest.raises(FileError, match="expected cameras, got 'No such file"):
        guess_camera_format(tmp_path / "nothing")
    (tmp_path / "a").write_text('{"frames": [')
    with pytest.raises(FileError, match=r"expected JSON, got .* is it truncated"):
        guess_camera_format(tmp_path / "a")


# Damaged files

GOOD = "0 0.9 1.2 0.5 0.5 0 0 1 0 0 0 0 1 0 0 0 0 1 0"


def changed(column: int, entry: str) -> str:
    before = GOOD.split()
    return " ".join([*before[: column - 1], entry, *before[column:]])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "expected one line per camera, got none"),
        (["https://x"], "expected one line per camera, got none"),
        ([GOOD, GOOD], "line 1: expected the video's URL or a comment"),
        (["url", GOOD, GOOD[:-2]], r"line 3: expected 19 columns \(timestamp_us .*\), got 18"),
        (["url", GOOD, GOOD + " 0"], "line 3: expected 19 columns .* got 20"),
        (["url", changed(8, "one")], r"line 2, column 8 \(m00\): .* finite number, got 'one'"),
        (["url", "", changed(11, "nan")], r"line 3, column 11 \(m03\): .* got 'nan'"),
        (["url", changed(6, "0.1")], "line 2, columns 6 and 7: expected 0 0, got 0.1 0"),
        (["url", changed(8, "-1")], r"line 2, columns 8 to 19: .*got determinant -1"),
        (["url", changed(9, "0.2")], "world_from_camera: expected rotations"),
        (["url", changed(2, "-0.9")], "K: expected"),
        (["url", changed(4, "320")], "K: expected pixels of a 24x18 image"),
        (
            ["# jog3r camera_from_world, image " + "9" * 400 + "x18 px", GOOD],
            "line 1: expected the image's size as in '640x480 px', got '9999",
        ),
    ],
)
def test_damaged_realestate10k(tmp_path: Path, lines: list[str], message: str) -> None:
    path = write_lines(tmp_path / "cameras.txt", lines)
    with pytest.raises(FileError, match=f"^{re.escape(str(path))}: .*{message}"):
        read_realestate10k(path, image_size=(18, 24))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["# only comments"], "expected one line per camera"),
        (["0 0 0 0 0 0 0 1", "1 0 0 0 0 0 0"], "line 2: expected 8 columns .* got 7"),
        (["0 0 0 0 0 0 0 x"], r"line 1, column 8 \(qw\): expected a finite number, got 'x'"),
        (["#", "0 0 0 0 0 0 0 0"], "line 2, columns 5 to 8: expected a unit quaternion .* 0"),
        (["0 0 0 0 1 1 1 1"], "columns 5 to 8: expected a unit quaternion .* length 2"),
        (["0,0,0,0,0,0,0,1"], "line 1: expected 8 columns .* got 1"),
    ],
)
def test_damaged_tum(tmp_path: Path, lines: list[str], message: str) -> None:
    path = write_lines(tmp_path / "cameras.txt", lines)
    with pytest.raises(FileError, match=f"^{re.escape(str(path))}: .*{message}"):
        read_tum(path)


@pytest.mark.usefixtures("unchecked")
def test_w_first_shows_where_the_first_camera_is_the_world(
    cameras: Cameras, tmp_path: Path
) -> None:
    """The same cameras, as programs write them that put w first."""
    world_from_camera = torch.linalg.inv(cameras.world_from_camera[0]) @ cameras.world_from_camera
    world_from_camera[0] = torch.eye(4)
    path = tmp_path / "cameras.txt"
    write_tum(path, Cameras(world_from_camera, cameras.K, cameras.image_size))
    rows = np.loadtxt(path)
    np.savetxt(path, rows[:, [0, 1, 2, 3, 7, 4, 5, 6]])
    with pytest.raises(FileError, match=r"line 1, columns 5 to 8: .* w last, got 1 0 0 0, .*wxyz"):
        read_tum(path)
    back = read_tum(path, quaternion="wxyz").world_from_camera
    torch.testing.assert_close(back, world_from_camera, atol=1e-6, rtol=1e-6)
    turned = read_tum(path, quaternion="xyzw").world_from_camera[0]
    assert turned.diagonal().tolist() == [1, -1, -1, 1]
    np.savetxt(path, rows[1:, [0, 1, 2, 3, 7, 4, 5, 6]])
    assert len(read_tum(path).world_from_camera) == 12  # nothing tells these from w last
    with pytest.raises(InputError, match="quaternion: expected 'xyzw' or 'wxyz', got 'w'"):
        read_tum(path, quaternion="w")  # type: ignore[arg-type]


def test_kitti_as_numpy_reads_it(cameras: Cameras, tmp_path: Path) -> None:
    write_kitti(tmp_path / "cameras.txt", cameras)
    rows = np.loadtxt(tmp_path / "cameras.txt", dtype=np.float32)
    np.testing.assert_array_equal(rows.reshape(13, 3, 4), cameras.world_from_camera[:, :3])


def test_real_kitti_files(shared: Path) -> None:
    for name in ("KITTI_00_gt", "KITTI_00_ORB"):
        path = shared / f"data/trajectory_eval/{name}.txt"
        read = read_kitti(path)
        rows = np.loadtxt(path).reshape(-1, 3, 4)
        np.testing.assert_array_equal(read[:, :3], rows.astype(np.float32))
        assert len(read) > 4000


STRAIGHT = "1 0 0 5 0 1 0 6 0 0 1 7"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "expected one line per camera .*, got none"),
        ([STRAIGHT, STRAIGHT[:-2]], r"line 2: expected 12 columns \(m00 .*\), got 11"),
        ([STRAIGHT + " 0 0 0 1"], "line 1: expected 12 columns .* got 16"),
        ([STRAIGHT.replace("6", "x")], r"line 1, column 8 \(m13\): expected a finite number"),
        ([STRAIGHT.replace("5", "nan")], r"line 1, column 4 \(m03\): .* got 'nan'"),
        ([STRAIGHT, "-" + STRAIGHT], "line 2, columns 1 to 12: .* determinant -1, .*mirrored"),
        (["2" + STRAIGHT[1:]], "line 1, columns 1 to 12: expected a rotation"),
        (["1 0 0 0 1 0 0 0 1 5 6 7"], "line 1, .*determinant 0, .* column by column"),
    ],
)
def test_damaged_kitti(tmp_path: Path, lines: list[str], message: str) -> None:
    path = write_lines(tmp_path / "cameras.txt", lines)
    with pytest.raises(FileError, match=f"^{re.escape(str(path))}: .*{message}"):
        read_kitti(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:300], r"line \d+, column \d+: expected JSON"),
        (lambda text: "[1]", r"expected a JSON object, got \[1\]"),
        (lambda text: text.replace("opencv", "opengl"), "convention: expected 'opencv'"),
        (lambda text: text.replace("frames", "images"), "frames: expected a list of cameras"),
        (lambda text: text.replace('"K"', '"k"', 1), r"frames\[0\].K: expected 3x3 numbers, got N"),
        (lambda text: text.replace("[24, 18]", "[24]"), r"image_size: expected \[width, height\]"),
        (lambda text: text.replace("[24, 18]", "[18.5, 24]"), "image_size: expected"),
        (lambda text: text.replace("1.0]", "NaN]", 1), "NaN"),
        (lambda text: text.replace("1.0]]", '"one"]]', 1), r"frames\[0\].K: expected 3x3"),
        (lambda text: text.replace("[24, 18]", "[4, 8]"), "K: expected pixels of a 4x8 image"),
        (lambda text: text.replace("24, 18", "24, 1" + "0" * 400), "image_size: expected"),
        (lambda text: text.replace("1.0]]", "1" + "0" * 400 + "]]", 1), r"\[0\].K: expected 3x3"),
        (lambda text: text.replace("24, 18", "24, 1" + "0" * 5000), "expected JSON of a sane"),
        (lambda text: "[" * 100_000, "expected JSON of a sane size"),
        (lambda text: text.replace('{"K"', '{"file": 5, "K"'), r"frames\[0\].file: .* got 5"),
        (lambda text: text.replace('{"K"', '{"file": ["a"], "K"'), r"frames\[0\].file: expected"),
        (lambda text: text.replace('{"K"', '{"file": "\\u0000", "K"'), r"frames\[0\].file: "),
    ],
)
def test_damaged_json(
    cameras: Cameras, tmp_path: Path, change: Callable[[str], str], message: str
) -> None:
    path = cameras.save(tmp_path / "cameras.json", "json")
    path.write_text(change(path.read_text()))
    with pytest.raises(FileError, match=f"^{re.escape(str(path))}: .*{message}"):
        read_cameras_json(path)


@pytest.mark.parametrize("format", ["realestate10k", "tum", "kitti", "json", "nerfstudio"])
def test_missing_and_binary_files(tmp_path: Path, format: Any) -> None:
    arguments: dict[str, Any] = {"image_size": (18, 24)}
    if format in WITHOUT_LENS:
        arguments["K"] = torch.tensor([[20.0, 0, 12], [0, 20, 9], [0, 0, 1]])
    with pytest.raises(FileError, match=r"nothing\.txt: expected a text file, got none"):
        Cameras.load(tmp_path / "nothing.txt", format, **arguments)
    with pytest.raises(FileError, match="expected a text file, got 'Is a directory'"):
        Cameras.load(tmp_path, format, **arguments)
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)))
    with pytest.raises(FileError, match="not UTF-8; is it another format"):
        Cameras.load(tmp_path / "binary.txt", format, **arguments)

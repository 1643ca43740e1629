"""One NumPy file for a scene or for cameras: exact, and damaged."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jog3r import Cameras, FileError, InputError, Reconstruction
from jog3r.export.npz import read_cameras_npz, read_npz, write_cameras_npz, write_npz


def test_scenes_come_back_bit_for_bit(reconstruction: Reconstruction, tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", reconstruction)
    assert read_npz(tmp_path / "a.npz") == reconstruction
    mask = reconstruction.depth > 2
    flagged = replace(reconstruction, mask=mask, flags=("no-parallax: it only turns",))
    write_npz(tmp_path / "b.npz", flagged)
    back = read_npz(tmp_path / "b.npz")
    assert back == flagged
    assert back.mask is not None
    assert torch.equal(back.mask, mask)
    assert read_cameras_npz(tmp_path / "b.npz").cameras == reconstruction.cameras
    assert read_cameras_npz(tmp_path / "b.npz").fps == 7.5


def test_cameras_keep_names_and_time(cameras: Cameras, tmp_path: Path) -> None:
    names = [f"{index}.png" for index in reversed(range(13))]
    write_cameras_npz(tmp_path / "a", cameras, files=names, fps=8)  # the name as it is
    back = read_cameras_npz(tmp_path / "a")
    assert back == (cameras, tuple(names), 8.0)
    write_cameras_npz(tmp_path / "b", cameras)
    assert read_cameras_npz(tmp_path / "b") == (cameras, None, None)
    with np.load(tmp_path / "b") as archive:  # as others read it
        assert archive["image_size"].tolist() == [18, 24]
        np.testing.assert_array_equal(archive["K"], cameras.K)
    with pytest.raises(InputError, match="files: expected 13 image names, got 1"):
        write_cameras_npz(tmp_path / "c", cameras, files=["a"])
    with pytest.raises(FileError, match=r"got none called .* depth .*it holds cameras only"):
        read_npz(tmp_path / "a")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("K", None, "expected the arrays world_from_camera K image_size, got none called K"),
        ("K", np.zeros((13, 3, 3)), "K: expected torch.float32 .* got torch.float64"),
        ("K", np.zeros((13, 3, 3), np.float32), "K: expected"),
        ("K", np.array("K"), "K: expected numbers, got <U1"),
        ("image_size", np.array([18.0, 24.0]), "image_size: expected .*, got float64"),
        ("world_from_camera", -np.eye(4, dtype=np.float32)[None], "K: expected"),
        ("frames", None, "got none called frames; was it written by jog3r"),
        ("depth", np.full((13, 18, 24), np.nan, np.float32), "expected parts that fit .* NaN"),
        ("scale", np.array("feet"), "expected parts that fit each other, got scale: expected"),
        ("flags", np.array(["odd"]), "expected parts that fit each other, got flags: expected"),
        ("fps", np.array([1.0, 2.0]), "expected parts that fit each other"),
        ("mask", np.zeros((13, 18, 24), np.uint8), "expected parts .* mask: expected torch.bool"),
        ("depth", np.array([{}]), "expected an NPZ file, got 'Object arrays cannot be loaded"),
    ],
)
def test_damaged_arrays(
    reconstruction: Reconstruction, tmp_path: Path, name: str, value: Any, message: str
) -> None:
    path = tmp_path / "a.npz"
    write_npz(path, reconstruction)
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays.pop(name, None)
    if value is not None:
        arrays[name] = value
    np.savez(path, **arrays)
    with pytest.raises(FileError, match=message):
        read_npz(path)


def test_damaged_names(cameras: Cameras, tmp_path: Path) -> None:
    write_cameras_npz(tmp_path / "a.npz", cameras, files=["a"] * 13)
    with np.load(tmp_path / "a.npz") as archive:
        arrays = dict(archive)
    np.savez(tmp_path / "a.npz", **{**arrays, "files": np.array(["a", "b"])})
    with pytest.raises(FileError, match="files: expected 13 names, got <U1"):
        read_cameras_npz(tmp_path / "a.npz")


def test_truncated_and_foreign(reconstruction: Reconstruction, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_npz(path, reconstruction)
    content = path.read_bytes()
    for length in (0, 3, 30, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(FileError, match=r"a\.npz: expected an NPZ file.*is it truncated"):
            read_npz(path)
    path.write_bytes(content[:300] + bytes(200) + content[500:])
    with pytest.raises(FileError, match="expected an NPZ file"):
        read_npz(path)
    with pytest.raises(FileError, match="got none of this name"):
        read_npz(tmp_path / "nothing.npz")
    np.save(tmp_path / "b.npy", np.zeros(3))
    with pytest.raises(FileError, match="expected an NPZ file"):
        read_npz(tmp_path / "b.npy")

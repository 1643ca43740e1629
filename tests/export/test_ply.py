from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from jog3r import FileError, InputError, PointCloud, Reconstruction
from jog3r.export.ply import read_ply, write_ply


@pytest.fixture
def cloud(reconstruction: Reconstruction) -> PointCloud:
    return reconstruction.points


def test_round_trip_is_bit_exact(cloud: PointCloud, tmp_path: Path) -> None:
    assert len(cloud) > 1000
    write_ply(tmp_path / "a.ply", cloud, comments=["unit of length: metric"])
    assert read_ply(tmp_path / "a.ply") == cloud
    assert b"comment unit of length: metric\n" in (tmp_path / "a.ply").read_bytes()[:400]
    assert read_ply(cloud.save(tmp_path / "B.PLY")) == cloud


def test_an_empty_cloud(tmp_path: Path) -> None:
    empty = PointCloud(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.uint8), torch.zeros(0))
    write_ply(tmp_path / "a.ply", empty)
    assert read_ply(tmp_path / "a.ply") == empty


def test_trimesh_reads_the_same(cloud: PointCloud, tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    loaded = trimesh.load(cloud.save(tmp_path / "a.ply"))
    np.testing.assert_array_equal(loaded.vertices.astype(np.float32), cloud.points)
    np.testing.assert_array_equal(loaded.colors[:, :3], cloud.colors)
    confidence = loaded.metadata["_ply_raw"]["vertex"]["data"]["confidence"]
    np.testing.assert_array_equal(np.ravel(confidence), cloud.confidence)


def test_open3d_reads_the_same(cloud: PointCloud, tmp_path: Path) -> None:
    open3d = pytest.importorskip("open3d")
    loaded = open3d.t.io.read_point_cloud(str(cloud.save(tmp_path / "a.ply")))
    np.testing.assert_array_equal(loaded.point.positions.numpy(), cloud.points)
    np.testing.assert_array_equal(loaded.point.colors.numpy(), cloud.colors)
    np.testing.assert_array_equal(np.ravel(loaded.point["confidence"].numpy()), cloud.confidence)


def test_other_properties_and_types_are_read(tmp_path: Path) -> None:
    kinds = [("nx", "<f8"), ("x", "<f8"), ("y", "<f8"), ("z", "<f8"), ("red", "u1")]
    kinds += [("green", "u1"), ("blue", "u1"), ("label", "<i4"), ("confidence", "<f4")]
    data = np.zeros(2, kinds)
    data["x"], data["green"], data["confidence"] = [1.5, 2.5], [7, 8], [1, 2]
    names = {"<f8": "double", "u1": "uint8", "<i4": "int", "<f4": "float32"}
    header = ["ply", "format binary_little_endian 1.0", "comment by hand", "element vertex 2"]
    header += [f"property {names[kind]} {name}" for name, kind in kinds]
    header += ["element face 1", "property list uchar int vertex_indices", "end_header", ""]
    (tmp_path / "a.ply").write_bytes(
        "\n".join(header).encode() + data.tobytes() + b"\3" + b"0" * 12
    )
    cloud = read_ply(tmp_path / "a.ply")
    assert cloud.points.tolist() == [[1.5, 0, 0], [2.5, 0, 0]]
    assert cloud.colors.tolist() == [[0, 7, 0], [0, 8, 0]]
    assert cloud.confidence.tolist() == [1, 2]


Change = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], r"expected \d+ vertices of 19 bytes, got \d+ bytes; .*truncated"),
        (lambda data: data[:100], "expected a PLY header"),
        (lambda data: b"", "expected a PLY header, got b''"),
        (lambda data: b"glTF" + data, "expected a PLY header, got b'glTFply"),
        (lambda data: data.replace(b"little", b"big"), "format binary_big_endian"),
        (lambda data: data.replace(b"float confidence", b"float quality"), "called confidence"),
        (lambda data: data.replace(b"float x", b"half x"), r"line \d+: expected a PLY header"),
        (lambda data: data.replace(b"element vertex", b"element corner"), "no vertex first"),
        (lambda data: data.replace(b"uchar green", b"float green"), "as uchar, got float32 green"),
        (lambda data: data.replace(b"uchar green", b"ushort green"), "as uchar, got uint16 green"),
        (lambda data: data.replace(b"float y", b"float x"), r"line \d+: expected x once"),
    ],
)
def test_damaged(cloud: PointCloud, tmp_path: Path, change: Change, message: str) -> None:
    path = cloud.save(tmp_path / "a.ply")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(FileError, match=message) as caught:
        read_ply(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_nan_is_refused(cloud: PointCloud, tmp_path: Path) -> None:
    path = cloud.save(tmp_path / "a.ply")
    data = path.read_bytes()
    start = data.index(b"end_header\n") + len(b"end_header\n")
    path.write_bytes(data[:start] + np.float32(np.nan).tobytes() + data[start + 4 :])
    with pytest.raises(FileError, match="points: expected finite values, got 1 NaN"):
        read_ply(path)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="expected a PLY file, got 'No such file"):
        read_ply(tmp_path / "a.ply")


@pytest.mark.parametrize("comment", ["two\nlines", "prénom"])
def test_comments_that_break_the_header(cloud: PointCloud, tmp_path: Path, comment: str) -> None:
    with pytest.raises(InputError, match="comments: expected one ASCII line each"):
        write_ply(tmp_path / "a.ply", cloud, comments=[comment])
    assert not list(tmp_path.iterdir())

"""GLB and the frusta in it, read by trimesh and by hand."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from jog3r import Cameras, FileError, PointCloud, Reconstruction
from jog3r.export.frusta import frustum_corners, near_points, scene_extent
from jog3r.export.glb import read_glb, write_glb
from jog3r.geometry import invert, project, transform_points

FLIP = np.array([1, -1, -1])


def empty_cloud() -> PointCloud:
    return PointCloud(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.uint8), torch.zeros(0))


def test_points_and_colours_come_back_exactly(
    reconstruction: Reconstruction, tmp_path: Path
) -> None:
    cloud = reconstruction.points
    for path in (tmp_path / "a.glb", cloud.save(tmp_path / "b.glb")):
        if path.name == "a.glb":
            write_glb(path, cloud, reconstruction.cameras)
        loaded = read_glb(path)
        assert torch.equal(loaded.points, cloud.points)
        assert torch.equal(loaded.colors, cloud.colors)


def test_axes_are_those_of_gltf(tmp_path: Path) -> None:
    """What is below (y > 0) and ahead (z > 0) must be below and ahead in a y-up viewer."""
    cloud = PointCloud(
        torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[9, 8, 7]], dtype=torch.uint8), torch.ones(1)
    )
    write_glb(tmp_path / "a.glb", cloud)
    data = (tmp_path / "a.glb").read_bytes()
    length = struct.unpack("<I", data[12:16])[0]
    tree = json.loads(data[20 : 20 + length])
    accessor = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    assert accessor["min"] == accessor["max"] == [1, -2, -3]
    assert tree["meshes"][0]["primitives"][0]["mode"] == 0  # points
    assert "OpenCV" in tree["scenes"][0]["extras"]["jog3r"]
    assert "matrix" not in tree["nodes"][0]  # nothing turns it back


def test_every_camera_is_a_node_of_its_own(make_cameras: Callable, tmp_path: Path) -> None:
    cameras = make_cameras(23)
    write_glb(tmp_path / "a.glb", empty_cloud(), cameras, scale="metric")
    scene = trimesh.load_scene(tmp_path / "a.glb")
    assert scene.metadata["scale"] == "metric"
    assert len(scene.geometry) == 24
    corners = frustum_corners(cameras, 0.05 * scene_extent(torch.zeros(0, 3), cameras)).numpy()
    for index in range(23):
        vertices = np.unique(scene.geometry[f"camera_{index:04d}"].vertices.round(5), axis=0)
        expected = np.unique((corners[index] * FLIP).round(5) + 0.0, axis=0)
        np.testing.assert_allclose(vertices, expected, atol=2e-5)
    path = scene.geometry["camera_path"].vertices * FLIP
    for position in cameras.world_from_camera[:, :3, 3].numpy():
        assert np.abs(path - position).sum(axis=1).min() < 1e-4


def test_one_camera_has_no_path(make_cameras: Callable, tmp_path: Path) -> None:
    write_glb(tmp_path / "a.glb", empty_cloud(), make_cameras(1))
    assert list(trimesh.load_scene(tmp_path / "a.glb").geometry) == ["camera_0000"]


def test_a_file_of_cameras_alone_is_read(cameras: Cameras, tmp_path: Path) -> None:
    write_glb(tmp_path / "a.glb", empty_cloud(), cameras)
    points, colors, found = read_glb(tmp_path / "a.glb")
    assert points.shape == colors.shape == (0, 3)
    assert found == cameras


def test_a_foreign_file_without_points_is_refused(tmp_path: Path) -> None:
    trimesh.creation.box().export(tmp_path / "a.glb")
    with pytest.raises(FileError, match="expected one cloud of coloured points, got 0 clouds"):
        read_glb(tmp_path / "a.glb")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.99])
def test_truncated(reconstruction: Reconstruction, tmp_path: Path, share: float) -> None:
    path = reconstruction.points.save(tmp_path / "a.glb")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(FileError, match=r"a\.glb: expected a GLB file, got .*truncated"):
        read_glb(path)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="expected a GLB file, got no file of this name"):
        read_glb(tmp_path / "a.glb")


# Frusta


def test_a_frustum_spans_the_image_at_its_depth(cameras: Cameras) -> None:
    corners = frustum_corners(cameras, 0.7)
    assert torch.equal(corners[:, 0], cameras.world_from_camera[:, :3, 3])
    corners_camera = transform_points(invert(cameras.world_from_camera), corners[:, 1:])
    pixels, depth = project(corners_camera, cameras.K)
    torch.testing.assert_close(depth, torch.full((13, 4), 0.7), atol=1e-5, rtol=0)
    expected = torch.tensor([[0.0, 0.0], [24.0, 0.0], [24.0, 18.0], [0.0, 18.0]])
    torch.testing.assert_close(pixels, expected.expand(13, 4, 2), atol=1e-3, rtol=0)


def test_far_points_do_not_count(make_cameras: Callable) -> None:
    cameras = make_cameras(1)
    position = cameras.world_from_camera[0, :3, 3]
    offsets = torch.cat([torch.eye(3), -torch.eye(3), 100 * torch.eye(3)[:1]])
    near = near_points(position + offsets, cameras)
    assert near.tolist() == [True] * 6 + [False]
    assert scene_extent(position + offsets, cameras) == pytest.approx(2 * 3**0.5, rel=1e-4)
    assert scene_extent(torch.zeros(0, 3), cameras) == 1.0

"""Meshes: their files, and how near those of the controlled world come to the truth."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jog3r import FileError, InputError, Reconstruction, SaveError
from jog3r.results import Mesh, PointSelection
from jog3r.results.mesh import MESH_SELECTION, MESH_VOXEL_RATIO

FINE = replace(MESH_SELECTION, voxel_ratio=MESH_VOXEL_RATIO)


@pytest.fixture(scope="module")
def mesh(world_scene: Reconstruction) -> Mesh:
    return world_scene.mesh(FINE)


def tetrahedron() -> Mesh:
    vertices = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [0.0, 2, 0], [0.0, 0, 3]])
    triangles = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    return Mesh(vertices, triangles, torch.arange(12, dtype=torch.uint8).reshape(4, 3) * 20)


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_files_hold_the_mesh(suffix: str, tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    mesh = tetrahedron()
    path = mesh.save(tmp_path / f"mesh{suffix}")
    loaded = trimesh.load_mesh(path, process=False)
    signs = [1, -1, -1] if suffix == ".glb" else [1, 1, 1]
    np.testing.assert_array_equal(loaded.vertices, mesh.vertices.numpy() * signs)
    np.testing.assert_array_equal(loaded.faces, mesh.triangles.numpy())
    np.testing.assert_array_equal(loaded.visual.vertex_colors[:, :3], mesh.colors.numpy())
    assert loaded.is_watertight
    assert loaded.volume == pytest.approx(1.0)  # positive: the triangles turn as documented
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e5])
@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_there_and_back(suffix: str, size: float, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    mesh = Mesh(
        size * torch.randn(50, 3, generator=generator),
        torch.randint(0, 45, (80, 3), generator=generator),  # some vertices have no triangle
        torch.randint(0, 256, (50, 3), dtype=torch.uint8, generator=generator),
    )
    back = Mesh.load(mesh.save(tmp_path / f"mesh{suffix}"))
    if suffix == ".obj":  # text, of eight decimals of the largest number
        torch.testing.assert_close(back.vertices, mesh.vertices, rtol=0, atol=2e-8 * size)
        back = replace(back, vertices=mesh.vertices)
    assert back == mesh


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_truncated_files(suffix: str, share: float, tmp_path: Path) -> None:
    path = tetrahedron().save(tmp_path / f"mesh{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(FileError, match=rf"mesh\{suffix}: expected"):
        Mesh.load(path)


def test_other_files(world_scene: Reconstruction, tmp_path: Path) -> None:
    for suffix in (".ply", ".glb"):
        cloud = world_scene.points.save(tmp_path / f"cloud{suffix}")
        with pytest.raises(FileError, match="expected"):
            Mesh.load(cloud)
    plain = tmp_path / "plain.obj"
    plain.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(FileError, match="expected triangles with colours at their vertices"):
        Mesh.load(plain)
    plain.write_text("v 0 0 0 1 1 1\nv 1 0 0 1 1 1\nv 0 inf 0 1 1 1\nf 1 2 3\n")
    with pytest.raises(FileError, match=r"plain\.obj: .*expected"):
        Mesh.load(plain)
    with pytest.raises(FileError, match="expected a mesh, got no file of this name"):
        Mesh.load(tmp_path / "none.ply")
    with pytest.raises(InputError, match=r"ending in .ply or .glb or .obj, got"):
        Mesh.load(tmp_path / "mesh.stl")


@pytest.mark.usefixtures("as_a_user")
def test_saving_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ending in .ply or .glb or .obj, got"):
        tetrahedron().save(tmp_path / "mesh.stl")
    with pytest.raises(InputError, match="mesh: expected triangles, got none"):
        replace(tetrahedron(), triangles=torch.zeros(0, 3).long()).save(tmp_path / "mesh.ply")
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(SaveError, match="expected to write it whole"):
        tetrahedron().save(tmp_path / "taken" / "mesh.ply")
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vertices": torch.full((4, 3), math.nan)}, "vertices: expected finite values, got 12"),
        ({"vertices": torch.zeros(4, 2)}, r"vertices: expected \(N, 3\)"),
        ({"colors": torch.zeros(3, 3).byte()}, r"colors: expected \(4, 3\), got \(3, 3\)"),
        ({"triangles": torch.tensor([[0, 1, 4]])}, "numbers of 4 vertices, got 1 triangles"),
        ({"triangles": torch.tensor([[0, 1, -1]])}, "numbers of 4 vertices, got 1 triangles"),
        ({"triangles": torch.zeros(1, 3)}, "triangles: expected torch.int64"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_wrong_parts_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(tetrahedron(), **changes)


def test_meshes_are_equal_when_all_their_numbers_are() -> None:
    assert tetrahedron() == tetrahedron()
    assert tetrahedron() != replace(tetrahedron(), colors=torch.zeros(4, 3).byte())
    assert repr(tetrahedron()) == "Mesh(4 vertices, 4 triangles)"


def distance_to_pixels(mesh: Mesh, scene: Reconstruction) -> torch.Tensor:
    """Distance from every pixel's true point to the mesh."""
    open3d = pytest.importorskip("open3d")
    caster = open3d.t.geometry.RaycastingScene()
    vertices = open3d.core.Tensor(mesh.vertices.numpy())
    caster.add_triangles(vertices, open3d.core.Tensor(mesh.triangles.numpy().astype(np.uint32)))
    points = scene.select_points(MESH_SELECTION).points
    return torch.from_numpy(caster.compute_distance(open3d.core.Tensor(points.numpy())).numpy())


def test_the_world_comes_back(mesh: Mesh, world_scene: Reconstruction) -> None:
    voxel = MESH_VOXEL_RATIO * world_scene.select_points(MESH_SELECTION).extent
    distance = distance_to_pixels(mesh, world_scene)
    assert distance.mean() < 0.5 * voxel
    assert distance.quantile(0.95) < voxel
    assert mesh.colors.float().std() > 10


def test_voxels_are_no_finer_than_pixels_unless_asked(world_scene: Reconstruction) -> None:
    keep = world_scene.point_mask(MESH_SELECTION)
    depth = float(np.median(world_scene.depth[keep].numpy()))
    pixel = depth / float(world_scene.cameras.K[0, 0, 0])
    ratio = 2 * pixel / world_scene.select_points(MESH_SELECTION).extent
    assert ratio > MESH_VOXEL_RATIO
    coarse = world_scene.mesh(replace(MESH_SELECTION, voxel_ratio=ratio))
    assert world_scene.mesh() == coarse


def test_noise_averages_out(world_scene: Reconstruction) -> None:
    noise = torch.randn(world_scene.depth.shape, generator=torch.Generator().manual_seed(0))
    noisy = replace(world_scene, depth=world_scene.depth * (1 + 0.02 * noise))
    selection = PointSelection(voxel_ratio=1 / 96, max_depth_ratio=4.0)
    mesh = noisy.mesh(selection, truncation_voxels=6.0)
    truth = distance_to_pixels(mesh, world_scene).mean()
    assert truth < 0.5 * (0.02 * world_scene.depth).mean()
    assert len(noisy.mesh(selection, least_views=3).triangles) < len(mesh.triangles)


def test_what_is_masked_is_not_in_the_mesh(mesh: Mesh, world_scene: Reconstruction) -> None:
    near = world_scene.depth < world_scene.depth.median()
    masked = replace(world_scene, mask=near)
    part = masked.mesh(FINE)
    assert part == world_scene.mesh(FINE, mask=near)
    assert part.vertices[:, 2].max() < mesh.vertices[:, 2].max()
    with pytest.raises(InputError, match="expected some to measure their extent, got none"):
        replace(world_scene, mask=near & False).mesh()


def test_a_mesh_has_no_use_for_steps_on_points(world_scene: Reconstruction) -> None:
    for name, value in (("outlier_neighbours", 20), ("normal_neighbours", 9), ("max_points", 5)):
        with pytest.raises(InputError, match=f"voxel_ratio for a mesh, got {name}; leave"):
            world_scene.mesh(PointSelection(**{name: value}))
    with pytest.raises(InputError, match="least_views: expected at least 1 each, got"):
        world_scene.mesh(least_views=0)

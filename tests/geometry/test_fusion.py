"""Fusion: planes and balls as exact truth, cameras of different K, masks, and what is refused."""

import math
import sys

import pytest
import torch
from torch import Tensor

from jog3r.errors import InputError, MissingPackageError
from jog3r.geometry import fusion, intrinsics_from_fov, rays_camera, rigid, transform_points
from jog3r.geometry.fusion import Triangles, fuse_depth

SIZE = (48, 64)
VOXEL = 0.05
BALL = torch.tensor([0.2, -0.1, 3.0])
PLANE = torch.nn.functional.normalize(torch.tensor([0.5, 0.2, -0.8]), dim=0)


def views(frames: int = 3) -> tuple[Tensor, Tensor]:
    """Cameras in a row with another field of view each."""
    world_from_camera = torch.eye(4).repeat(frames, 1, 1)
    world_from_camera[:, 0, 3] = 0.3 * (torch.arange(frames) - 1)
    K = torch.stack([intrinsics_from_fov(40.0 + 10 * frame, SIZE) for frame in range(frames)])
    return world_from_camera, K


def rays(world_from_camera: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    origin = world_from_camera[:, None, None, :3, 3]
    return origin, transform_points(world_from_camera, rays_camera(K, SIZE)) - origin


def plane_depth(world_from_camera: Tensor, K: Tensor) -> Tensor:
    """Distance to the plane through (0, 0, 3)."""
    origin, direction = rays(world_from_camera, K)
    return (PLANE[2] * 3 - origin @ PLANE) / (direction @ PLANE)


def distance(points: Tensor) -> Tensor:
    """Distance from the plane."""
    return points @ PLANE - PLANE[2] * 3


def ball_depth(world_from_camera: Tensor, K: Tensor) -> Tensor:
    """Distance to a ball of radius 0.8, 0 beside it."""
    origin, direction = rays(world_from_camera, K)
    away = origin - BALL
    a, b = direction.square().sum(-1), (direction * away).sum(-1)
    square = b.square() - a * (away.square().sum(-1) - 0.8**2)
    return torch.where(square > 0, (-b - square.clamp(min=0).sqrt()) / a, 0.0)


def fuse(depth: Tensor, world_from_camera: Tensor, K: Tensor, **options: float) -> Triangles:
    frames = torch.zeros(*depth.shape, 3, dtype=torch.uint8)
    frames[..., 0] = 200
    return fuse_depth(
        depth,
        depth > 0,
        frames,
        K,
        world_from_camera,
        **({"voxel_size": VOXEL} | options),  # type: ignore[arg-type]
    )


def facing(mesh: Triangles) -> Tensor:
    """Normals of the triangles by the order of their corners."""
    a, b, c = mesh.vertices[mesh.triangles].unbind(dim=1)
    return torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1)


def test_a_plane_comes_back() -> None:
    world_from_camera, K = views()
    mesh = fuse(plane_depth(world_from_camera, K), world_from_camera, K)
    error = distance(mesh.vertices)
    assert len(mesh.triangles) > 2000
    assert error.abs().mean() < 0.25 * VOXEL
    assert error.abs().max() < 1.5 * VOXEL  # a pixel is as large as a voxel
    assert error.mean().abs() < 0.05 * VOXEL  # half a pixel of K would shift it by 0.3
    assert ((facing(mesh) * PLANE).sum(dim=1) > 0.5).float().mean() > 0.99  # the cameras' side
    assert mesh.colors[:, 0].min() == mesh.colors[:, 0].max() == 200
    assert mesh.colors[:, 1:].max() == 0


def test_a_ball_comes_back() -> None:
    world_from_camera, K = views()
    mesh = fuse(ball_depth(world_from_camera, K), world_from_camera, K)
    error = (mesh.vertices - BALL).norm(dim=1) - 0.8
    assert len(mesh.triangles) > 300
    assert error.abs().mean() < 0.5 * VOXEL
    centre = mesh.vertices[mesh.triangles].mean(dim=1) - BALL
    assert ((facing(mesh) * centre).sum(dim=1) > 0).float().mean() > 0.95


def test_moving_the_world_moves_the_mesh() -> None:
    world_from_camera, K = views()
    moved = rigid(torch.eye(3), torch.tensor([1.0, -2.0, 0.5]) * 16 * VOXEL)
    depth = plane_depth(world_from_camera, K)
    here, there = fuse(depth, world_from_camera, K), fuse(depth, moved @ world_from_camera, K)
    assert abs(len(here.vertices) - len(there.vertices)) < 0.02 * len(here.vertices)
    mean = there.vertices.mean(dim=0) - here.vertices.mean(dim=0)
    torch.testing.assert_close(mean, moved[:3, 3], atol=0.2 * VOXEL, rtol=0)


def test_runs_agree_bit_by_bit() -> None:
    world_from_camera, K = views()
    depth = ball_depth(world_from_camera, K)
    first, second = (fuse(depth, world_from_camera, K) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_options_change_the_mesh() -> None:
    world_from_camera, K = views()
    depth = plane_depth(world_from_camera, K)
    base = fuse(depth, world_from_camera, K)
    assert len(fuse(depth, world_from_camera, K, voxel_size=0.1).vertices) < len(base.vertices) / 3
    common = fuse(depth, world_from_camera, K, least_views=3)
    assert 0 < len(common.vertices) < 0.8 * len(base.vertices)
    assert len(fuse(depth, world_from_camera, K, least_views=4).vertices) == 0
    noise = torch.randn(depth.shape, generator=torch.Generator().manual_seed(0))
    narrow, wide = (
        fuse(depth * (1 + 0.03 * noise), world_from_camera, K, truncation_voxels=width).vertices
        for width in (2.0, 6.0)
    )
    assert distance(wide).abs().mean() < distance(narrow).abs().mean()


def test_only_kept_pixels_are_fused() -> None:
    world_from_camera, K = views()
    depth = plane_depth(world_from_camera, K)
    keep = torch.ones_like(depth, dtype=torch.bool)
    keep[:, :, 32:] = False
    frames = torch.zeros(*depth.shape, 3, dtype=torch.uint8)
    mesh = fuse_depth(depth, keep, frames, K, world_from_camera, voxel_size=VOXEL)
    assert mesh.vertices[:, 0].max() < 0.3 + 2 * VOXEL  # the axis of the rightmost camera
    none = fuse_depth(depth, keep & False, frames, K, world_from_camera, voxel_size=VOXEL)
    assert [len(part) for part in none] == [0, 0, 0]


def test_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    world_from_camera, K = views()
    depth = plane_depth(world_from_camera, K)
    skewed = K.clone()
    skewed[1, 0, 1] = 0.5
    with pytest.raises(InputError, match="K: expected no skew for a mesh"):
        fuse(depth, world_from_camera, skewed)
    for wrong in ({"truncation_voxels": 0.5}, {"truncation_voxels": math.nan}, {"least_views": 0}):
        with pytest.raises(InputError, match="least_views: expected at least 1 each, got"):
            fuse(depth, world_from_camera, K, **wrong)
    for size in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="voxel_size: expected a length above 0, got"):
            fuse(depth, world_from_camera, K, voxel_size=size)
    monkeypatch.setattr(fusion, "MAX_BLOCKS", 20)
    with pytest.raises(InputError, match=r"at most 20 blocks .* take larger voxels"):
        fuse(depth, world_from_camera, K)


def test_without_open3d_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    world_from_camera, K = views()
    with pytest.raises(MissingPackageError, match="expected it to fuse depth maps, got"):
        fuse(plane_depth(world_from_camera, K), world_from_camera, K)

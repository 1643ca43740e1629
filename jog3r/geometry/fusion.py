"""Fusion of depth maps to one triangle mesh, through a truncated signed distance field.

Every voxel near a surface averages, over the frames that see it, how far in front of or behind the
surface it lies; the mesh is where that mean changes sign. So noise averages out, and what single
frames contradict each other in is smoothed. open3d's VoxelBlockGrid does it; the voxels are sparse.
"""

import math
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry.open3d_package import require_open3d
from jog3r.geometry.pointmaps import pointmap_from_depth
from jog3r.geometry.transforms import invert

MAX_BLOCKS = 1 << 14
"""Blocks of voxels, of 80 KiB each, that a mesh may need: 1.25 GiB, and as much while it grows."""
_FIRST_BLOCKS = 1 << 10  # the grid grows by itself
_BLOCK = 16  # voxels along the edge of a block


class Triangles(NamedTuple):
    """A triangle mesh with colours at its vertices."""

    vertices: Float32[Tensor, "n 3"]
    triangles: Int64[Tensor, "m 3"]
    colors: UInt8[Tensor, "n 3"]


def fuse_depth(
    depth: Float32[Tensor, "t h w"],
    keep: Bool[Tensor, "t h w"],
    frames: UInt8[Tensor, "t h w 3"],
    K: Float32[Tensor, "t 3 3"],
    world_from_camera: Float32[Tensor, "t 4 4"],
    *,
    voxel_size: float,
    truncation_voxels: float = 4.0,
    least_views: int = 1,
) -> Triangles:
    """Fuse depth maps; frame by frame, so that memory is that of the surface.

    Args:
        depth: z-depth.
        keep: pixels to use.
        frames: RGB.
        K: intrinsics [px], without skew.
        world_from_camera: cameras.
        voxel_size: edge of a voxel in the unit of the depth.
        truncation_voxels: how far from the surface distances are averaged [voxels].
        least_views: frames that have to see a voxel for it to count.

    Returns:
        Vertices in the world frame, sorted, the same in every run; triangles turn anticlockwise
        where they are seen from the outside.

    Raises:
        InputError: K with skew, which open3d does not take, a surface of too many voxels, or values
            out of range.
        MissingPackageError: open3d does not load.

    Source: Curless and Levoy, A volumetric method for building complex models from range images,
        1996.
    """
    if not truncation_voxels >= 1 or not least_views >= 1:
        raise InputError(
            "truncation_voxels, least_views: expected at least 1 each, got"
            f" {truncation_voxels} and {least_views}"
        )
    if not 0 < voxel_size < math.inf:
        raise InputError(f"voxel_size: expected a length above 0, got {voxel_size!r}")
    if bool((K[:, 0, 1] != 0).any()):
        raise InputError("K: expected no skew for a mesh, got some; rectify the frames")
    if not bool(keep.any()):
        return _nothing()
    open3d = require_open3d("fuse depth maps")
    grid = _grid(open3d, voxel_size)
    for index in range(len(depth)):
        if not bool(keep[index].any()):
            continue
        world = pointmap_from_depth(depth[index], K[index], world_from_camera[index])
        seen = open3d.t.geometry.PointCloud(_tensor(open3d, world[keep[index]]))
        blocks = grid.compute_unique_block_coordinates(seen, truncation_voxels)
        _check_blocks(grid.hashmap().size() + len(blocks), voxel_size)
        kept = torch.where(keep[index], depth[index], 0.0)
        camera_from_world = _tensor(open3d, invert(world_from_camera[index]).double())
        # open3d takes the pixel that a voxel falls into: its K has pixel centres at +0.5 as ours.
        intrinsics = _tensor(open3d, K[index].double())
        grid.integrate(
            blocks,
            open3d.t.geometry.Image(_tensor(open3d, kept)),
            open3d.t.geometry.Image(_tensor(open3d, frames[index].float() / 255)),
            intrinsics,
            intrinsics,
            camera_from_world,
            depth_scale=1.0,
            depth_max=2.0 * float(kept.max()),
            trunc_voxel_multiplier=truncation_voxels,
        )
    return _triangles(grid.extract_triangle_mesh(least_views - 0.5))


def _grid(open3d: ModuleType, voxel_size: float) -> Any:
    kinds = {"tsdf": 1, "weight": 1, "color": 3}
    return open3d.t.geometry.VoxelBlockGrid(
        tuple(kinds),
        (open3d.core.float32,) * 3,
        tuple((channels,) for channels in kinds.values()),
        voxel_size,
        _BLOCK,
        _FIRST_BLOCKS,
    )


def _tensor(open3d: ModuleType, value: Tensor) -> Any:
    return open3d.core.Tensor.from_numpy(value.contiguous().numpy())


def _check_blocks(most: int, voxel_size: float) -> None:
    if most > MAX_BLOCKS:
        raise InputError(
            f"voxel_size: expected a surface of at most {MAX_BLOCKS} blocks of {_BLOCK}^3 voxels,"
            f" got up to {most} at {voxel_size:.4g}; take larger voxels or leave out what is far"
        )


def _triangles(mesh: Any) -> Triangles:
    """Bring a mesh into an order that does not depend on the run, as open3d's does."""
    if "positions" not in mesh.vertex or "indices" not in mesh.triangle:
        return _nothing()
    vertices = mesh.vertex.positions.numpy()
    order = np.lexsort(vertices.T)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    triangles = place[mesh.triangle.indices.numpy()]
    first = triangles.argmin(axis=1)[:, None]
    turned = np.take_along_axis(triangles, (first + np.arange(3)) % 3, axis=1)
    colors = np.clip(255 * mesh.vertex.colors.numpy()[order], 0, 255).round().astype(np.uint8)
    return Triangles(
        torch.from_numpy(vertices[order]),
        torch.from_numpy(turned[np.lexsort(turned.T)]),
        torch.from_numpy(colors),
    )


def _nothing() -> Triangles:
    return Triangles(torch.zeros(0, 3), torch.zeros(0, 3).long(), torch.zeros(0, 3).byte())

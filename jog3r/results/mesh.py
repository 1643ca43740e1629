"""Triangles that span a scene's surfaces."""

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from jog3r.errors import InputError
from jog3r.result_checks import as_path, check_finite, check_suffix, check_tensor
from jog3r.results.equality import Result
from jog3r.results.selection import DEFAULT_SELECTION, PointSelection

MESH_SUFFIXES = (".ply", ".glb", ".obj")

MESH_VOXEL_RATIO = 1 / 192
"""Edge of a voxel as a share of the scene's extent, where the selection says none."""

MESH_VOXEL_PX = 2.0
"""It is at least so many pixels wide at the median depth: finer ones show the pixels as steps."""

MESH_SELECTION = PointSelection(max_depth_ratio=4.0, max_slant_deg=85.0)
"""What `Reconstruction.mesh` fuses: the far ground would need more voxels than all the rest."""

_PIXEL_STEPS = ("drop_fraction", "max_depth_ratio", "max_slant_deg", "voxel_ratio")


@dataclass(frozen=True, eq=False, repr=False)
class Mesh(Result):
    """A coloured triangle mesh in the world frame.

    Args:
        vertices: world frame.
        triangles: numbers of three vertices, anticlockwise where seen from the outside.
        colors: RGB of the vertices.

    Raises:
        InputError: wrong shapes, dtypes or devices, NaN, or numbers of vertices that do not exist.

    Example:
        >>> grey = torch.full((3, 3), 128, dtype=torch.uint8)
        >>> Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]), grey)
        Mesh(3 vertices, 1 triangles)
    """

    vertices: Float32[Tensor, "n 3"]
    triangles: Int64[Tensor, "m 3"]
    colors: UInt8[Tensor, "n 3"]

    def __post_init__(self) -> None:
        check_tensor("vertices", self.vertices, ("N", 3), torch.float32, empty=True)
        count = len(self.vertices)
        check_tensor("triangles", self.triangles, ("M", 3), torch.int64, empty=True)
        check_tensor("colors", self.colors, (count, 3), torch.uint8, empty=True)
        check_finite("vertices", self.vertices)
        wrong = int(((self.triangles < 0) | (self.triangles >= count)).any(dim=1).sum())
        if wrong:
            raise InputError(
                f"triangles: expected numbers of {count} vertices, got {wrong} triangles with"
                " others; count from 0"
            )

    def save(self, path: str | Path) -> Path:
        """Write `.ply`, `.obj` (both with the axes of the world) or `.glb` (y up); return the path.

        Raises:
            InputError: another suffix, or a mesh without triangles.
            SaveError: the file could not be written; nothing partial is left.
        """
        from jog3r.export.mesh import write_mesh

        path = as_path("path", path)
        check_suffix(path, MESH_SUFFIXES)
        write_mesh(path, self)
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Mesh":
        """Read what `save` wrote.

        Raises:
            InputError: another suffix.
            FileError: missing, truncated or foreign file; names it.
        """
        from jog3r.export.mesh import read_mesh

        path = as_path("path", path)
        check_suffix(path, MESH_SUFFIXES)
        return read_mesh(path)

    def __repr__(self) -> str:
        return f"Mesh({len(self.vertices)} vertices, {len(self.triangles)} triangles)"


def check_mesh_selection(selection: PointSelection) -> None:
    """Check that a selection asks nothing of points, which a mesh does not have.

    Raises:
        InputError: it does.
    """
    unused = [
        field.name
        for field in fields(selection)
        if field.name not in _PIXEL_STEPS
        and getattr(selection, field.name) != getattr(DEFAULT_SELECTION, field.name)
    ]
    if unused:
        raise InputError(
            f"selection: expected only {', '.join(_PIXEL_STEPS)} for a mesh, got"
            f" {', '.join(unused)}; leave them out"
        )

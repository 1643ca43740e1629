"""Triangle meshes as PLY, OBJ and binary glTF, with colours at their vertices.

PLY and OBJ keep the axes of the world (OpenCV: x right, y down, z forward). glTF is y up, so there
everything is turned by half a turn about x, (x, y, z) -> (x, -y, -z), as for point clouds. OBJ is
text: its first line counts vertices and triangles, so that a file that was cut short is noticed.
"""

import math
import re
from pathlib import Path

import numpy as np
import torch

from jog3r.errors import FileError, InputError, MissingPackageError
from jog3r.export.atomic import atomic_file
from jog3r.export.glb import GLTF_FROM_WORLD
from jog3r.results import Mesh

try:
    import trimesh
    from trimesh.visual import ColorVisuals
except ImportError as error:  # pragma: no cover
    raise MissingPackageError(
        f"trimesh: expected it for meshes, got '{error}'; pip install trimesh"
    ) from error


def write_mesh(path: Path, mesh: Mesh) -> None:
    """Write a mesh in the format that the suffix of the path names.

    Raises:
        InputError: no triangle: these formats and their readers disagree on what that is.
        SaveError: the file could not be written; nothing partial is left.
    """
    if not len(mesh.triangles):
        raise InputError("mesh: expected triangles, got none; was anything fused?")
    kind = path.suffix.lower()[1:]
    vertices = mesh.vertices.numpy()
    if kind == "glb":
        vertices = vertices * GLTF_FROM_WORLD
    shown = trimesh.Trimesh(
        vertices, mesh.triangles.numpy(), vertex_colors=mesh.colors.numpy(), process=False
    )
    content = (
        shown.export(file_type=kind, digits=_decimals(vertices))
        if kind == "obj"
        else shown.export(file_type=kind)
    )
    counts = f"# {len(mesh.vertices)} vertices, {len(mesh.triangles)} triangles\n"
    data = (counts + content).encode() if isinstance(content, str) else content
    assert isinstance(data, bytes)  # for these types; others give a dictionary
    with atomic_file(path) as file:
        file.write(data)


def read_mesh(path: Path) -> Mesh:
    """Read a mesh that `write_mesh` wrote, by the suffix of the path.

    Raises:
        FileError: missing, truncated or foreign file, or one without colours at its vertices.
    """
    if not path.is_file():
        raise FileError(f"{path}: expected a mesh, got no file of this name")
    kind = path.suffix.lower()[1:]
    try:
        # maintain_order: the reader of OBJ would sort the vertices anew.
        loaded = trimesh.load_mesh(path, file_type=kind, process=False, maintain_order=True)
    except Exception as error:  # whatever trimesh trips over in a damaged file
        raise FileError(
            f"{path}: expected a mesh, got '{error or type(error).__name__}'; is it truncated?"
        ) from error
    visual = loaded.visual
    if not (isinstance(visual, ColorVisuals) and visual.kind == "vertex" and len(loaded.faces)):
        raise FileError(
            f"{path}: expected triangles with colours at their vertices, got"
            f" {len(loaded.faces)} triangles, or none of these colours; was it written by"
            " Mesh.save()?"
        )
    vertices = np.asarray(loaded.vertices, dtype=np.float32)
    triangles = np.array(loaded.faces, dtype=np.int64)
    colors = np.array(visual.vertex_colors[:, :3], dtype=np.uint8)
    signs = GLTF_FROM_WORLD if kind == "glb" else np.float32(1)
    mesh = _mesh(path, vertices * signs, triangles, colors)
    if kind == "obj":
        _check_counts(path, mesh)
    return mesh


def _decimals(vertices: np.ndarray) -> int:
    """Return after how many decimals OBJ may stop: eight digits of the largest number are kept."""
    largest = float(np.abs(vertices).max()) or 1.0
    return max(8, 8 - math.floor(math.log10(largest)))


def _mesh(path: Path, *arrays: np.ndarray) -> Mesh:
    try:
        return Mesh(*map(torch.from_numpy, arrays))
    except InputError as error:
        raise FileError(f"{path}: {error}; is it truncated?") from error


def _check_counts(path: Path, mesh: Mesh) -> None:
    with path.open(encoding="utf-8", errors="replace") as file:
        found = re.match(r"# (\d+) vertices, (\d+) triangles", file.readline())
    if found and (int(found[1]), int(found[2])) != (len(mesh.vertices), len(mesh.triangles)):
        raise FileError(
            f"{path}: expected {found[1]} vertices and {found[2]} triangles, got {mesh!r};"
            " is the file truncated?"
        )

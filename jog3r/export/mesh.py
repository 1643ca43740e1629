"""Triangle meshes as PLY, OBJ and binary glTF, with colours at their vertices.

PLY and OBJ keep the axes of the world (OpenCV: x right, y down, z forward). glTF is y up, so there
everything is turned by half a turn about x, (x, y, z) -> (x, -y, -z), as for point clouds.
"""

from pathlib import Path

import numpy as np

from jog3r.errors import InputError, MissingPackageError
from jog3r.export.atomic import atomic_file
from jog3r.results import Mesh

try:
    import trimesh
except ImportError as error:  # pragma: no cover
    raise MissingPackageError(
        f"trimesh: expected it for meshes, got '{error}'; pip install trimesh"
    ) from error

GLTF_FROM_WORLD = np.array([1.0, -1.0, -1.0], dtype=np.float32)
"""Signs of the axes; its own inverse."""


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
    content = trimesh.Trimesh(
        vertices, mesh.triangles.numpy(), vertex_colors=mesh.colors.numpy(), process=False
    ).export(file_type=kind)
    data = content.encode() if isinstance(content, str) else content
    assert isinstance(data, bytes)  # for these types; others give a dictionary
    with atomic_file(path) as file:
        file.write(data)

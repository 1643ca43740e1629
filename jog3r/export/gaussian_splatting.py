"""A folder that trainers of 3D Gaussian splatting take as it is.

::

    images/0000.png ...
    sparse/0/cameras.bin images.bin points3D.bin     and the same as .txt
    sparse/0/points3D.ply                            x y z, nx ny nz, red green blue

The trainer of the 3DGS paper reads the binary files first and makes points3D.ply of points3D.bin
where it is missing; gsplat, nerfstudio and others read one or the other. Normals are 0 where the
cloud has none, as that trainer writes them itself. It takes the principal point for the image
centre, whatever the file says.

Source: Kerbl et al., "3D Gaussian Splatting" (SIGGRAPH 2023), reference implementation's input.
"""

from pathlib import Path

import numpy as np
import torch

from jog3r.export.colmap_binary import write_colmap_binary
from jog3r.export.colmap_records import ColmapModel
from jog3r.export.colmap_text import write_colmap_text
from jog3r.export.ply import columns_of, read_vertices, write_vertices
from jog3r.results import PointCloud

PROPERTIES = {
    **dict.fromkeys(("x", "y", "z", "nx", "ny", "nz"), "float"),
    **dict.fromkeys(("red", "green", "blue"), "uchar"),
}


def write_gaussian_splatting(sparse: Path, model: ColmapModel, cloud: PointCloud) -> None:
    """Write the folder sparse/0: the model in both kinds, and its points.

    Raises:
        InputError: what COLMAP cannot say.
        SaveError: a file could not be written.
    """
    # Text goes first, and both into a new folder: neither finds the other's files there.
    write_colmap_text(sparse / "text", model)
    write_colmap_binary(sparse, model)
    for file in (sparse / "text").iterdir():
        file.rename(sparse / file.name)
    (sparse / "text").rmdir()
    normals = torch.zeros_like(cloud.points) if cloud.normals is None else cloud.normals
    columns = [*cloud.points.numpy().T, *normals.numpy().T, *cloud.colors.numpy().T]
    write_vertices(sparse / "points3D.ply", PROPERTIES, columns)


def read_gaussian_points(path: str | Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Read positions, float32 (N, 3), and colours, uint8 (N, 3), of a points3D.ply.

    Raises:
        FileError: missing, truncated or foreign file.
    """
    data = read_vertices(path, PROPERTIES)
    points = columns_of(data, ("x", "y", "z"), np.float32)
    return points, columns_of(data, ("red", "green", "blue"), np.uint8)

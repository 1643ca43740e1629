"""Camera paths as a KITTI odometry file, which evo and the KITTI development kit read.

One line per frame, 12 numbers: the 3x4 matrix **world_from_camera**, row by row, OpenCV axes::

    m00 m01 m02 m03  m10 m11 m12 m13  m20 m21 m22 m23

There is no place for time stamps, K or the image size, and none for comments: the line number is
the frame.

Source: KITTI vision benchmark, odometry development kit.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from jog3r.errors import FileError
from jog3r.export.atomic import atomic_file
from jog3r.export.text import number_rows, read_text
from jog3r.results import Cameras

COLUMNS = [f"m{row}{column}" for row in range(3) for column in range(4)]
ROTATION_TOLERANCE = 1e-3
"""Largest deviation from a rotation: files carry six digits or more."""


def write_kitti(path: str | Path, cameras: Cameras) -> None:
    """Write the camera path with all digits of float32; K is not in this format.

    Raises:
        SaveError: the file could not be written; nothing partial is left.
    """
    rows = cameras.world_from_camera[:, :3].reshape(len(cameras), 12).double().tolist()
    lines = [" ".join(f"{number:.9g}" for number in row) for row in rows]
    with atomic_file(path) as file:
        file.write(("\n".join(lines) + "\n").encode())


def read_kitti(path: str | Path) -> Float32[Tensor, "t 4 4"]:
    """Read a camera path.

    Raises:
        FileError: missing, truncated or foreign file, or a matrix that is no rotation, for example
            a mirrored one; names line and column.
    """
    rows = list(number_rows(path, read_text(path).splitlines(), COLUMNS))
    if not rows:
        raise FileError(f"{path}: expected one line per camera ({' '.join(COLUMNS)}), got none")
    for line, row in rows:
        rotation = np.reshape(row, (3, 4))[:, :3]
        deviation = np.abs(rotation @ rotation.T - np.eye(3)).max()
        determinant = np.linalg.det(rotation)
        if determinant < 0 or deviation > ROTATION_TOLERANCE:
            raise FileError(
                f"{path}: line {line}, columns 1 to 12: expected a rotation (determinant 1) and a"
                f" position, row by row, got determinant {determinant:.4g}, off by {deviation:.2g};"
                " is it mirrored, or column by column?"
            )
    table = torch.tensor([row for _, row in rows], dtype=torch.float32).reshape(-1, 3, 4)
    below = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(len(rows), 1, 4)
    return torch.cat([table, below], dim=1)

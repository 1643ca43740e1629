"""Camera paths as a TUM trajectory file, which evo, ORB-SLAM and many others read.

One line per frame, 8 numbers; lines that start with # are comments::

    timestamp[s]  tx ty tz  qx qy qz qw

Position and rotation are **world_from_camera**, OpenCV axes, unit quaternion with w last. The
format has no place for K nor for the image size: use `json` or `realestate10k` to keep these.

Source: TUM RGB-D benchmark, file formats.
"""

from pathlib import Path
from typing import NamedTuple

import roma
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from jog3r.errors import FileError
from jog3r.export.atomic import atomic_file
from jog3r.export.text import number_rows, read_text
from jog3r.geometry import rigid
from jog3r.results import Cameras

COLUMNS = ["timestamp", "tx", "ty", "tz", "qx", "qy", "qz", "qw"]
QUATERNION_TOLERANCE = 1e-2
"""Largest deviation of a quaternion's length from 1: files carry as few as three decimals."""


class TumTrajectory(NamedTuple):
    """Content of one file."""

    world_from_camera: Float32[Tensor, "t 4 4"]
    timestamps_s: Float64[Tensor, " t"]


def write_tum(path: str | Path, cameras: Cameras, *, fps: float | None = None) -> None:
    """Write the camera path; K is not in this format.

    Args:
        path: to create or replace.
        cameras: to write.
        fps: frame rate that the time stamps follow; None counts one second per frame.

    Raises:
        SaveError: the file could not be written; nothing partial is left.
    """
    world_from_camera = cameras.world_from_camera.double()
    quaternions = roma.rotmat_to_unitquat(roma.special_procrustes(world_from_camera[:, :3, :3]))
    rows = torch.cat([world_from_camera[:, :3, 3], quaternions], dim=-1).tolist()
    lines = ["# world_from_camera, OpenCV axes: " + " ".join(COLUMNS)]
    for frame, row in enumerate(rows):
        lines.append(" ".join(f"{number:.17g}" for number in [frame / (fps or 1.0), *row]))
    with atomic_file(path) as file:
        file.write(("\n".join(lines) + "\n").encode())


def read_tum(path: str | Path) -> TumTrajectory:
    """Read a camera path.

    Raises:
        FileError: missing, truncated or foreign file, or a quaternion that is not of length 1;
            names line and column.
    """
    rows = list(number_rows(path, read_text(path).splitlines(), COLUMNS))
    if not rows:
        raise FileError(f"{path}: expected one line per camera ({' '.join(COLUMNS)}), got none")
    table = torch.tensor([row for _, row in rows], dtype=torch.float64)
    lengths = table[:, 4:].norm(dim=-1)
    wrong = ((lengths - 1).abs() > QUATERNION_TOLERANCE).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise FileError(
            f"{path}: line {rows[row][0]}, columns 5 to 8: expected a unit quaternion (qx qy qz"
            f" qw), got length {float(lengths[row]):.4g}; is this another format?"
        )
    rotation = roma.unitquat_to_rotmat(table[:, 4:] / lengths[:, None])
    return TumTrajectory(rigid(rotation, table[:, 1:4]).float(), table[:, 0])

"""Camera paths as a TUM trajectory file, which evo, ORB-SLAM and many others read.

One line per frame, 8 numbers; lines that start with # are comments::

    timestamp[s]  tx ty tz  qx qy qz qw

Position and rotation are **world_from_camera**, OpenCV axes, unit quaternion with w last. The
format has no place for K nor for the image size: use `json` or `realestate10k` to keep these.

Some programs, MonST3R among them, write the quaternion with w first. Nothing in a file says so: any
four numbers of length 1 are a rotation either way, and the angle between two frames is the same. It
shows only where the first camera is the world, as there: then the row reads 1 0 0 0, which with w
last would be half a turn about x. Such a file is refused, unless the caller names the order.

Source: TUM RGB-D benchmark, file formats.
"""

from pathlib import Path
from typing import Literal, NamedTuple

import roma
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from jog3r.errors import FileError, InputError
from jog3r.export.atomic import atomic_file
from jog3r.export.text import number_rows, read_text
from jog3r.geometry import rigid
from jog3r.results import Cameras

QuaternionOrder = Literal["xyzw", "wxyz"]

COLUMNS = ["timestamp", "tx", "ty", "tz", "qx", "qy", "qz", "qw"]
QUATERNION_TOLERANCE = 1e-2
"""Largest deviation of a quaternion's length from 1: files carry as few as three decimals."""

HALF_TURN_TOLERANCE = 1e-9
"""1 - |first number| of a unit quaternion that is taken for 1 0 0 0; an angle of 0.005 degrees."""


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


def read_tum(path: str | Path, *, quaternion: QuaternionOrder | None = None) -> TumTrajectory:
    """Read a camera path.

    Args:
        path: to read.
        quaternion: order of its numbers; None takes w last, and refuses a first camera that would
            be turned by exactly half a turn about x.

    Raises:
        InputError: another order.
        FileError: missing, truncated or foreign file, a quaternion that is not of length 1, or what
            looks like w first; names line and column.
    """
    if quaternion not in ("xyzw", "wxyz", None):
        raise InputError(f"quaternion: expected 'xyzw' or 'wxyz', got {quaternion!r}")
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
    unit = table[:, 4:] / lengths[:, None]
    if quaternion is None and float(unit[0, 0].abs()) > 1 - HALF_TURN_TOLERANCE:
        raise FileError(
            f"{path}: line {rows[0][0]}, columns 5 to 8: expected a quaternion with w last, got"
            " 1 0 0 0, the identity with w first; read_tum(path, quaternion='wxyz') or"
            " convert-cameras --quaternion wxyz, or xyzw if the first camera is turned by half a"
            " turn about x"
        )
    rotation = roma.unitquat_to_rotmat(
        roma.quat_wxyz_to_xyzw(unit) if quaternion == "wxyz" else unit
    )
    return TumTrajectory(rigid(rotation, table[:, 1:4]).float(), table[:, 0])

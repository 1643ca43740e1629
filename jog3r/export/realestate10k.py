"""Cameras as a RealEstate10K text file.

The first line names the video (a URL; here a comment) and is never read as a camera. Every other
line is one frame, 19 numbers::

    timestamp_us  fx/W fy/H cx/W cy/H  0 0  m00 m01 m02 m03  m10 ... m23

where m is the 3x4 matrix **camera_from_world**, row by row, with OpenCV axes. K is divided by the
image size, which the format does not store: our first line says it, and for other files the reader
must be told. The pixel rule is ours as well: the image spans [0, W] x [0, H].

Source: Zhou et al., "Stereo Magnification" (SIGGRAPH 2018), data set description.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from jog3r.errors import FileError, InputError
from jog3r.export.atomic import atomic_file
from jog3r.export.text import number_rows, read_text
from jog3r.results import Cameras

COLUMNS = ["timestamp_us", "fx/W", "fy/H", "cx/W", "cy/H", "k1", "k2"] + [
    f"m{row}{column}" for row in range(3) for column in range(4)
]
_OWN_FIRST_LINE = "# jog3r camera_from_world, image "
_OWN_SIZE = re.compile(re.escape(_OWN_FIRST_LINE) + r"(\d{1,6})x(\d{1,6}) px")


class RealEstate10K(NamedTuple):
    """Content of one file."""

    cameras: Cameras
    timestamps_us: tuple[int, ...]
    first_line: str


def write_realestate10k(path: str | Path, cameras: Cameras, *, fps: float | None = None) -> None:
    """Write cameras with 17 digits, so that reading gives the same float32 numbers.

    Args:
        path: to create or replace.
        cameras: to write.
        fps: frame rate that the time stamps follow; None counts one second per frame.

    Raises:
        InputError: K with skew, which this format cannot say.
        SaveError: the file could not be written; nothing partial is left.
    """
    if bool((cameras.K[:, 0, 1] != 0).any()):
        raise InputError(
            "K: expected no skew, got K[0, 1] != 0, which realestate10k cannot say; use json"
        )
    height, width = cameras.image_size
    K = cameras.K.double().numpy() / np.array([[width], [height], [1.0]])
    # The full inverse, not the transpose: float32 rotations are orthonormal to 1e-7 only, and the
    # reader's inverse must undo this one exactly.
    camera_from_world = np.linalg.inv(cameras.world_from_camera.double().numpy())
    lines = [f"{_OWN_FIRST_LINE}{width}x{height} px"]
    for frame, (k, matrix) in enumerate(zip(K, camera_from_world, strict=True)):
        timestamp = round(frame * 1e6 / (fps or 1.0))
        numbers = [k[0, 0], k[1, 1], k[0, 2], k[1, 2], 0.0, 0.0, *matrix[:3].ravel()]
        lines.append(" ".join([str(timestamp), *(f"{number:.17g}" for number in numbers)]))
    with atomic_file(path) as file:
        file.write(("\n".join(lines) + "\n").encode())


def read_realestate10k(
    path: str | Path, *, image_size: tuple[int, int] | None = None
) -> RealEstate10K:
    """Read one camera file.

    Args:
        path: to read.
        image_size: (height, width) [px] of the images the cameras are wanted for; may be left out
            for files that jog3r wrote.

    Raises:
        InputError: no image size, neither given nor in the file, or two that differ.
        FileError: missing, truncated or foreign file; names line and column.
    """
    first_line, *lines = read_text(path).splitlines() or [""]
    if len(first_line.split()) == len(COLUMNS):
        raise FileError(
            f"{path}: line 1: expected the video's URL or a comment, got a line of"
            f" {len(COLUMNS)} numbers; insert a first line, no camera is read from it"
        )
    height, width = _image_size(path, first_line, image_size)
    rows = list(number_rows(path, lines, COLUMNS, first_line=2))
    if not rows:
        raise FileError(f"{path}: expected one line per camera, got none")
    timestamps, K, world_from_camera = [], [], []
    for line, row in rows:
        if row[5] != 0 or row[6] != 0:
            raise FileError(
                f"{path}: line {line}, columns 6 and 7: expected 0 0, got {row[5]:g} {row[6]:g};"
                " lens distortion is not supported, undistort the images first"
            )
        timestamps.append(round(row[0]))
        fx, fy, cx, cy = (a * size for a, size in zip(row[1:5], [width, height] * 2, strict=True))
        K.append([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
        world_from_camera.append(_inverse(path, line, row[7:]))
    try:
        cameras = Cameras(
            torch.tensor(np.stack(world_from_camera), dtype=torch.float32),
            torch.tensor(K, dtype=torch.float32),
            (height, width),
        )
    except InputError as error:
        raise FileError(f"{path}: {error}") from error
    return RealEstate10K(cameras, tuple(timestamps), first_line)


def _inverse(path: str | Path, line: int, entries: list[float]) -> np.ndarray:
    camera_from_world = np.eye(4)
    camera_from_world[:3] = np.reshape(entries, (3, 4))
    if abs(np.linalg.det(camera_from_world) - 1) > 0.01:
        raise FileError(
            f"{path}: line {line}, columns 8 to 19: expected a rotation (determinant 1) and a"
            f" translation, got determinant {np.linalg.det(camera_from_world):.4g}"
        )
    return np.linalg.inv(camera_from_world)


def _image_size(
    path: str | Path, first_line: str, given: tuple[int, int] | None
) -> tuple[int, int]:
    match = _OWN_SIZE.match(first_line)
    if match is None and first_line.startswith(_OWN_FIRST_LINE):
        raise FileError(
            f"{path}: line 1: expected the image's size as in '640x480 px', got"
            f" {first_line[len(_OWN_FIRST_LINE) :][:40]!r}; correct it"
        )
    stored = None if match is None else (int(match[2]), int(match[1]))
    if stored is not None and given is not None and tuple(given) != stored:
        raise InputError(
            f"image_size: expected {stored} as in {path}, got {tuple(given)}; leave it out and"
            " use resize_intrinsics() on the result"
        )
    size = given or stored
    if size is None:
        raise InputError(
            f"image_size: expected (height, width) of the images, got None; {path} holds K"
            " divided by it"
        )
    return size

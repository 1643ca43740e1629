"""The camera formats behind `Cameras.save` and `Cameras.load`; each has a file of its own."""

from pathlib import Path
from typing import get_args

import torch
from jaxtyping import Float32
from torch import Tensor

from jog3r.errors import InputError
from jog3r.export.cameras_json import read_cameras_json, write_cameras_json
from jog3r.export.realestate10k import read_realestate10k, write_realestate10k
from jog3r.export.tum import read_tum, write_tum
from jog3r.result_checks import check_fps, image_size_of
from jog3r.results import CameraFormat, Cameras


def write_cameras(
    path: str | Path, cameras: Cameras, format: CameraFormat, *, fps: float | None = None
) -> None:
    """Write cameras in the named format; see `Cameras.save`.

    Raises:
        InputError: unknown format, or a frame rate outside [0.001, 1000].
        SaveError: the file could not be written; nothing partial is left.
    """
    if fps is not None:
        check_fps(fps)
    if format == "realestate10k":
        write_realestate10k(path, cameras, fps=fps)
    elif format == "tum":
        write_tum(path, cameras, fps=fps)
    elif format == "json":
        write_cameras_json(path, cameras, fps=fps)
    else:
        raise _unknown(format)


def read_cameras(
    path: str | Path,
    format: CameraFormat,
    *,
    image_size: tuple[int, int] | None = None,
    K: Float32[Tensor, "3 3"] | None = None,
) -> Cameras:
    """Read cameras in the named format; see `Cameras.load`.

    Raises:
        InputError: unknown format, an argument that this format needs or has no use for, or one
            of another shape.
        FileError: missing, truncated or foreign file.
    """
    image_size = None if image_size is None else image_size_of(image_size)
    if format == "tum":
        if K is None or image_size is None:
            raise InputError("K, image_size: expected both for tum, which stores neither, got None")
        one = _intrinsics(K)
        world_from_camera = read_tum(path).world_from_camera
        return Cameras(world_from_camera, one.repeat(len(world_from_camera), 1, 1), image_size)
    if K is not None:
        raise InputError(f"K: expected None, since {format} files store it; leave it out")
    if format == "realestate10k":
        return read_realestate10k(path, image_size=image_size).cameras
    if format == "json":
        return read_cameras_json(path, image_size=image_size).cameras
    raise _unknown(format)


def _intrinsics(K: object) -> Float32[Tensor, "3 3"]:
    try:
        matrix = torch.as_tensor(K, dtype=torch.float32).detach().cpu()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        matrix = torch.empty(0)
    if matrix.shape != (3, 3):
        raise InputError(f"K: expected 3x3 numbers, those of all frames, got {K!r}")
    return matrix


def _unknown(format: object) -> InputError:
    return InputError(f"format: expected one of {get_args(CameraFormat)}, got {format!r}")

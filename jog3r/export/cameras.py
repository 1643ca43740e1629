"""The camera formats behind `Cameras.save` and `Cameras.load`; each has a file of its own."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float32
from torch import Tensor

from jog3r.errors import InputError
from jog3r.export.cameras_json import read_cameras_json, write_cameras_json
from jog3r.export.colmap import cameras_model, find_model
from jog3r.export.colmap_binary import BINARY_FILES, read_colmap_binary, write_colmap_binary
from jog3r.export.colmap_text import TEXT_FILES, read_colmap_text, write_colmap_text
from jog3r.export.images import image_name
from jog3r.export.kitti import read_kitti, write_kitti
from jog3r.export.nerfstudio import read_nerfstudio, write_nerfstudio
from jog3r.export.npz import read_cameras_npz, write_cameras_npz
from jog3r.export.realestate10k import read_realestate10k, write_realestate10k
from jog3r.export.tum import QuaternionOrder, read_tum, write_tum
from jog3r.result_checks import as_path, check_fps, image_size_of
from jog3r.results import CameraFormat, Cameras

Size = tuple[int, int]

UNEVEN = 0.01
"""Time stamps whose steps differ by at most this share count as even: files round them."""


class NamedCameras(NamedTuple):
    """Cameras, the image of each one where the file says it, and the frame rate."""

    cameras: Cameras
    files: tuple[str, ...] | None = None
    fps: float | None = None


class Trajectory(NamedTuple):
    """Cameras without their lenses, and the frame rate."""

    world_from_camera: Tensor
    fps: float | None


class Format(NamedTuple):
    """What one format can do."""

    write: Callable[..., None]
    """Takes path, cameras, and `files` and `fps` where the format has a place for them."""
    read: Callable[[Path, Size | None], NamedCameras] | None
    """Takes path and image size, None where the file says it; None for a path without lens."""
    trajectory: Callable[..., Trajectory] | None = None
    """For formats without K and image size; takes path, and `quaternion` where it is not fixed."""
    has_files: bool = False
    has_time: bool = False


def write_cameras(
    path: str | Path,
    cameras: Cameras,
    format: CameraFormat,
    *,
    fps: float | None = None,
    files: Sequence[str] | None = None,
) -> None:
    """Write cameras in the named format; see `Cameras.save`.

    Args:
        path: to create or replace.
        cameras: to write.
        format: name.
        fps: frame rate that the time stamps follow.
        files: name of each camera's image.

    Raises:
        InputError: unknown format, a frame rate outside [0.001, 1000], or something that this
            format has no place for.
        SaveError: the file could not be written; nothing partial is left.
    """
    chosen = format_named(format)
    if fps is not None:
        check_fps(fps)
    for name, value, kept in (("fps", fps, chosen.has_time), ("files", files, chosen.has_files)):
        if value is not None and not kept:
            raise InputError(f"{name}: expected None, {format} has no place for it; leave it out")
    given = {name: value for name, value in (("fps", fps), ("files", files)) if value is not None}
    chosen.write(path, cameras, **given)


def read_cameras(
    path: str | Path,
    format: CameraFormat,
    *,
    image_size: Size | None = None,
    K: Float32[Tensor, "3 3"] | None = None,
) -> Cameras:
    """Read cameras in the named format; see `Cameras.load`.

    Raises:
        InputError: unknown format, an argument that this format needs or has no use for, or one
            of another shape.
        FileError: missing, truncated or foreign file.
    """
    return read_named_cameras(path, format, image_size=image_size, K=K).cameras


def read_named_cameras(
    path: str | Path,
    format: CameraFormat,
    *,
    image_size: Size | None = None,
    K: Float32[Tensor, "3 3"] | None = None,
    quaternion: QuaternionOrder | None = None,
) -> NamedCameras:
    """Read cameras together with the names of their images and the frame rate.

    Args:
        path: file or folder to read.
        format: name.
        image_size: (height, width) [px], for files that do not say it.
        K: intrinsics of all frames [px], for formats without.
        quaternion: order of the numbers in a TUM file, as in `read_tum`.

    Raises:
        InputError: as `read_cameras`.
        FileError: as `read_cameras`.
    """
    chosen = format_named(format)
    image_size = None if image_size is None else image_size_of(image_size)
    if quaternion is not None and format != "tum":
        raise InputError(f"quaternion: expected None, {format} has one order; leave it out")
    place = as_path("path", path)
    if chosen.read is not None:
        if K is not None:
            raise InputError(f"K: expected None, since {format} files store it; leave it out")
        return chosen.read(place, image_size)
    if K is None or image_size is None:
        raise InputError(
            f"K, image_size: expected both for {format}, which stores neither, got None"
        )
    one = _intrinsics(K)
    assert chosen.trajectory is not None  # of every format without lens
    # Only TUM files leave the order open.
    order = {} if quaternion is None else {"quaternion": quaternion}
    world_from_camera, fps = chosen.trajectory(place, **order)
    lenses = one.repeat(len(world_from_camera), 1, 1)
    return NamedCameras(Cameras(world_from_camera, lenses, image_size), fps=fps)


def frame_rate(timestamps_s: Sequence[float]) -> float | None:
    """Return the frame rate that evenly spaced time stamps follow; None for all others.

    Example:
        >>> frame_rate([0.0, 0.125, 0.25]), frame_rate([0.0, 0.1, 0.5]), frame_rate([0.0])
        (8.0, None, None)
    """
    steps = [after - before for before, after in pairwise(timestamps_s)]
    if not steps:
        return None
    mean = sum(steps) / len(steps)
    even = all(abs(step - mean) <= UNEVEN * abs(mean) for step in steps)
    return round(1 / mean, 3) if even and 1e-3 <= mean <= 1e3 else None


def format_named(format: object) -> Format:
    """Return a format by its name.

    Raises:
        InputError: unknown.
    """
    if not isinstance(format, str) or format not in FORMATS:
        raise InputError(f"format: expected one of {tuple(FORMATS)}, got {format!r}")
    return FORMATS[format]


def _intrinsics(K: object) -> Float32[Tensor, "3 3"]:
    try:
        matrix = torch.as_tensor(K, dtype=torch.float32).detach().cpu()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        matrix = torch.empty(0)
    if matrix.shape != (3, 3):
        raise InputError(f"K: expected 3x3 numbers, those of all frames, got {K!r}")
    return matrix


def _read_realestate10k(path: Path, size: Size | None) -> NamedCameras:
    content = read_realestate10k(path, image_size=size)
    return NamedCameras(content.cameras, fps=frame_rate([t / 1e6 for t in content.timestamps_us]))


def _read_json(path: Path, size: Size | None) -> NamedCameras:
    content = read_cameras_json(path, image_size=size)
    files = tuple(file for file in content.files if file is not None)
    complete = len(files) == len(content.files)
    return NamedCameras(content.cameras, files if complete else None, content.fps)


def _read_colmap_text(path: Path, size: Size | None) -> NamedCameras:
    model = read_colmap_text(find_model(path, TEXT_FILES))
    return _of_size(path, NamedCameras(model.cameras, model.files), size)


def _read_colmap_binary(path: Path, size: Size | None) -> NamedCameras:
    model = read_colmap_binary(find_model(path, BINARY_FILES))
    return _of_size(path, NamedCameras(model.cameras, model.files), size)


def _read_nerfstudio(path: Path, size: Size | None) -> NamedCameras:
    content = read_nerfstudio(path)
    return _of_size(path, NamedCameras(content.cameras, content.files), size)


def _read_npz(path: Path, size: Size | None) -> NamedCameras:
    return _of_size(path, NamedCameras(*read_cameras_npz(path)), size)


def _read_tum_path(path: Path, quaternion: QuaternionOrder | None = None) -> Trajectory:
    content = read_tum(path, quaternion=quaternion)
    return Trajectory(content.world_from_camera, frame_rate(content.timestamps_s.tolist()))


def _read_kitti_path(path: Path) -> Trajectory:
    return Trajectory(read_kitti(path), None)


def _of_size(path: Path, read: NamedCameras, given: Size | None) -> NamedCameras:
    stored = read.cameras.image_size
    if given is not None and given != stored:
        raise InputError(
            f"image_size: expected {stored} as in {path}, got {given}; leave it out and use"
            " resize_intrinsics() on the result"
        )
    return read


def _write_colmap_text(path: Path, cameras: Cameras, **names: Any) -> None:
    write_colmap_text(path, cameras_model(cameras, **names))


def _write_colmap_binary(path: Path, cameras: Cameras, **names: Any) -> None:
    write_colmap_binary(path, cameras_model(cameras, **names))


def _write_nerfstudio(path: Path, cameras: Cameras, files: Sequence[str] | None = None) -> None:
    names = [f"images/{image_name(index)}" for index in range(len(cameras))]
    write_nerfstudio(path, cameras, files=names if files is None else files)


FORMATS: dict[str, Format] = {
    "realestate10k": Format(write_realestate10k, _read_realestate10k, has_time=True),
    "tum": Format(write_tum, None, _read_tum_path, has_time=True),
    "kitti": Format(write_kitti, None, _read_kitti_path),
    "json": Format(write_cameras_json, _read_json, has_files=True, has_time=True),
    "colmap-text": Format(_write_colmap_text, _read_colmap_text, has_files=True),
    "colmap-binary": Format(_write_colmap_binary, _read_colmap_binary, has_files=True),
    "nerfstudio": Format(_write_nerfstudio, _read_nerfstudio, has_files=True),
    "npz": Format(write_cameras_npz, _read_npz, has_files=True, has_time=True),
}
"""Every name that `Cameras.save` and `Cameras.load` take."""

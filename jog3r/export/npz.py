"""A scene, or cameras alone, as one NumPy file.

Arrays: `world_from_camera` (T, 4, 4) and `K` (T, 3, 3), float32, OpenCV axes, K in pixels;
`image_size` [height, width]; for cameras with known images `files`; for a scene `frames` (T, H, W,
3) uint8, `depth` and `confidence` (T, H, W) float32, `fps`, `scale`, `flags`, and `mask` (T, H, W)
bool if there is one. `numpy.load` reads it; nothing in it is pickled.
"""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from jog3r.errors import FileError, InputError
from jog3r.export.atomic import atomic_file
from jog3r.result_checks import as_path
from jog3r.results import Cameras, Reconstruction, Video

CONVENTION = "opencv: x right, y down, z forward; world_from_camera; pixel centres at +0.5"


class CamerasNpz(NamedTuple):
    """The cameras of one file."""

    cameras: Cameras
    files: tuple[str, ...] | None
    fps: float | None


def write_npz(path: str | Path, scene: Reconstruction) -> None:
    """Write a scene.

    Raises:
        SaveError: the file could not be written; nothing partial is left.
    """
    maps = {"depth": scene.depth, "confidence": scene.confidence, "mask": scene.mask}
    arrays = {name: value.numpy() for name, value in maps.items() if value is not None}
    arrays |= {"frames": scene.video.frames.numpy(), "fps": np.float64(scene.video.fps)}
    arrays |= {"scale": np.array(scene.scale), "flags": np.array(scene.flags, dtype=np.str_)}
    _write(path, _camera_arrays(scene.cameras) | arrays)


def read_npz(path: str | Path) -> Reconstruction:
    """Read a scene, bit for bit.

    Raises:
        FileError: missing, truncated or foreign file, an array missing or of another kind.
    """
    arrays = read_arrays(path)
    cameras = _cameras(path, arrays)
    wanted = ("frames", "fps", "depth", "confidence", "scale", "flags")
    check_present(path, arrays, wanted, "it holds cameras only" if "depth" not in arrays else "")
    frames, depth, confidence = (
        array_tensor(path, arrays, n) for n in ("frames", "depth", "confidence")
    )
    mask = array_tensor(path, arrays, "mask") if "mask" in arrays else None
    try:
        video = Video(frames, arrays["fps"].item())
        scale, flags = arrays["scale"].item(), tuple(arrays["flags"].tolist())
        return Reconstruction(video, cameras, depth, confidence, scale, mask, flags)
    except (InputError, ValueError, TypeError) as error:
        raise FileError(f"{path}: expected parts that fit each other, got {error}") from error


def write_cameras_npz(
    path: str | Path,
    cameras: Cameras,
    *,
    files: Sequence[str] | None = None,
    fps: float | None = None,
) -> None:
    """Write cameras alone.

    Args:
        path: to create or replace.
        cameras: to write.
        files: name of each camera's image.
        fps: frames per second of the images.

    Raises:
        InputError: another number of image names than of cameras.
        SaveError: the file could not be written; nothing partial is left.
    """
    if files is not None and len(files) != len(cameras):
        raise InputError(f"files: expected {len(cameras)} image names, got {len(files)}")
    arrays = _camera_arrays(cameras)
    arrays |= {} if files is None else {"files": np.array(files, dtype=np.str_)}
    arrays |= {} if fps is None else {"fps": np.float64(fps)}
    _write(path, arrays)


def read_cameras_npz(path: str | Path) -> CamerasNpz:
    """Read cameras, bit for bit; also those of a scene.

    Raises:
        FileError: missing, truncated or foreign file, an array missing or of another kind.
    """
    arrays = read_arrays(path)
    cameras = _cameras(path, arrays)
    files = None
    if "files" in arrays:
        names = arrays["files"]
        if names.shape != (len(cameras),) or names.dtype.kind != "U":
            raise FileError(
                f"{path}: files: expected {len(cameras)} names, got {names.dtype} {names.shape}"
            )
        files = tuple(names.tolist())
    fps = arrays.get("fps")
    return CamerasNpz(cameras, files, None if fps is None or fps.ndim else float(fps))


def _camera_arrays(cameras: Cameras) -> dict[str, Any]:
    return {
        "convention": np.array(CONVENTION),
        "world_from_camera": cameras.world_from_camera.numpy(),
        "K": cameras.K.numpy(),
        "image_size": np.array(cameras.image_size),
    }


def _cameras(path: str | Path, arrays: dict[str, np.ndarray]) -> Cameras:
    check_present(path, arrays, ("world_from_camera", "K", "image_size"))
    size = arrays["image_size"]
    if size.shape != (2,) or size.dtype.kind not in "iu":
        raise FileError(
            f"{path}: image_size: expected [height, width], got {size.dtype} {size.shape}"
        )
    try:
        height, width = size.tolist()
        world_from_camera, K = (array_tensor(path, arrays, n) for n in ("world_from_camera", "K"))
        return Cameras(world_from_camera, K, (height, width))
    except InputError as error:
        raise FileError(f"{path}: {error}") from error


def _write(path: str | Path, arrays: dict[str, Any]) -> None:
    with atomic_file(path) as file:
        np.savez_compressed(file, **arrays)


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Read all arrays of a file.

    Raises:
        FileError: missing, truncated or foreign file.
    """
    try:
        with as_path("path", path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return dict(archive)
    except FileNotFoundError:
        raise FileError(f"{path}: expected an NPZ file, got none of this name") from None
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise FileError(f"{path}: expected an NPZ file, got '{error}'; is it truncated?") from error


def check_present(
    path: str | Path, arrays: dict[str, np.ndarray], names: Sequence[str], hint: str = ""
) -> None:
    """Refuse a file without some of the arrays.

    Raises:
        FileError: one is missing.
    """
    missing = [name for name in names if name not in arrays]
    if missing:
        raise FileError(
            f"{path}: expected the arrays {' '.join(names)}, got none called {' '.join(missing)};"
            f" {hint or 'was it written by jog3r?'}"
        )


def array_tensor(path: str | Path, arrays: dict[str, np.ndarray], name: str) -> Tensor:
    """Return one of the arrays as a tensor.

    Raises:
        FileError: it holds no numbers.
    """
    try:
        return torch.from_numpy(arrays[name])
    except TypeError as error:
        raise FileError(f"{path}: {name}: expected numbers, got {arrays[name].dtype}") from error

"""Cameras as one JSON file: the only text format of ours that keeps everything.

::

    {"convention": "opencv", "image_size": [width, height], "fps": 8.0, "scale": "relative",
     "frames": [{"file": "frames/0000.png", "K": [[...], ...], "world_from_camera": [[...], ...]}]}

OpenCV axes (x right, y down, z forward); K in pixels of an image that spans [0, W] x [0, H]. Note
that `image_size` is width first in the file, and height first in Python. `fps` and `scale` may be
missing or null; other entries are ignored. Each camera belongs to the image in its own entry.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jog3r.errors import FileError, InputError
from jog3r.export.atomic import atomic_file
from jog3r.export.text import read_text
from jog3r.result_checks import MAX_SIDE
from jog3r.results import Cameras


class CamerasJson(NamedTuple):
    """Content of one file; `files[i]` is the image of camera i, None where the file names none."""

    cameras: Cameras
    files: tuple[str | None, ...]
    fps: float | None
    scale: str | None


def write_cameras_json(
    path: str | Path,
    cameras: Cameras,
    *,
    files: Sequence[str] | None = None,
    fps: float | None = None,
    scale: str | None = None,
) -> None:
    """Write cameras with all digits of float32.

    Args:
        path: to create or replace.
        cameras: to write.
        files: name of each camera's image, relative to the file's folder.
        fps: frames per second of the images.
        scale: unit of length.

    Raises:
        InputError: another number of image names than of cameras.
        SaveError: the file could not be written; nothing partial is left.
    """
    if files is not None and len(files) != len(cameras):
        raise InputError(f"files: expected {len(cameras)} image names, got {len(files)}")
    height, width = cameras.image_size
    head: dict[str, Any] = {"convention": "opencv", "image_size": [width, height]}
    head |= {name: value for name, value in (("fps", fps), ("scale", scale)) if value is not None}
    frames = []
    matrices = zip(cameras.K.tolist(), cameras.world_from_camera.tolist(), strict=True)
    for index, (K, world_from_camera) in enumerate(matrices):
        named = {} if files is None else {"file": files[index]}
        frames.append(json.dumps(named | {"K": K, "world_from_camera": world_from_camera}))
    # One line per camera: easy to read, and to compare with other tools.
    text = json.dumps(head)[:-1] + ', "frames": [\n  ' + ",\n  ".join(frames) + "\n]}\n"
    with atomic_file(path) as file:
        file.write(text.encode())


def read_cameras_json(
    path: str | Path, *, image_size: tuple[int, int] | None = None
) -> CamerasJson:
    """Read cameras.

    Args:
        path: to read.
        image_size: (height, width) [px], for files that do not say it.

    Raises:
        InputError: no image size, neither given nor in the file, or two that differ.
        FileError: missing, truncated or foreign file; names the entry.
    """
    content = read_json(path)
    if content.get("convention") != "opencv":
        raise FileError(
            f"{path}: convention: expected 'opencv' (x right, y down, z forward),"
            f" got {content.get('convention')!r}; convert the cameras first"
        )
    frames = content.get("frames")
    if not isinstance(frames, list) or not frames:
        raise FileError(f"{path}: frames: expected a list of cameras, got {_brief(frames)}")
    try:
        cameras = Cameras(
            _matrices(path, frames, "world_from_camera", 4),
            _matrices(path, frames, "K", 3),
            _image_size(path, content.get("image_size"), image_size),
        )
    except InputError as error:
        if str(error).startswith("image_size"):
            raise
        raise FileError(f"{path}: {error}") from error
    files = tuple(frame.get("file") for frame in frames)
    for index, file in enumerate(files):
        if file is not None and (not isinstance(file, str) or "\0" in file):
            raise FileError(
                f"{path}: frames[{index}].file: expected the name of an image, got {_brief(file)}"
            )
    return CamerasJson(cameras, files, content.get("fps"), content.get("scale"))


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        FileError: missing or truncated file, no JSON, or another kind of value; names line and
            column.
    """
    text = read_text(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise FileError(
            f"{path}: line {error.lineno}, column {error.colno}: expected JSON, got '{error.msg}';"
            " is the file truncated?"
        ) from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, deep nesting
        raise FileError(f"{path}: expected JSON of a sane size, got '{error}'") from error
    if not isinstance(content, dict):
        raise FileError(f"{path}: expected a JSON object, got {_brief(content)}")
    return content


def _matrices(path: str | Path, frames: list[Any], key: str, size: int) -> Tensor:
    matrices = []
    for index, frame in enumerate(frames):
        entry = frame.get(key) if isinstance(frame, dict) else None
        try:
            matrix = torch.tensor(entry, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            matrix = torch.empty(0)
        if matrix.shape != (size, size):
            raise FileError(
                f"{path}: frames[{index}].{key}: expected {size}x{size} numbers,"
                f" got {_brief(entry)}"
            )
        matrices.append(matrix)
    return torch.stack(matrices)


def _image_size(path: str | Path, entry: Any, given: tuple[int, int] | None) -> tuple[int, int]:
    stored = None
    if entry is not None:
        whole = isinstance(entry, list) and len(entry) == 2
        if not whole or not all(type(side) is int and 0 < side <= MAX_SIDE for side in entry):
            raise FileError(f"{path}: image_size: expected [width, height], got {_brief(entry)}")
        stored = (entry[1], entry[0])
    if stored is not None and given is not None and tuple(given) != stored:
        raise InputError(
            f"image_size: expected {stored} as in {path}, got {tuple(given)}; leave it out and"
            " use resize_intrinsics() on the result"
        )
    size = given or stored
    if size is None:
        raise InputError(
            f"image_size: expected (height, width) of the images, got None; {path} has no such"
            " entry"
        )
    return size


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

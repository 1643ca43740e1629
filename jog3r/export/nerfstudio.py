"""Cameras as nerfstudio's transforms.json.

A frame's `transform_matrix` is **world_from_camera** with OpenGL camera axes (x right, y up, z
back) in a world whose z is up. `applied_transform`, 3x4, takes points of the original world to that
world; ours is (x, y, z) -> (x, z, -y), a quarter turn about x that takes "y down" to "z up", as
nerfstudio's own converter from COLMAP does. All numbers only change place and sign, so the reader
undoes it without loss. K is `fl_x fl_y cx cy` in pixels of `w` x `h`, pixel centres at +0.5 as in
COLMAP; shared by all frames it stands at the top, else in every frame: nerfstudio ignores a
frame's own where the top has one. `ply_file_path` names points in the same z-up world.

Source: nerfstudio documentation, "Data conventions"; nerfstudio_dataparser.py, process_data.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import torch
from torch import Tensor

from jog3r.errors import FileError, InputError
from jog3r.export.atomic import atomic_file
from jog3r.export.cameras_json import read_json
from jog3r.result_checks import MAX_SIDE
from jog3r.results import Cameras

SAVED_FROM_WORLD = np.array([[1.0, 0, 0, 0], [0, 0, 1.0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1.0]])
"""Our `applied_transform`."""

CAMERA_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
PINHOLE_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE")
DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
LENS = ("fl_x", "fl_y", "cx", "cy", "w", "h")


class Nerfstudio(NamedTuple):
    """Content of one file; `files[i]` is the image of camera i."""

    cameras: Cameras
    files: tuple[str, ...]
    ply_file: str | None
    saved_from_world: np.ndarray
    """4x4, what takes points of the cameras' world to that of the file and of its ply."""


def write_nerfstudio(
    path: str | Path,
    cameras: Cameras,
    *,
    files: Sequence[str],
    ply_file: str | None = None,
) -> None:
    """Write cameras with all digits of float32.

    Args:
        path: to create or replace.
        cameras: to write.
        files: name of each camera's image, relative to the file's folder.
        ply_file: name of the points, relative to the file's folder; `to_saved_world` moves them.

    Raises:
        InputError: another number of image names than of cameras, or K with skew.
        SaveError: the file could not be written; nothing partial is left.
    """
    if len(files) != len(cameras):
        raise InputError(f"files: expected {len(cameras)} image names, got {len(files)}")
    if bool((cameras.K[:, 0, 1] != 0).any()):
        raise InputError(
            "K: expected no skew, got K[0, 1] != 0, which nerfstudio cannot say; use json"
        )
    lenses = [_lens(K, cameras.image_size) for K in cameras.K.tolist()]
    shared = all(lens == lenses[0] for lens in lenses)
    head: dict[str, Any] = {"camera_model": "OPENCV"} | (lenses[0] if shared else {})
    head |= {} if ply_file is None else {"ply_file_path": ply_file}
    head["applied_transform"] = SAVED_FROM_WORLD[:3].tolist()
    matrices = SAVED_FROM_WORLD @ cameras.world_from_camera.double().numpy() @ CAMERA_FROM_OPENGL
    frames = []
    for file, lens, matrix in zip(files, lenses, matrices.tolist(), strict=True):
        own = {} if shared else lens
        frames.append(json.dumps({"file_path": file, **own, "transform_matrix": matrix}))
    text = json.dumps(head)[:-1] + ', "frames": [\n  ' + ",\n  ".join(frames) + "\n]}\n"
    with atomic_file(path) as file:
        file.write(text.encode())


def read_nerfstudio(path: str | Path) -> Nerfstudio:
    """Read cameras, also of files from elsewhere.

    Raises:
        FileError: missing, truncated or foreign file, an entry that is missing or no finite number,
            lens distortion, a matrix that is no rotation, for example a mirrored one, images of
            several sizes, or an `applied_scale`; names the entry.
    """
    content = read_json(path)
    frames = frame_entries(path, content)
    _check_no_distortion(path, content, "")
    saved_from_world = applied_transform(path, content)
    files, K, sizes, matrices = [], [], [], []
    for index, frame in enumerate(frames):
        place = f"frames[{index}]."
        _check_no_distortion(path, frame, place)
        fx, fy, cx, cy, width, height = lens_entries(path, content, frame, place)
        files.append(text_entry(path, frame, f"{place}file_path"))
        K.append([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
        sizes.append((height, width))
        matrix = frame.get("transform_matrix")
        matrices.append(rigid_matrix(path, matrix, f"{place}transform_matrix"))
    if len(set(sizes)) > 1:
        raise FileError(
            f"{path}: w, h: expected images of one size, got (height, width)"
            f" {sorted(set(sizes))[:3]}; resize them first"
        )
    ply_file = text_entry(path, content, "ply_file_path") if "ply_file_path" in content else None
    world_from_saved = np.linalg.inv(saved_from_world)
    world_from_camera = world_from_saved @ np.stack(matrices) @ CAMERA_FROM_OPENGL
    try:
        cameras = Cameras(_float32(world_from_camera), torch.tensor(K), sizes[0])
    except InputError as error:
        raise FileError(f"{path}: {error}") from error
    return Nerfstudio(cameras, tuple(files), ply_file, saved_from_world)


def frame_entries(path: str | Path, content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of the frames.

    Raises:
        FileError: there are none, or an `applied_scale`.
    """
    frames = content.get("frames")
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise FileError(f"{path}: frames: expected a list of cameras, got {_brief(frames)}")
    if not frames:
        raise FileError(f"{path}: frames: expected one entry per camera, got none")
    if content.get("applied_scale", 1.0) != 1.0:
        raise FileError(
            f"{path}: applied_scale: expected none, got {_brief(content['applied_scale'])};"
            " divide the positions by it, and take it out"
        )
    return frames


def to_saved_world(points: Tensor) -> Tensor:
    """Move points of our world to that of the files that we write; numbers change place and sign.

    Example:
        >>> to_saved_world(torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([[ 1.,  3., -2.]])
    """
    return torch.stack([points[..., 0], points[..., 2], -points[..., 1]], dim=-1)


def from_saved_world(points: Tensor, saved_from_world: np.ndarray) -> Tensor:
    """Move points of a file's world to that of its cameras after reading."""
    world_from_saved = torch.from_numpy(np.linalg.inv(saved_from_world))
    return (points.double() @ world_from_saved[:3, :3].T + world_from_saved[:3, 3]).float()


def _lens(K: list[list[float]], image_size: tuple[int, int]) -> dict[str, float]:
    numbers = (K[0][0], K[1][1], K[0][2], K[1][2], image_size[1], image_size[0])
    return dict(zip(LENS, numbers, strict=True))


def lens_entries(
    path: str | Path, content: dict[str, Any], frame: dict[str, Any], place: str
) -> tuple[float, float, float, float, int, int]:
    """Return fx fy cx cy w h, each the file's own or else the frame's.

    Raises:
        FileError: one of them is missing or no number; names the entry.
    """
    numbers = []
    for name in LENS:
        entry = content.get(name, frame.get(name))
        if not _is_number(entry):
            raise FileError(
                f"{path}: {place}{name}: expected a number, there or for all frames, got"
                f" {_brief(entry)}"
            )
        numbers.append(float(entry))
    fx, fy, cx, cy, width, height = numbers
    if not all(side == int(side) and 0 < side <= MAX_SIDE for side in (width, height)):
        raise FileError(f"{path}: {place}w, h: expected whole pixels, got {width:g}, {height:g}")
    return fx, fy, cx, cy, int(width), int(height)


def _check_no_distortion(path: str | Path, entry: dict[str, Any], place: str) -> None:
    model = entry.get("camera_model", "OPENCV")
    wrong = [name for name in DISTORTION if entry.get(name, 0) != 0]
    if model not in PINHOLE_MODELS or wrong:
        found = f"{wrong[0]} = {_brief(entry[wrong[0]])}" if wrong else f"camera_model {model!r}"
        raise FileError(
            f"{path}: {place}{wrong[0] if wrong else 'camera_model'}: expected no lens distortion,"
            f" got {found}; undistort the images first"
        )


def applied_transform(path: str | Path, content: dict[str, Any]) -> np.ndarray:
    """Return what takes points of the cameras' world to that of the file, 4x4.

    Raises:
        FileError: it is no rigid transform.
    """
    entry = content.get("applied_transform", np.eye(4)[:3].tolist())
    return rigid_matrix(path, entry, "applied_transform")


def rigid_matrix(path: str | Path, entry: Any, place: str) -> np.ndarray:
    """Return a rigid 4x4 transform given as 4x4 or 3x4.

    Raises:
        FileError: another shape, no finite numbers, mirrored or scaled; names the entry.
    """
    try:
        given = np.array(entry, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        given = np.empty(0)
    if given.shape not in ((4, 4), (3, 4)) or not bool(np.isfinite(given).all()):
        raise FileError(f"{path}: {place}: expected 4x4 finite numbers, got {_brief(entry)}")
    matrix = np.eye(4)
    matrix[: len(given)] = given
    rotation = matrix[:3, :3]
    deviation = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if np.linalg.det(rotation) < 0 or deviation > 1e-3 or list(matrix[3]) != [0, 0, 0, 1]:
        raise FileError(
            f"{path}: {place}: expected a rotation (determinant 1) and a position, got determinant"
            f" {np.linalg.det(rotation):.4g}, off by {deviation:.2g}; is it mirrored or scaled?"
        )
    return matrix


def _float32(matrices: np.ndarray) -> Tensor:
    return torch.from_numpy(matrices).float()


def _is_number(entry: Any) -> TypeGuard[float]:
    kind = isinstance(entry, int | float) and not isinstance(entry, bool)
    return kind and abs(entry) < 1e30  # NaN is not below


def text_entry(path: str | Path, entries: dict[str, Any], place: str) -> str:
    """Return the name of a file, the entry that `place` ends with.

    Raises:
        FileError: it is missing or no text.
    """
    entry = entries.get(place.rpartition(".")[2])
    if not isinstance(entry, str) or not entry or "\0" in entry:
        raise FileError(f"{path}: {place}: expected the name of a file, got {_brief(entry)}")
    return entry


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

"""A COLMAP model between its files and our cameras: records as the files hold them.

COLMAP stores **camera_from_world** as a quaternion with **w first** (qw qx qy qz) and a
translation, OpenCV axes, K in pixels with centres at +0.5 as ours. An image names its camera (lens)
by id, and lists the pixels at which it sees points; a point lists the images that see it.

Source: COLMAP documentation, "Output Format" and "Camera Models".
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import roma
import torch
from torch import Tensor

from jog3r.errors import FileError, InputError
from jog3r.geometry import invert, rigid
from jog3r.result_checks import MAX_SIDE
from jog3r.results import Cameras

PINHOLE_PARAMETERS = {"SIMPLE_PINHOLE": ("f", "cx", "cy"), "PINHOLE": ("fx", "fy", "cx", "cy")}
"""The models without distortion, and what their numbers mean."""

LensModels = Mapping[str, tuple[str, ...]]
LENS_PARAMETERS: LensModels = PINHOLE_PARAMETERS | {
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
}
"""The perspective models, with and without distortion."""

QUATERNION_TOLERANCE = 1e-2


class Lens(NamedTuple):
    """One record of a cameras file."""

    model: str
    width: int
    height: int
    parameters: tuple[float, ...]


class Image(NamedTuple):
    """One record of an images file."""

    quaternion_wxyz: tuple[float, ...]
    translation: tuple[float, ...]
    lens: int
    name: str
    pixels: np.ndarray  # (n, 2) float64
    points: np.ndarray  # (n,) int64, ids; -1 = the pixel shows no known point


class Points(NamedTuple):
    """A points3D file."""

    ids: np.ndarray  # (n,) int64
    positions: np.ndarray  # (n, 3) float64, world frame
    colors: np.ndarray  # (n, 3) uint8
    errors_px: np.ndarray  # (n,) float64; -1 = not known
    tracks: list[np.ndarray]  # (length, 2) int64 each: image id, index of the pixel in that image


class Records(NamedTuple):
    """A whole model; the keys are ids."""

    lenses: dict[int, Lens]
    images: dict[int, Image]
    points: Points


class Observations(NamedTuple):
    """Which camera sees which point, one row each, ordered by camera."""

    frames: np.ndarray  # (m,) int64
    points: np.ndarray  # (m,) int64, rows of the positions
    pixels: np.ndarray  # (m, 2) float64


class ColmapModel(NamedTuple):
    """Content of a model; `files[i]` is the image of camera i, in the order of the image ids.

    Pixels that show no known point are not kept.
    """

    cameras: Cameras
    files: tuple[str, ...]
    positions: np.ndarray  # (n, 3) float64, world frame
    colors: np.ndarray  # (n, 3) uint8
    errors_px: np.ndarray  # (n,) float64; -1 = not known
    observations: Observations


def no_points() -> tuple[np.ndarray, np.ndarray, np.ndarray, Observations]:
    """Return the last four fields of a model of cameras alone."""
    seen = Observations(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 2)))
    return np.empty((0, 3)), np.empty((0, 3), np.uint8), np.empty(0), seen


def records_from_model(model: ColmapModel) -> Records:
    """Give ids to everything: images 1, 2, ... in the order of the frames, a lens per distinct K.

    Raises:
        InputError: K with skew, which no model says, another number of image names than of
            cameras, or names that occur twice.
    """
    _check_names(model)
    lenses, lens_of_frame = _lenses(model.cameras)
    camera_from_world = invert(_exact_rotation(model.cameras.world_from_camera.double()))
    quaternions = roma.rotmat_to_unitquat(camera_from_world[:, :3, :3])
    wxyz = roma.quat_xyzw_to_wxyz(quaternions).tolist()
    frames, points, pixels = model.observations
    starts = np.searchsorted(frames, np.arange(len(model.files) + 1))
    images = {}
    for index, (rotation, translation) in enumerate(
        zip(wxyz, camera_from_world[:, :3, 3].tolist(), strict=True)
    ):
        mine = slice(starts[index], starts[index + 1])
        images[index + 1] = Image(
            tuple(rotation),
            tuple(translation),
            lens_of_frame[index],
            model.files[index],
            pixels[mine],
            points[mine] + 1,
        )
    # Sorted by point, the rows of one point follow each other: its track.
    by_point = np.argsort(points, kind="stable")
    elements = np.stack([frames + 1, np.arange(len(frames)) - starts[frames]], axis=-1)[by_point]
    cuts = np.searchsorted(points[by_point], np.arange(1, len(model.positions)))
    tracks = np.split(elements, cuts) if len(model.positions) else []
    ids = np.arange(1, len(model.positions) + 1)
    return Records(
        lenses, images, Points(ids, model.positions, model.colors, model.errors_px, tracks)
    )


def model_from_records(path: str | Path, records: Records) -> ColmapModel:
    """Return the model that records describe, checked as a whole.

    Args:
        path: for the error text.
        records: as read.

    Raises:
        FileError: lenses with distortion or of several image sizes, a quaternion that is not of
            length 1, names that occur twice, ids that name nothing, or tracks that do not fit the
            images.
    """
    if not records.images:
        raise FileError(f"{path}: expected one image per camera, got none")
    frames = [records.images[key] for key in sorted(records.images)]
    files = tuple(frame.name for frame in frames)
    twice = [name for name, count in Counter(files).items() if count > 1]
    if twice:
        raise FileError(f"{path}: expected every image once, got {twice[0]!r} again")
    K, size = _intrinsics(path, records.lenses, frames)
    rotation = _rotations(path, frames)
    translation = torch.tensor([frame.translation for frame in frames], dtype=torch.float64)
    try:
        cameras = Cameras(invert(rigid(rotation, translation)).float(), K, size)
    except InputError as error:
        raise FileError(f"{path}: {error}") from error
    points = records.points
    observations = _observations(path, records)
    for what, values in (("points", points.positions), ("pixels", observations.pixels)):
        if not bool(np.isfinite(values).all()):
            raise FileError(f"{path}: expected finite positions of {what}, got NaN or infinity")
    return ColmapModel(
        cameras, files, points.positions, points.colors, points.errors_px, observations
    )


def _check_names(model: ColmapModel) -> None:
    files = model.files
    if len(files) != len(model.cameras):
        raise InputError(f"files: expected {len(model.cameras)} image names, got {len(files)}")
    twice = [name for name, count in Counter(files).items() if count > 1 or not name]
    if twice:
        raise InputError(f"files: expected another name for every image, got {twice[0]!r} again")


def _lenses(cameras: Cameras) -> tuple[dict[int, Lens], list[int]]:
    if bool((cameras.K[:, 0, 1] != 0).any()):
        raise InputError("K: expected no skew, got K[0, 1] != 0, which COLMAP cannot say; use json")
    height, width = cameras.image_size
    ids: dict[Lens, int] = {}
    lens_of_frame = []
    for K in cameras.K.double().tolist():
        lens = Lens("PINHOLE", width, height, (K[0][0], K[1][1], K[0][2], K[1][2]))
        lens_of_frame.append(ids.setdefault(lens, len(ids) + 1))
    return {number: lens for lens, number in ids.items()}, lens_of_frame


def _exact_rotation(world_from_camera: Tensor) -> Tensor:
    """Return the nearest transform whose rotation is one to float64: quaternions hold no other."""
    rotation: Any = roma.special_procrustes(world_from_camera[:, :3, :3])
    return rigid(rotation, world_from_camera[:, :3, 3])


def _intrinsics(
    path: str | Path, lenses: dict[int, Lens], frames: list[Image]
) -> tuple[Tensor, tuple[int, int]]:
    missing = [frame for frame in frames if frame.lens not in lenses]
    if missing:
        raise FileError(
            f"{path}: image {missing[0].name}: expected a camera of the model, got id"
            f" {missing[0].lens}; cameras and images are of different models"
        )
    used = [lenses[frame.lens] for frame in frames]
    sizes = {(lens.height, lens.width) for lens in used}
    if len(sizes) > 1:
        raise FileError(
            f"{path}: expected images of one size, got (height, width) {sorted(sizes)[:3]};"
            " resize the images and their model first"
        )
    ((height, width),) = sizes
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise FileError(f"{path}: expected sides up to {MAX_SIDE} px, got {width}x{height}")
    return torch.stack([_matrix(lens) for lens in used]), (height, width)


def _matrix(lens: Lens) -> Tensor:
    *focal, cx, cy = lens.parameters  # one length or two
    return torch.tensor([[focal[0], 0.0, cx], [0.0, focal[-1], cy], [0.0, 0.0, 1.0]])


def check_lens_model(place: str, model: str, known_models: LensModels) -> None:
    """Check that a camera's model is one of those that the caller can use.

    Raises:
        FileError: another model, one with distortion.
    """
    if model not in known_models:
        known = " or ".join(PINHOLE_PARAMETERS)
        raise FileError(
            f"{place}: expected a camera model without distortion, {known}, got {model}; undistort"
            " the images first, with `colmap image_undistorter`"
        )


def _rotations(path: str | Path, frames: list[Image]) -> Tensor:
    wxyz = torch.tensor([frame.quaternion_wxyz for frame in frames], dtype=torch.float64)
    lengths = wxyz.norm(dim=-1)
    # Written this way around, NaN is wrong too.
    wrong = (~((lengths - 1).abs() <= QUATERNION_TOLERANCE)).nonzero()
    if len(wrong):
        index = int(wrong[0])
        raise FileError(
            f"{path}: image {frames[index].name}: expected a unit quaternion (qw qx qy qz), got"
            f" length {float(lengths[index]):.4g}; is this another format?"
        )
    return roma.unitquat_to_rotmat((wxyz / lengths[:, None])[:, [1, 2, 3, 0]])


def _observations(path: str | Path, records: Records) -> Observations:
    """Return the pixels that show a point, after checking them against the points' own tracks."""
    ids = records.points.ids
    order = np.argsort(ids)
    images = [records.images[key] for key in sorted(records.images)]
    frames, points, pixels = [], [], []
    for index, image in enumerate(images):
        seen = image.points != -1
        place = np.searchsorted(ids, image.points[seen], sorter=order)
        if not np.isin(image.points[seen], ids).all():
            raise FileError(
                f"{path}: image {image.name}: expected points of the model, got ids that no point"
                " has; images and points3D are of different models"
            )
        frames.append(np.full(len(place), index))
        points.append(order[place])
        pixels.append(image.pixels[seen])
    found = Observations(np.concatenate(frames), np.concatenate(points), np.concatenate(pixels))
    lengths = np.array([len(track) for track in records.points.tracks], dtype=np.int64)
    counted = np.bincount(found.points, minlength=len(ids))
    wrong = np.flatnonzero(lengths != counted)
    if len(wrong):
        raise FileError(
            f"{path}: point {ids[wrong[0]]}: expected a track of {counted[wrong[0]]} images, as"
            f" many as show it, got {lengths[wrong[0]]}; are the files of one model?"
        )
    return found

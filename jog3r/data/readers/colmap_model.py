"""COLMAP models as frames with cameras, and their points as sparse depth.

Unlike `jog3r.export.colmap` this takes lenses with distortion and images of several sizes, and
leaves single broken images out.
"""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.data.media import natural_order
from jog3r.data.readers.lens import Lens, opencv_lens
from jog3r.errors import FileError
from jog3r.export.colmap_binary import BINARY_FILES, read_binary_images, read_binary_points
from jog3r.export.colmap_records import LENS_PARAMETERS, QUATERNION_TOLERANCE, Image
from jog3r.export.colmap_records import Lens as StoredLens
from jog3r.export.colmap_text import TEXT_FILES, read_text_images, read_text_points
from jog3r.geometry import invert, project, transform_points


class Camera(NamedTuple):
    """An image of a model."""

    name: str
    lens: Lens
    world_from_camera: np.ndarray  # (4, 4) float64; NaN where its quaternion is none
    points: np.ndarray  # (n,) int64, ids of the points that it shows


def has_model(folder: Path) -> bool:
    """Tell whether a folder holds a model."""
    return any((folder / names[0]).is_file() for names in (BINARY_FILES, TEXT_FILES))


def read_cameras(folder: Path) -> tuple[Camera, ...]:
    """Read the images of a model in the order of their names; binary first, as COLMAP does.

    Raises:
        FileError: Missing, truncated or foreign file, lenses that are not perspective, or images
            of cameras that the model does not have.
    """
    read = read_binary_images if _is_binary(folder) else read_text_images
    stored, images = read(folder)
    lenses = {number: _lens(lens) for number, lens in stored.items()}
    unknown = [image.name for image in images.values() if image.lens not in lenses]
    if unknown:
        raise FileError(
            f"{folder}: image {unknown[0]}: expected a camera of the model; cameras and images are"
            " of different models"
        )
    return tuple(
        Camera(image.name, lenses[image.lens], _pose(image), image.points[image.points >= 0])
        for image in sorted(images.values(), key=lambda image: natural_order(image.name))
    )


def sparse_depth(
    folder: Path,
    points: np.ndarray,
    camera: np.ndarray,
    K: Float[Tensor, "3 3"],
    size: tuple[int, int],
) -> Float[Tensor, "h w"]:
    """Return the depth of the points that an image shows, at their pixels; 0 elsewhere.

    Args:
        folder: Of the model.
        points: Ids of them.
        camera: world_from_camera.
        K: Of the frame, without distortion.
        size: (height, width) of the frame [px].

    Raises:
        FileError: Missing, truncated or foreign points, or points that the model does not have.
    """
    world = _positions(folder, points)
    camera_from_world = invert(torch.from_numpy(camera))
    pixel, z = project(transform_points(camera_from_world, torch.from_numpy(world)), K.double())
    height, width = size
    inside = (z > 0) & (pixel >= 0).all(-1) & (pixel < pixel.new_tensor([width, height])).all(-1)
    column, row = pixel[inside].long().unbind(-1)
    depth = torch.full((height * width,), torch.inf, dtype=torch.float64)
    depth.scatter_reduce_(0, row * width + column, z[inside], "amin")  # the nearest hides others
    return torch.where(depth.isfinite(), depth, 0).reshape(size).float()


def _is_binary(folder: Path) -> bool:
    return (folder / BINARY_FILES[0]).is_file()


def _lens(lens: StoredLens) -> Lens:
    numbers = dict(zip(LENS_PARAMETERS[lens.model], lens.parameters, strict=True))
    focal = numbers.get("fx", numbers.get("f", 0.0)), numbers.get("fy", numbers.get("f", 0.0))
    centre = numbers["cx"], numbers["cy"]
    return opencv_lens(focal, centre, (lens.height, lens.width), numbers)


def _pose(image: Image) -> np.ndarray:
    wxyz = torch.tensor(image.quaternion_wxyz, dtype=torch.float64)
    camera = torch.full((4, 4), torch.nan, dtype=torch.float64)
    # Written this way around, NaN is wrong too.
    if not bool((wxyz.norm() - 1).abs() <= QUATERNION_TOLERANCE):
        return camera.numpy()
    camera = torch.eye(4, dtype=torch.float64)
    camera[:3, :3] = roma.unitquat_to_rotmat((wxyz / wxyz.norm())[[1, 2, 3, 0]])
    camera[:3, 3] = torch.tensor(image.translation, dtype=torch.float64)
    return invert(camera).numpy()


def _positions(folder: Path, ids: np.ndarray) -> np.ndarray:
    known, positions = _points(folder)
    place = np.searchsorted(known, ids)
    if len(ids) and not np.isin(ids, known).all():
        raise FileError(
            f"{folder}: expected points of the model, got ids that no point has; images and"
            " points3D are of different models"
        )
    return positions[place]


@lru_cache(maxsize=2)
def _points(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return ids in order, and the positions."""
    points = read_binary_points(folder) if _is_binary(folder) else read_text_points(folder)
    order = np.argsort(points.ids)
    return points.ids[order], points.positions[order]

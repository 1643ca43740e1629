"""A COLMAP project: images/ and sparse/0/, from a scene and back.

A point of the cloud is listed with every camera that sees it: where it projects into the image and
the depth there is the point's own. The pixel of such an observation is the projection itself, so
the reprojection error is 0 by construction, and said to be unknown (-1) in the files.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.errors import FileError
from jog3r.export.colmap_binary import BINARY_FILES, read_colmap_binary
from jog3r.export.colmap_records import ColmapModel, Observations, no_points
from jog3r.export.colmap_text import TEXT_FILES, read_colmap_text
from jog3r.export.images import image_name
from jog3r.geometry import invert, project, transform_points
from jog3r.result_checks import as_path
from jog3r.results import Cameras, PointCloud

SAME_DEPTH = 0.02
"""A camera sees a point if its depth map holds the point's depth to this share."""

PLACES = ("", "sparse/0", "sparse")
"""Where in a folder a model may be."""


def cameras_model(cameras: Cameras, files: Sequence[str] | None = None) -> ColmapModel:
    """Return a model of cameras alone; without names, images are called 0000.png and so on."""
    names = [image_name(index) for index in range(len(cameras))] if files is None else files
    return ColmapModel(cameras, tuple(names), *no_points())


def scene_model(
    cloud: PointCloud, cameras: Cameras, depth: Float[Tensor, "t h w"], files: Sequence[str]
) -> ColmapModel:
    """Return a model of cameras and points, each with the cameras that see it.

    Args:
        cloud: points in the world frame.
        cameras: of the frames.
        depth: of every frame's pixels; 0 = no value.
        files: name of each camera's image.
    """
    unknown = np.full(len(cloud), -1.0)
    return ColmapModel(
        cameras,
        tuple(files),
        cloud.points.double().numpy(),
        cloud.colors.numpy(),
        unknown,
        observations(cloud.points, cameras, depth),
    )


def observations(
    points: Float[Tensor, "n 3"], cameras: Cameras, depth: Float[Tensor, "t h w"]
) -> Observations:
    """Find which camera sees which point, and at which pixel.

    Args:
        points: in the world frame.
        cameras: of the frames.
        depth: of every frame's pixels; 0 = no value.
    """
    height, width = cameras.image_size
    rows, frames, pixels = [], [], []
    for frame, (camera_from_world, K) in enumerate(
        zip(invert(cameras.world_from_camera.double()), cameras.K.double(), strict=True)
    ):
        pixel, z = project(transform_points(camera_from_world, points.double()), K)
        bound = pixel.new_tensor([width, height])
        row = ((z > 0) & (pixel >= 0).all(-1) & (pixel < bound).all(-1)).nonzero()[:, 0]
        column, line = pixel[row].long().unbind(-1)
        measured = depth[frame, line, column]
        row = row[(z[row] - measured).abs() <= SAME_DEPTH * measured]
        rows.append(row)
        frames.append(torch.full_like(row, frame))
        pixels.append(pixel[row])
    return Observations(*(torch.cat(part).numpy() for part in (frames, rows, pixels)))


def find_model(path: str | Path, names: Sequence[str]) -> Path:
    """Return the folder with the model's files: this one, or sparse/0 or sparse in it.

    Raises:
        FileError: none of these.
    """
    folder = as_path("path", path)
    for place in PLACES:
        if (folder / place / names[0]).is_file():
            return folder / place
    raise FileError(
        f"{path}: expected a folder with {', '.join(names)}, or with these in sparse/0, got"
        f" {'a folder without' if folder.is_dir() else 'no such folder'}"
    )


def read_colmap(path: str | Path) -> ColmapModel:
    """Read the model in a folder, of either kind; binary first, as COLMAP itself does.

    Raises:
        FileError: no model, or one that `read_colmap_binary` or `read_colmap_text` refuses.
    """
    folder = as_path("path", path)
    if any((folder / place / BINARY_FILES[0]).is_file() for place in PLACES):
        return read_colmap_binary(find_model(path, BINARY_FILES))
    return read_colmap_text(find_model(path, TEXT_FILES))

"""The cameras of a transforms.json frame by frame, lens distortion included.

`jog3r.export.nerfstudio` has the format; what it refuses as a whole, a frame that is broken or a
distorted lens, a data set has to live with.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jog3r.data.media import natural_order
from jog3r.data.readers.interface import Problem
from jog3r.data.readers.lens import Lens, opencv_lens
from jog3r.data.readers.posed import View, frame_problem
from jog3r.errors import FileError
from jog3r.export.cameras_json import read_json
from jog3r.export.nerfstudio import (
    CAMERA_FROM_OPENGL,
    PINHOLE_MODELS,
    applied_transform,
    frame_entries,
    lens_entries,
    rigid_matrix,
    text_entry,
)

COEFFICIENTS = ("k1", "k2", "k3", "k4", "p1", "p2")


def read_views(
    path: Path, where: str, picture_of: Callable[[str], Path]
) -> tuple[tuple[View, ...], tuple[Problem, ...]]:
    """Read the frames of a file in the order of their pictures' names.

    Args:
        path: The file.
        where: Name of it in problems.
        picture_of: Finds the picture of a `file_path`.

    Returns:
        Views, whose `more` is the frame's entry, and what is wrong with the others.

    Raises:
        FileError: Missing, truncated or foreign file, no frames, or an `applied_scale`.
    """
    content = read_json(path)
    frames = frame_entries(path, content)
    world_from_saved = np.linalg.inv(applied_transform(path, content))
    views, problems = [], []
    for index, frame in enumerate(frames):
        place = f"frames[{index}]."
        try:
            file = text_entry(path, frame, f"{place}file_path")
            lens = _lens(path, content, frame, place)
            entry = frame.get("transform_matrix")
            matrix = rigid_matrix(path, entry, f"{place}transform_matrix")
        except FileError as error:
            problems.append(frame_problem("camera", where, str(error)))
            continue
        world_from_camera = world_from_saved @ matrix @ CAMERA_FROM_OPENGL
        views.append(View(picture_of(file), lens, world_from_camera, frame))
    # Stable: entries that name one picture twice keep their order.
    return tuple(sorted(views, key=lambda view: natural_order(str(view.file)))), tuple(problems)


def _lens(path: Path, content: dict[str, Any], frame: dict[str, Any], place: str) -> Lens:
    fx, fy, cx, cy, width, height = lens_entries(path, content, frame, place)
    model = content.get("camera_model", frame.get("camera_model", "OPENCV"))
    if model not in PINHOLE_MODELS:
        raise FileError(
            f"{path}: {place}camera_model: expected one of {PINHOLE_MODELS}, got {model!r};"
            " undistort the images first"
        )
    numbers = {name: _coefficient(content.get(name, frame.get(name, 0))) for name in COEFFICIENTS}
    return opencv_lens((fx, fy), (cx, cy), (height, width), numbers)


def _coefficient(entry: Any) -> float:
    try:
        return float(entry)
    except (TypeError, ValueError):
        return float("nan")  # no lens folds into shape with it: refused as distortion

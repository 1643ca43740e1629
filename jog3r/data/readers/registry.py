"""The readers by name."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jog3r.errors import InputError

if TYPE_CHECKING:
    from jog3r.data.readers.interface import ClipReader

# Name -> "module:class"; imported when asked for.
HOMES = {
    "re10k": "realestate10k:RealEstate10K",
    "dl3dv": "dl3dv:DL3DV",
    "co3d": "co3d:CO3D",
    "megascenes": "megascenes:MegaScenes",
    "video-table": "video_table:VideoTable",
    "rgbd": "rgbd:RGBD",
    "colmap": "colmap:ColmapFolder",
    "nerfstudio": "nerfstudio:NerfstudioFolder",
    "videos": "videos:Videos",
    "world": "world:WorldClips",
}


def open_reader(folder: str | Path | None, name: str, **options: Any) -> "ClipReader":
    """Open a folder as a data set.

    Args:
        folder: Laid out as the reader of that name says; None where it needs none.
        name: One of `HOMES`.
        options: Of that reader.

    Raises:
        InputError: No such reader, options that it does not take, or no folder where it needs one.
        FileError: No such folder.
    """
    if name not in HOMES:
        raise InputError(f"data set: expected one of {[*HOMES]}, got {name!r}")
    module, _, attribute = HOMES[name].partition(":")
    reader = getattr(importlib.import_module(f"jog3r.data.readers.{module}"), attribute)
    try:
        return reader(folder, **options)
    except TypeError as error:
        raise InputError(
            f"{name}: expected options that its reader takes, got {options} ({error})"
        ) from error

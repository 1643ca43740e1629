"""One PLY per frame, for playback: frame_0000.ply, frame_0001.ply, ... in the world frame.

Together they are the points of the merged cloud, each in the frame it came from.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from jog3r.errors import FileError
from jog3r.export.ply import read_ply, write_ply
from jog3r.result_checks import as_path
from jog3r.results import PointCloud

_NAME = re.compile(r"frame_(\d{4,8})\.ply")


def write_ply_sequence(
    folder: Path, clouds: Iterable[PointCloud], *, comments: Sequence[str] = ()
) -> None:
    """Write the points of every frame into a folder that exists.

    Raises:
        InputError: a comment of several lines or beyond ASCII.
        SaveError: a file could not be written; nothing partial is left of it.
    """
    for index, cloud in enumerate(clouds):
        write_ply(folder / f"frame_{index:04d}.ply", cloud, comments=comments)


def read_ply_sequence(folder: str | Path) -> list[PointCloud]:
    """Read the points of every frame, in their order.

    Raises:
        FileError: missing folder, a frame missing among the others, or a damaged file.
    """
    place = as_path("folder", folder)
    names = [path.name for path in place.iterdir()] if place.is_dir() else []
    found = {int(match[1]): match[0] for match in map(_NAME.fullmatch, names) if match}
    missing = sorted(set(range(max(found, default=0) + 1)) - set(found))
    if missing:
        raise FileError(
            f"{folder}: expected frame_0000.ply, frame_0001.ply and so on, got {len(found)} files"
            f" and no frame_{missing[0]:04d}.ply"
        )
    return [read_ply(place / found[index]) for index in sorted(found)]

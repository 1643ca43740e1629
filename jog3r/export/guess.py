"""Which camera format a file or folder is, by its content: names of files say little."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from jog3r.errors import FileError, InputError
from jog3r.export import kitti, realestate10k, tum
from jog3r.export.colmap import PLACES
from jog3r.export.colmap_binary import BINARY_FILES
from jog3r.export.colmap_text import TEXT_FILES
from jog3r.export.text import read_text
from jog3r.result_checks import as_path
from jog3r.results import CameraFormat


def guess_camera_format(path: str | Path) -> CameraFormat:
    """Tell the format of a file or folder by what is in it.

    Raises:
        InputError: none of ours, or more than one.
        FileError: it cannot be read.
    """
    place = as_path("path", path)
    if place.is_dir():
        return _guess_folder(place)
    try:
        with place.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise FileError(f"{path}: expected cameras, got '{error.strerror}'") from error
    if start == b"PK\x03\x04":
        return "npz"
    text = read_text(place)
    if text.lstrip().startswith("{"):
        return _guess_json(place, text)
    rows = [line.split() for line in text.splitlines()]
    counts = {len(row) for row in rows[1:] if row and not row[0].startswith("#")}
    counts |= {len(rows[0])} if rows and rows[0] and _is_number(rows[0][0]) else set()
    by_columns: dict[int, CameraFormat] = {
        len(realestate10k.COLUMNS): "realestate10k",
        len(tum.COLUMNS): "tum",
        len(kitti.COLUMNS): "kitti",
    }
    (count,) = counts if len(counts) == 1 else (0,)
    if count in by_columns:
        return by_columns[count]
    raise InputError(
        f"format: expected lines of {' or '.join(map(str, by_columns))} columns in {path}, got"
        f" {sorted(counts)[:4]}; name the format, one of {', '.join(get_args(CameraFormat))}"
    )


def _guess_folder(folder: Path) -> CameraFormat:
    if any((folder / place / BINARY_FILES[0]).is_file() for place in PLACES):
        return "colmap-binary"
    if any((folder / place / TEXT_FILES[0]).is_file() for place in PLACES):
        return "colmap-text"
    raise InputError(
        f"format: expected a COLMAP model in {folder}, as {BINARY_FILES[0]} or {TEXT_FILES[0]},"
        " got neither; name a file"
    )


def _guess_json(path: Path, text: str) -> CameraFormat:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: expected JSON, got '{error}'; is it truncated?") from error
    if "convention" in content:
        return "json"
    frames = content.get("frames")
    first = frames[0] if isinstance(frames, list) and frames else None
    if isinstance(first, Mapping) and "transform_matrix" in first:
        return "nerfstudio"
    raise InputError(
        f"format: expected 'convention' or frames with 'transform_matrix' in {path}, got neither;"
        " name the format"
    )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True

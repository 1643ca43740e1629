"""COLMAP models as text: cameras.txt, images.txt, points3D.txt in one folder.

::

    cameras.txt    CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]
    images.txt     IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME     two lines per image;
                   (X Y POINT3D_ID)[]                               the second may be empty
    points3D.txt   POINT3D_ID X Y Z R G B ERROR (IMAGE_ID POINT2D_IDX)[]

Conventions: `colmap_records`. What COLMAP 4 adds, rigs.txt and frames.txt, it makes itself where
they are missing, one rig per camera, and so do we: they are neither written nor read.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jog3r.errors import FileError, InputError
from jog3r.export.atomic import atomic_files
from jog3r.export.colmap_records import (
    LENS_PARAMETERS,
    PINHOLE_PARAMETERS,
    ColmapModel,
    Image,
    Lens,
    LensModels,
    Points,
    Records,
    check_lens_model,
    model_from_records,
    records_from_model,
)
from jog3r.export.targets import check_no_other_model
from jog3r.export.text import finite_number, read_text, whole_entry
from jog3r.result_checks import as_path

TEXT_FILES = ("cameras.txt", "images.txt", "points3D.txt")
IMAGE_COLUMNS = ["IMAGE_ID", "QW", "QX", "QY", "QZ", "TX", "TY", "TZ", "CAMERA_ID", "NAME"]
POINT_COLUMNS = ["POINT3D_ID", "X", "Y", "Z", "R", "G", "B", "ERROR"]


def write_colmap_text(folder: str | Path, model: ColmapModel) -> None:
    """Write a model with 17 digits, so that reading gives the same float64 numbers.

    Args:
        folder: to create, or to add to; files of an earlier model of the same kind are replaced.
        model: to write.

    Raises:
        InputError: what COLMAP cannot say (K with skew, a name with spaces), as many names as
            cameras, or a folder that holds a model of the other kind.
        SaveError: it could not be written; nothing partial is left.
    """
    records = records_from_model(model)
    spaced = [name for name in model.files if len(name.split()) != 1]
    if spaced:
        raise InputError(
            f"files: expected names without spaces, got {spaced[0]!r}, which text cannot say;"
            " use colmap-binary"
        )
    check_no_other_model(folder, TEXT_FILES)
    content = (_camera_lines(records), _image_lines(records), _point_lines(records))
    with atomic_files(folder) as place:
        for name, lines in zip(TEXT_FILES, content, strict=True):
            (place / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_colmap_text(folder: str | Path) -> ColmapModel:
    """Read a model.

    Raises:
        FileError: missing, truncated or foreign file, lenses with distortion, or parts that do not
            fit each other; names file, line and column.
    """
    cameras, images, points = (as_path("folder", folder) / name for name in TEXT_FILES)
    lenses = _read_lenses(cameras, PINHOLE_PARAMETERS)
    return model_from_records(folder, Records(lenses, _read_images(images), _read_points(points)))


def read_text_images(folder: Path) -> tuple[dict[int, Lens], dict[int, Image]]:
    """Read cameras, also those with distortion, and images, also of several sizes.

    Raises:
        FileError: missing, truncated or foreign file, or lenses that are not perspective.
    """
    lenses = _read_lenses(folder / TEXT_FILES[0], LENS_PARAMETERS)
    return lenses, _read_images(folder / TEXT_FILES[1])


def read_text_points(folder: Path) -> Points:
    """Read points alone.

    Raises:
        FileError: missing, truncated or foreign file.
    """
    return _read_points(folder / TEXT_FILES[2])


def _camera_lines(records: Records) -> Iterator[str]:
    yield "# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]"
    for number, lens in records.lenses.items():
        yield f"{number} {lens.model} {lens.width} {lens.height} {_digits(lens.parameters)}"


def _image_lines(records: Records) -> Iterator[str]:
    yield "# camera_from_world, OpenCV axes: " + " ".join(IMAGE_COLUMNS)
    yield "# then a line of (X Y POINT3D_ID)[]"
    for number, image in records.images.items():
        placed = _digits([*image.quaternion_wxyz, *image.translation])
        yield f"{number} {placed} {image.lens} {image.name}"
        seen = zip(image.pixels.tolist(), image.points.tolist(), strict=True)
        yield " ".join(f"{_digits(pixel)} {point}" for pixel, point in seen)


def _point_lines(records: Records) -> Iterator[str]:
    yield "# " + " ".join(POINT_COLUMNS) + " (IMAGE_ID POINT2D_IDX)[]"
    points = records.points
    columns = (points.ids, points.positions, points.colors, points.errors_px)
    rows = zip(*(column.tolist() for column in columns), points.tracks, strict=True)
    for number, position, color, error, track in rows:
        seen = "".join(f" {image} {pixel}" for image, pixel in track.tolist())
        yield f"{number} {_digits(position)} {' '.join(map(str, color))} {error:.17g}{seen}"


def _digits(numbers: tuple[float, ...] | list[float]) -> str:
    return " ".join(f"{number:.17g}" for number in numbers)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the words of every line that is not empty or a # comment."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if words and not words[0].startswith("#"):
            yield number, words


def _read_lenses(path: Path, known_models: LensModels) -> dict[int, Lens]:
    lenses: dict[int, Lens] = {}
    for line, words in _lines(path):
        if len(words) < 5:
            raise FileError(
                f"{path}: line {line}: expected CAMERA_ID MODEL WIDTH HEIGHT PARAMS[], got"
                f" {len(words)} columns; is the file truncated?"
            )
        check_lens_model(f"{path}: line {line}, column 2 (MODEL)", words[1], known_models)
        names = ["CAMERA_ID", "MODEL", "WIDTH", "HEIGHT", *known_models[words[1]]]
        _check_count(path, line, words, names)
        number, width, height = (
            whole_entry(path, line, column, names[column - 1], words[column - 1])
            for column in (1, 3, 4)
        )
        _check_new(path, line, number, lenses)
        lenses[number] = Lens(words[1], width, height, _numbers(path, line, words, names, 4))
    return lenses


def _read_images(path: Path) -> dict[int, Image]:
    images: dict[int, Image] = {}
    lines = read_text(path).splitlines()
    following = 0
    for index, line in enumerate(lines):
        words = line.split()
        if index < following or not words or words[0].startswith("#"):
            continue
        following = index + 2  # the next line lists this image's pixels, be it empty
        number, lens = (
            whole_entry(path, index + 1, column, IMAGE_COLUMNS[column - 1], word)
            for column, word in _columns(path, index + 1, words, (1, 9))
        )
        _check_new(path, index + 1, number, images)
        placed = _numbers(path, index + 1, words[:8], IMAGE_COLUMNS[:8], 1)
        pixels = lines[index + 1].split() if index + 1 < len(lines) else []
        seen = _read_pixels(path, index + 2, pixels)
        images[number] = Image(placed[:4], placed[4:], lens, words[9], seen[0], seen[1])
    return images


def _columns(path: Path, line: int, words: list[str], wanted: tuple[int, ...]) -> list:
    _check_count(path, line, words, IMAGE_COLUMNS)
    return [(column, words[column - 1]) for column in wanted]


def _read_pixels(path: Path, line: int, words: list[str]) -> tuple[np.ndarray, np.ndarray]:
    if len(words) % 3:
        raise FileError(
            f"{path}: line {line}: expected X Y POINT3D_ID, three columns per pixel, got"
            f" {len(words)} columns; is the file truncated?"
        )
    names = ["X", "Y", "POINT3D_ID"] * (len(words) // 3)
    table = np.reshape(_numbers(path, line, words, names, 0), (-1, 3))
    return table[:, :2], table[:, 2].astype(np.int64)


def _read_points(path: Path) -> Points:
    ids, rows, tracks = [], [], []
    for line, words in _lines(path):
        if len(words) < 8 or len(words) % 2:
            raise FileError(
                f"{path}: line {line}: expected {' '.join(POINT_COLUMNS)} (IMAGE_ID POINT2D_IDX)[],"
                f" got {len(words)} columns; is the file truncated?"
            )
        ids.append(whole_entry(path, line, 1, "POINT3D_ID", words[0]))
        row = _numbers(path, line, words[:8], POINT_COLUMNS, 1)
        if any(not (0 <= value <= 255 and value == int(value)) for value in row[3:6]):
            raise FileError(
                f"{path}: line {line}, columns 5 to 7: expected colours of 8 bits, got"
                f" {' '.join(words[4:7])}"
            )
        rows.append(row)
        names = ["IMAGE_ID", "POINT2D_IDX"] * (len(words) // 2 - 4)
        track = _numbers(path, line, words, [*POINT_COLUMNS, *names], 8)
        tracks.append(np.reshape(track, (-1, 2)).astype(np.int64))
    table = np.reshape(np.array(rows, dtype=np.float64), (-1, 7))
    if len(set(ids)) != len(ids):
        raise FileError(f"{path}: expected every POINT3D_ID once, got some again")
    colors = table[:, 3:6].astype(np.uint8)
    return Points(np.array(ids, dtype=np.int64), table[:, :3], colors, table[:, 6], tracks)


def _check_count(path: Path, line: int, words: list[str], names: list[str]) -> None:
    if len(words) != len(names):
        raise FileError(
            f"{path}: line {line}: expected {len(names)} columns ({' '.join(names)}), got"
            f" {len(words)}; is the file truncated?"
        )


def _check_new(path: Path, line: int, number: int, known: dict) -> None:
    if number in known:
        raise FileError(f"{path}: line {line}, column 1: expected a new id, got {number} again")


def _numbers(
    path: Path, line: int, words: list[str], names: list[str], start: int
) -> tuple[float, ...]:
    """Return the numbers from column `start` (counted from 0) on."""
    try:
        values = tuple(map(float, words[start:]))
    except ValueError:
        values = (math.nan,)
    if all(map(math.isfinite, values)):
        return values
    # Looking at each entry takes several times as long, and names the one that is wrong.
    return tuple(
        finite_number(path, line, column + 1, names[column], words[column])
        for column in range(start, len(words))
    )

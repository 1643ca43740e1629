"""COLMAP models as binary: cameras.bin, images.bin, points3D.bin in one folder.

All numbers are little-endian; each file starts with the number of its records (uint64)::

    cameras.bin    id uint32, model int32, width uint64, height uint64, parameters double[]
    images.bin     id uint32, qw qx qy qz tx ty tz double, camera uint32, name until a zero byte,
                   count uint64, (x double, y double, point uint64)[]
    points3D.bin   id uint64, x y z double, r g b uint8, error double,
                   count uint64, (image uint32, index uint32)[]

Conventions: `colmap_records`. What COLMAP 4 adds, rigs.bin and frames.bin, it makes itself where
they are missing, one rig per camera, and so do we: they are neither written nor read. Written here
rather than through pycolmap: that takes no longer, and these files are then read and written
without it; the tests hold both sides against pycolmap.
"""

import struct
from pathlib import Path

import numpy as np

from jog3r.errors import FileError
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
from jog3r.result_checks import as_path

BINARY_FILES = ("cameras.bin", "images.bin", "points3D.bin")
MODELS = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE")
MODELS += ("FULL_OPENCV", "FOV", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE")
"""Camera models by their number."""

_PIXEL = np.dtype([("x", "<f8"), ("y", "<f8"), ("point", "<i8")])  # -1 is uint64's largest


def write_colmap_binary(folder: str | Path, model: ColmapModel) -> None:
    """Write a model; reading gives the same float64 numbers bit for bit.

    Args:
        folder: to create, or to add to; files of an earlier model of the same kind are replaced.
        model: to write.

    Raises:
        InputError: K with skew, as many names as cameras, or a folder that holds a model of the
            other kind.
        SaveError: it could not be written; nothing partial is left.
    """
    records = records_from_model(model)
    check_no_other_model(folder, BINARY_FILES)
    content = (_camera_bytes(records), _image_bytes(records), _point_bytes(records))
    with atomic_files(folder) as place:
        for name, parts in zip(BINARY_FILES, content, strict=True):
            (place / name).write_bytes(b"".join(parts))


def read_colmap_binary(folder: str | Path) -> ColmapModel:
    """Read a model.

    Raises:
        FileError: missing, truncated or foreign file, lenses with distortion, or parts that do not
            fit each other; names the file and the record.
    """
    cameras, images, points = (as_path("folder", folder) / name for name in BINARY_FILES)
    lenses = _read_lenses(cameras, PINHOLE_PARAMETERS)
    return model_from_records(folder, Records(lenses, _read_images(images), _read_points(points)))


def read_binary_images(folder: Path) -> tuple[dict[int, Lens], dict[int, Image]]:
    """Read cameras, also those with distortion, and images, also of several sizes.

    Raises:
        FileError: missing, truncated or foreign file, or lenses that are not perspective.
    """
    lenses = _read_lenses(folder / BINARY_FILES[0], LENS_PARAMETERS)
    return lenses, _read_images(folder / BINARY_FILES[1])


def read_binary_points(folder: Path) -> Points:
    """Read points alone.

    Raises:
        FileError: missing, truncated or foreign file.
    """
    return _read_points(folder / BINARY_FILES[2])


def _camera_bytes(records: Records) -> list[bytes]:
    parts = [struct.pack("<Q", len(records.lenses))]
    for number, lens in records.lenses.items():
        head = (number, MODELS.index(lens.model), lens.width, lens.height)
        parts.append(struct.pack(f"<IiQQ{len(lens.parameters)}d", *head, *lens.parameters))
    return parts


def _image_bytes(records: Records) -> list[bytes]:
    parts = [struct.pack("<Q", len(records.images))]
    for number, image in records.images.items():
        parts.append(struct.pack("<I7d", number, *image.quaternion_wxyz, *image.translation))
        parts.append(struct.pack("<I", image.lens) + image.name.encode() + b"\0")
        pixels = np.empty(len(image.pixels), _PIXEL)
        pixels["x"], pixels["y"] = image.pixels.T
        pixels["point"] = image.points
        parts += [struct.pack("<Q", len(pixels)), pixels.tobytes()]
    return parts


def _point_bytes(records: Records) -> list[bytes]:
    points = records.points
    parts = [struct.pack("<Q", len(points.ids))]
    columns = (points.ids, points.positions, points.colors, points.errors_px)
    rows = zip(*(column.tolist() for column in columns), points.tracks, strict=True)
    for number, position, color, error, track in rows:
        parts.append(struct.pack("<Q3d3BdQ", number, *position, *color, error, len(track)))
        parts.append(track.astype("<u4").tobytes())
    return parts


class _Bytes:
    """The bytes of a file, taken from the front; one that ends too early is an error."""

    def __init__(self, path: Path) -> None:
        self.path, self.place, self.record = path, 0, "the number of records"
        try:
            self.content = path.read_bytes()
        except FileNotFoundError:
            raise FileError(f"{path}: expected a binary file, got none of this name") from None
        except OSError as error:
            raise FileError(f"{path}: expected a binary file, got '{error.strerror}'") from error

    def take(self, format: str) -> tuple:
        return struct.unpack("<" + format, self.cut(struct.calcsize("<" + format)))

    def cut(self, size: int) -> bytes:
        left = len(self.content) - self.place
        if size > left:
            raise FileError(
                f"{self.path}: {self.record}: expected {size} bytes at byte {self.place}, got"
                f" {left}; is the file truncated?"
            )
        self.place += size
        return self.content[self.place - size : self.place]

    def name(self) -> str:
        end = self.content.find(b"\0", self.place)
        try:
            text = self.cut(max(end, self.place) - self.place + 1)[:-1].decode()
        except UnicodeDecodeError:
            text = ""
        if end < 0 or not text:
            raise FileError(
                f"{self.path}: {self.record}: expected a name at byte {self.place}, got none;"
                " is the file truncated?"
            )
        return text

    def array(self, dtype: np.dtype | str, count: int) -> np.ndarray:
        dtype = np.dtype(dtype)
        return np.frombuffer(self.cut(count * dtype.itemsize), dtype)

    def end(self) -> None:
        left = len(self.content) - self.place
        if left:
            raise FileError(
                f"{self.path}: expected the end after {self.record}, got {left} more bytes; is"
                " this another format?"
            )


def _read_lenses(path: Path, known_models: LensModels) -> dict[int, Lens]:
    data = _Bytes(path)
    (count,) = data.take("Q")
    lenses: dict[int, Lens] = {}
    for index in range(count):
        data.record = f"camera {index + 1} of {count}"
        number, model, width, height = data.take("IiQQ")
        name = MODELS[model] if 0 <= model < len(MODELS) else f"model number {model}"
        check_lens_model(f"{path}: {data.record}", name, known_models)
        _check_new(data, number, lenses)
        parameters = data.take(f"{len(known_models[name])}d")
        lenses[number] = Lens(name, width, height, parameters)
    data.end()
    return lenses


def _read_images(path: Path) -> dict[int, Image]:
    data = _Bytes(path)
    (count,) = data.take("Q")
    images: dict[int, Image] = {}
    for index in range(count):
        data.record = f"image {index + 1} of {count}"
        number, *placed, lens = data.take("I7dI")
        _check_new(data, number, images)
        name = data.name()
        seen = data.array(_PIXEL, *data.take("Q"))
        pixels = np.stack([seen["x"], seen["y"]], axis=-1)
        images[number] = Image(
            tuple(placed[:4]), tuple(placed[4:]), lens, name, pixels, seen["point"]
        )
    data.end()
    return images


def _read_points(path: Path) -> Points:
    data = _Bytes(path)
    (count,) = data.take("Q")
    rows, tracks = [], []
    for index in range(count):
        data.record = f"point {index + 1} of {count}"
        *row, length = data.take("Q3d3BdQ")
        rows.append(row)
        tracks.append(data.array("<u4", 2 * length).reshape(-1, 2).astype(np.int64))
    data.end()
    ids = np.array([row[0] for row in rows], dtype=np.int64)
    if len(np.unique(ids)) != len(ids):
        raise FileError(f"{path}: expected every id once, got some again")
    table = np.reshape(np.array([row[1:] for row in rows], dtype=np.float64), (-1, 7))
    return Points(ids, table[:, :3], table[:, 3:6].astype(np.uint8), table[:, 6], tracks)


def _check_new(data: _Bytes, number: int, known: dict) -> None:
    if number in known:
        raise FileError(f"{data.path}: {data.record}: expected a new id, got {number} again")

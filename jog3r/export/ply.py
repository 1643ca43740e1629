"""Point clouds as binary little-endian PLY.

Vertex properties: `float x y z` (world frame), `uchar red green blue`, `float confidence` (>= 1),
and `float nx ny nz` where the cloud has normals.
Written and read here rather than through a library. open3d 0.20 keeps the confidence, but its
writer reports success on a full disk and refuses an empty cloud; its reader gives arbitrary
numbers, after a line on the console, for a truncated file or one without x. trimesh 5 writes no
confidence.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from jog3r.errors import FileError, InputError
from jog3r.export.atomic import atomic_file
from jog3r.result_checks import as_path
from jog3r.results import PointCloud

NUMPY_TYPE = {"char": "i1", "uchar": "u1", "short": "<i2", "ushort": "<u2"}
NUMPY_TYPE |= {"int": "<i4", "uint": "<u4", "float": "<f4", "double": "<f8"}
NUMPY_TYPE |= {"int8": "i1", "uint8": "u1", "int16": "<i2", "uint16": "<u2"}
NUMPY_TYPE |= {"int32": "<i4", "uint32": "<u4", "float32": "<f4", "float64": "<f8"}
PROPERTIES = {
    **dict.fromkeys(("x", "y", "z"), "float"),
    **dict.fromkeys(("red", "green", "blue"), "uchar"),
    "confidence": "float",
}
NORMALS = dict.fromkeys(("nx", "ny", "nz"), "float")
COMMENT = "jog3r: world frame, OpenCV axes (x right, y down, z forward)"


def write_ply(path: str | Path, cloud: PointCloud, *, comments: Sequence[str] = ()) -> None:
    """Write a point cloud.

    Args:
        path: to create or replace.
        cloud: to write; reading gives the same numbers bit for bit.
        comments: further lines for the header, for example the unit of length.

    Raises:
        InputError: a comment of several lines or beyond ASCII.
        SaveError: the file could not be written; nothing partial is left.
    """
    columns = [*cloud.points.T, *cloud.colors.T, cloud.confidence]
    columns += [] if cloud.normals is None else [*cloud.normals.T]
    properties = PROPERTIES if cloud.normals is None else PROPERTIES | NORMALS
    arrays = [column.numpy() for column in columns]
    write_vertices(path, properties, arrays, comments=[COMMENT, *comments])


def write_vertices(
    path: str | Path,
    properties: Mapping[str, str],
    columns: Sequence[np.ndarray],
    *,
    comments: Sequence[str] = (),
) -> None:
    """Write a table of vertices.

    Args:
        path: to create or replace.
        properties: name and PLY type of every column.
        columns: of one length.
        comments: lines for the header.

    Raises:
        InputError: a comment of several lines or beyond ASCII.
        SaveError: the file could not be written; nothing partial is left.
    """
    for comment in comments:
        if not comment.isascii() or "\n" in comment:
            raise InputError(f"comments: expected one ASCII line each, got {comment!r}")
    vertices = np.empty(len(columns[0]), [(n, NUMPY_TYPE[kind]) for n, kind in properties.items()])
    for name, column in zip(properties, columns, strict=True):
        vertices[name] = column
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {comment}" for comment in comments),
        f"element vertex {len(vertices)}",
        *(f"property {kind} {name}" for name, kind in properties.items()),
        "end_header",
    ]
    with atomic_file(path) as file:
        file.write(("\n".join(header) + "\n").encode())
        file.write(vertices.tobytes())


def read_ply(path: str | Path) -> PointCloud:
    """Read a point cloud with colours and confidence, whatever other properties it has.

    Raises:
        FileError: missing, truncated or foreign file, another encoding than binary little-endian,
            a property missing or given twice, or colours that are not uchar.
    """
    data = read_vertices(path, PROPERTIES)
    with_normals = set(NORMALS) <= set(data.dtype.names or ())
    try:
        return PointCloud(
            columns_of(data, ("x", "y", "z"), np.float32),
            columns_of(data, ("red", "green", "blue"), np.uint8),
            columns_of(data, ("confidence",), np.float32)[:, 0],
            columns_of(data, tuple(NORMALS), np.float32) if with_normals else None,
        )
    except InputError as error:
        raise FileError(f"{path}: {error}") from error


def read_vertices(path: str | Path, properties: Iterable[str]) -> np.ndarray:
    """Read the vertices as a structured array that has at least these properties.

    Raises:
        FileError: as `read_ply`.
    """
    try:
        content = as_path("path", path).read_bytes()
    except OSError as error:
        raise FileError(f"{path}: expected a PLY file, got '{error.strerror}'") from error
    head, end, body = content.partition(b"end_header\n")
    if not content.startswith(b"ply") or not end:
        raise FileError(f"{path}: expected a PLY header, got {content[:16]!r}")
    count, vertex = _parse_header(path, head.decode("ascii", "replace").splitlines())
    missing = [name for name in properties if name not in (vertex.names or ())]
    if missing:
        raise FileError(
            f"{path}: expected vertex properties {' '.join(properties)},"
            f" got none called {' '.join(missing)}"
        )
    wide = [name for name in ("red", "green", "blue") if vertex[name] != np.uint8]
    if wide:  # no rule says how other types are to be scaled to 8 bits
        raise FileError(
            f"{path}: expected colours as uchar, got {vertex[wide[0]]} {wide[0]}; convert them"
        )
    if len(body) < count * vertex.itemsize:
        raise FileError(
            f"{path}: expected {count} vertices of {vertex.itemsize} bytes, got {len(body)} bytes;"
            " is the file truncated?"
        )
    return np.frombuffer(body, vertex, count)


def columns_of(data: np.ndarray, names: Sequence[str], dtype: type) -> torch.Tensor:
    """Return columns of a vertex table side by side, (N, columns)."""
    return torch.from_numpy(np.stack([data[name] for name in names], axis=-1).astype(dtype))


def _parse_header(path: str | Path, lines: list[str]) -> tuple[int, np.dtype]:
    """Return number and type of the vertices, which must be the first element."""
    encoding, count, fields, elements = "none", -1, [], 0
    for number, line in enumerate(lines, start=1):
        match line.split():
            case ["format", name, _]:
                encoding = name
            case ["element", name, size] if size.isdigit():
                elements += 1
                count = int(size) if (name, elements) == ("vertex", 1) else count
            case ["property", _, name] if elements == 1 and name in dict(fields):
                raise FileError(f"{path}: line {number}: expected {name} once, got it again")
            case ["property", kind, name] if elements == 1 and kind in NUMPY_TYPE:
                fields.append((name, NUMPY_TYPE[kind]))
            case ["property", *_] if elements != 1:
                pass
            case ["ply"] | ["comment", *_] | ["obj_info", *_] | []:
                pass
            case _:
                raise FileError(f"{path}: line {number}: expected a PLY header, got {line!r}")
    if encoding != "binary_little_endian" or count < 0:
        raise FileError(
            f"{path}: expected binary_little_endian with the element 'vertex' first, got format"
            f" {encoding} and {'no vertex first' if count < 0 else 'vertices'}; convert it with"
            " open3d or trimesh"
        )
    return count, np.dtype(fields)

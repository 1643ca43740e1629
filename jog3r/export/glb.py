"""Point clouds and cameras as binary glTF, which browsers, Blender and slide programs open.

glTF is y up with cameras that look along -z; ours is y down, z forward. Everything is turned when
it is written, (x, y, z) -> (x, -y, -z), half a turn about x, and turned back by the reader. Frusta
are lines to look at; the extras of the scene hold the cameras themselves, in our convention. glTF
has no place for a confidence: use PLY to keep it. Colours are stored as they are (sRGB), as other
tools of this field do; a viewer that takes glTF at its word (linear) shows them somewhat lighter.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from jog3r.errors import FileError, MissingPackageError
from jog3r.export.atomic import atomic_file
from jog3r.export.frusta import FRUSTUM_SHARE, frustum_corners, scene_extent
from jog3r.result_checks import as_path
from jog3r.results import Cameras, PointCloud

try:
    import trimesh
    from trimesh.path import Path3D
    from trimesh.path.entities import Line
except ImportError as error:  # pragma: no cover
    raise MissingPackageError(
        f"trimesh: expected it for GLB files, got '{error}'; pip install trimesh"
    ) from error

GLTF_FROM_WORLD = np.array([1.0, -1.0, -1.0], dtype=np.float32)
"""Signs of the axes; its own inverse."""

_OUTLINE = [0, 1, 2, 3, 4, 1]  # corners along which three strokes draw a frustum
_FIRST, _LAST = (66, 133, 244), (234, 67, 53)  # colours of the first and the last camera


class ColoredPoints(NamedTuple):
    """Content of one file, in the world frame."""

    points: Float32[Tensor, "n 3"]
    colors: UInt8[Tensor, "n 3"]
    cameras: Cameras | None


def write_glb(
    path: str | Path, cloud: PointCloud, cameras: Cameras | None = None, *, scale: str | None = None
) -> None:
    """Write a point cloud and, as lines, the cameras around it, the first blue, the last red.

    Args:
        path: to create or replace.
        cloud: to write; node "points".
        cameras: to draw as frusta, nodes "camera_0000" and so on, and as the path that joins them.
        scale: unit of length, written to the file's extras.

    Raises:
        SaveError: the file could not be written; nothing partial is left.
    """
    note = "axes: (x, -y, -z) of the OpenCV world frame (x right, y down, z forward)"
    scene = trimesh.Scene(metadata={"jog3r": note, "scale": scale or "not stated"})
    if len(cloud):
        points = cloud.points.numpy() * GLTF_FROM_WORLD
        scene.add_geometry(
            trimesh.PointCloud(points, colors=cloud.colors.numpy()), geom_name="points"
        )
    if cameras is not None:
        scene.metadata["cameras"] = _as_plain(cameras)
        _add_cameras(scene, cameras, FRUSTUM_SHARE * scene_extent(cloud.points, cameras))
    content = scene.export(file_type="glb")
    assert isinstance(content, bytes)  # for this type; others give text
    with atomic_file(path) as file:
        file.write(content)


def read_glb(path: str | Path) -> ColoredPoints:
    """Read the points of a file that `write_glb` wrote, and its cameras if it has some.

    Raises:
        FileError: missing, truncated or foreign file, one with neither coloured points nor
            cameras of ours, or damaged cameras.
    """
    if not as_path("path", path).is_file():
        raise FileError(f"{path}: expected a GLB file, got no file of this name")
    try:
        scene = trimesh.load_scene(str(path), file_type="glb")
    except Exception as error:  # whatever trimesh trips over in a damaged file
        raise FileError(
            f"{path}: expected a GLB file, got '{error or type(error).__name__}'; is it truncated?"
        ) from error
    clouds = [item for item in scene.geometry.values() if isinstance(item, trimesh.PointCloud)]
    cameras = _from_plain(path, scene.metadata.get("cameras"))
    if not clouds and cameras is not None:  # written from a cloud without any point
        return ColoredPoints(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.uint8), cameras)
    if len(clouds) != 1 or np.shape(clouds[0].colors) != (len(clouds[0].vertices), 4):
        raise FileError(
            f"{path}: expected one cloud of coloured points, got {len(clouds)} clouds;"
            " was it written by jog3r?"
        )
    points = np.asarray(clouds[0].vertices, dtype=np.float32) * GLTF_FROM_WORLD
    colors = np.array(clouds[0].colors[:, :3], dtype=np.uint8)
    return ColoredPoints(torch.from_numpy(points), torch.from_numpy(colors), cameras)


def _as_plain(cameras: Cameras) -> dict[str, Any]:
    lists = {"world_from_camera": cameras.world_from_camera.tolist(), "K": cameras.K.tolist()}
    return {"convention": "opencv", "image_size": list(cameras.image_size), **lists}


def _from_plain(path: str | Path, plain: Any) -> Cameras | None:
    if plain is None:
        return None
    try:
        world_from_camera, K = (torch.tensor(plain[name]) for name in ("world_from_camera", "K"))
        height, width = plain["image_size"]
        return Cameras(world_from_camera, K, (height, width))
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{path}: expected cameras in the extras, got '{error}'") from error


def _add_cameras(scene: trimesh.Scene, cameras: Cameras, depth: float) -> None:
    corners = frustum_corners(cameras, depth).numpy() * GLTF_FROM_WORLD
    blend = np.linspace(0.0, 1.0, len(cameras))[:, None]
    colors = ((1 - blend) * np.array(_FIRST) + blend * np.array(_LAST)).round().astype(np.uint8)
    for index, (frustum, color) in enumerate(zip(corners, colors, strict=True)):
        strokes = [_OUTLINE, [0, 2], [3, 0, 4]]
        _add_lines(scene, f"camera_{index:04d}", frustum, strokes, [color] * len(strokes))
    if len(cameras) > 1:
        steps = [[index, index + 1] for index in range(len(cameras) - 1)]
        _add_lines(scene, "camera_path", corners[:, 0], steps, list(colors[1:]))


def _add_lines(
    scene: trimesh.Scene,
    name: str,
    vertices: np.ndarray,
    strokes: list[list[int]],
    colors: list[np.ndarray],
) -> None:
    entities = [
        Line(stroke, color=[*color, 255]) for stroke, color in zip(strokes, colors, strict=True)
    ]
    lines = Path3D(entities=entities, vertices=vertices, process=False)
    scene.add_geometry(lines, node_name=name, geom_name=name)

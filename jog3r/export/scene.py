"""The formats of a whole scene behind `export_scene` and `jog3r export`.

Each writes what it can hold of frames, cameras and points; the points are always those of one
selection. What was written is read back and compared with the images (`sanity`).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from jog3r.errors import InputError
from jog3r.export import cameras as camera_formats
from jog3r.export.colmap import read_colmap, scene_model
from jog3r.export.colmap_binary import write_colmap_binary
from jog3r.export.colmap_records import ColmapModel
from jog3r.export.colmap_text import write_colmap_text
from jog3r.export.gaussian_splatting import read_gaussian_points, write_gaussian_splatting
from jog3r.export.images import image_name, read_images, write_images
from jog3r.export.nerfstudio import (
    from_saved_world,
    read_nerfstudio,
    to_saved_world,
    write_nerfstudio,
)
from jog3r.export.npz import read_npz, write_npz
from jog3r.export.ply import read_ply, write_ply
from jog3r.export.ply_sequence import read_ply_sequence, write_ply_sequence
from jog3r.export.sanity import UNEXPLAINED, SanityReport, check_export
from jog3r.export.targets import export_folder, free_file
from jog3r.result_checks import check_suffix
from jog3r.results import (
    CameraFormat,
    Cameras,
    Mesh,
    PointCloud,
    PointSelection,
    Reconstruction,
    Video,
)
from jog3r.results.mesh import MESH_SELECTION, MESH_SUFFIXES
from jog3r.results.selection import DEFAULT_SELECTION

SceneFormat = Literal[
    "colmap",
    "colmap-text",
    "nerfstudio",
    "3dgs",
    "ply",
    "ply-sequence",
    "glb",
    "mesh",
    "npz",
    "json",
    "realestate10k",
    "tum",
    "kitti",
]


NOT_THE_EXPORT = "the scene itself looks the same: it is the reconstruction, not the export"


class Export(NamedTuple):
    """What was written, read back."""

    path: Path
    points: int
    """As many as the files hold, vertices of a mesh; 0 for a format without points."""
    sanity: SanityReport


class _ReadBack(NamedTuple):
    """What a format holds of a scene; None where it has no place for it."""

    cameras: Cameras | None = None
    points: Tensor | None = None
    colors: Tensor | None = None
    frames: Tensor | None = None
    world_from_camera: Tensor | None = None
    """Of a format that holds the cameras without their lenses."""


class _Format(NamedTuple):
    write: Callable[[Path, Reconstruction, PointSelection], None]
    read: Callable[[Path], _ReadBack]
    is_folder: bool
    selection: PointSelection | None = DEFAULT_SELECTION
    """Which points, unless the caller says it; None for a format without points."""


def export_scene(
    scene: Reconstruction,
    path: str | Path,
    format: SceneFormat,
    *,
    selection: PointSelection | None = None,
    overwrite: bool = False,
) -> Export:
    """Write a scene for another program, read it back, and compare its points with the images.

    Args:
        scene: to write.
        path: file or folder to create, taken as it is; missing parents are created too. For `mesh`
            a name ending in .ply, .glb or .obj, which says the kind of file.
        format: docs/formats.md has a table of all.
        selection: which points; None takes those of `scene.points`, and of `scene.mesh()` for a
            mesh. For `ply-sequence` what works on merged points works on those of each frame.
        overwrite: replace a file, or a folder of an earlier export in which nothing else is.

    Raises:
        InputError: unknown format, a selection for a format without points or with steps that a
            mesh has no use for, another suffix of a mesh, nothing to fuse to one, something at
            `path` that may not be replaced, or K with skew for a format that cannot say it.
        SaveError: it could not be written; nothing partial is left.

    Example:
        >>> from jog3r import Video
        >>> from jog3r.geometry import intrinsics_from_fov
        >>> import torch
        >>> video = Video(torch.randint(0, 256, (1, 4, 4, 3), dtype=torch.uint8), fps=8)
        >>> cameras = Cameras(torch.eye(4)[None], intrinsics_from_fov(60.0, (4, 4))[None], (4, 4))
        >>> scene = Reconstruction(
        ...     video, cameras, torch.ones(1, 4, 4), torch.ones(1, 4, 4), "relative"
        ... )
        >>> export_scene(scene, "for_trainer", "3dgs").points
        16
    """
    if format not in FORMATS:
        raise InputError(f"format: expected one of {get_args(SceneFormat)}, got {format!r}")
    chosen = FORMATS[format]
    if selection is not None and chosen.selection is None:
        raise InputError(f"selection: expected None, {format} holds no points; leave it out")
    rule = selection or chosen.selection or DEFAULT_SELECTION
    if chosen.is_folder:
        notes = {"format": format, "scale": scene.scale, "flags": list(scene.flags)}
        with export_folder(path, notes, overwrite=overwrite) as folder:
            chosen.write(folder, scene, rule)
    else:
        chosen.write(free_file(path, overwrite=overwrite), scene, rule)
    return _checked(Path(path), chosen, scene, rule)


def frame_clouds(scene: Reconstruction, selection: PointSelection) -> Iterator[PointCloud]:
    """Yield the points of each frame: the selection's pixels, then its steps on those points."""
    pixels = scene.point_mask(selection)
    steps = replace(selection, drop_fraction=0.0, max_depth_ratio=None, max_slant_deg=None)
    for index in range(len(scene.video)):
        here = slice(index, index + 1)
        cameras = Cameras(
            scene.cameras.world_from_camera[here], scene.cameras.K[here], scene.cameras.image_size
        )
        video = Video(scene.video.frames[here], scene.video.fps)
        depth, confidence = scene.depth[here], scene.confidence[here]
        frame = Reconstruction(video, cameras, depth, confidence, scene.scale, pixels[here])
        yield frame.select_points(steps)


def _checked(
    path: Path, chosen: _Format, scene: Reconstruction, selection: PointSelection
) -> Export:
    """Read back what was written; what it lacks is taken from the scene."""
    back = chosen.read(path)
    cloud = scene.select_points(selection)
    points = cloud.points if back.points is None else back.points
    colors = cloud.colors if back.colors is None else back.colors
    cameras = scene.cameras if back.cameras is None else back.cameras
    if back.world_from_camera is not None:
        cameras = replace(cameras, world_from_camera=back.world_from_camera)
    frames = scene.video.frames if back.frames is None else back.frames
    report = check_export(points, colors, cameras, frames, scene.depth)
    if report.warnings:
        own = check_export(
            cloud.points, cloud.colors, scene.cameras, scene.video.frames, scene.depth
        )
        if own.warnings == report.warnings:
            found = [warning for warning in report.warnings if warning != UNEXPLAINED]
            report = replace(report, warnings=(*found, NOT_THE_EXPORT))
    return Export(path, 0 if back.points is None else len(back.points), report)


def _images(scene: Reconstruction) -> list[str]:
    return [image_name(index) for index in range(len(scene.video))]


def _comments(scene: Reconstruction) -> list[str]:
    return [f"unit of length: {scene.scale}"]


def _model(folder: Path, scene: Reconstruction, cloud: PointCloud) -> ColmapModel:
    """Write the images of a COLMAP project, and return the model that goes with them."""
    names = _images(scene)
    write_images(folder / "images", scene.video, names)
    return scene_model(cloud, scene.cameras, scene.depth, names)


def _write_colmap(folder: Path, scene: Reconstruction, selection: PointSelection) -> None:
    model = _model(folder, scene, scene.select_points(selection))
    write_colmap_binary(folder / "sparse/0", model)


def _write_colmap_text(folder: Path, scene: Reconstruction, selection: PointSelection) -> None:
    model = _model(folder, scene, scene.select_points(selection))
    write_colmap_text(folder / "sparse/0", model)


def _write_3dgs(folder: Path, scene: Reconstruction, selection: PointSelection) -> None:
    cloud = scene.select_points(selection)
    model = _model(folder, scene, cloud)
    write_gaussian_splatting(folder / "sparse/0", model, cloud)


def _read_colmap(folder: Path) -> _ReadBack:
    model = read_colmap(folder)
    points, colors = torch.from_numpy(model.positions).float(), torch.from_numpy(model.colors)
    return _ReadBack(model.cameras, points, colors, _frames(folder, model.files))


def _frames(folder: Path, files: tuple[str, ...]) -> Tensor:
    return read_images(folder / "images", files)


def _read_3dgs(folder: Path) -> _ReadBack:
    model = read_colmap(folder)
    points, colors = read_gaussian_points(folder / "sparse/0/points3D.ply")
    return _ReadBack(model.cameras, points, colors, _frames(folder, model.files))


def _write_nerfstudio(folder: Path, scene: Reconstruction, selection: PointSelection) -> None:
    names = _images(scene)
    write_images(folder / "images", scene.video, names)
    cloud = scene.select_points(selection)
    normals = None if cloud.normals is None else to_saved_world(cloud.normals)
    turned = replace(cloud, points=to_saved_world(cloud.points), normals=normals)
    comments = ["world of transforms.json: z up, (x, z, -y) of ours", *_comments(scene)]
    write_ply(folder / "points.ply", turned, comments=comments)
    files = [f"images/{name}" for name in names]
    write_nerfstudio(folder / "transforms.json", scene.cameras, files=files, ply_file="points.ply")


def _read_nerfstudio(folder: Path) -> _ReadBack:
    content = read_nerfstudio(folder / "transforms.json")
    cloud = read_ply(folder / str(content.ply_file))
    points = from_saved_world(cloud.points, content.saved_from_world)
    return _ReadBack(content.cameras, points, cloud.colors, read_images(folder, content.files))


def _write_ply(path: Path, scene: Reconstruction, selection: PointSelection) -> None:
    write_ply(path, scene.select_points(selection), comments=_comments(scene))


def _read_ply(path: Path) -> _ReadBack:
    cloud = read_ply(path)
    return _ReadBack(points=cloud.points, colors=cloud.colors)


def _write_ply_sequence(folder: Path, scene: Reconstruction, selection: PointSelection) -> None:
    write_ply_sequence(folder, frame_clouds(scene, selection), comments=_comments(scene))


def _read_ply_sequence(folder: Path) -> _ReadBack:
    clouds = read_ply_sequence(folder)
    points, colors = ([getattr(cloud, name) for cloud in clouds] for name in ("points", "colors"))
    return _ReadBack(points=torch.cat(points), colors=torch.cat(colors))


def _write_glb(path: Path, scene: Reconstruction, selection: PointSelection) -> None:
    from jog3r.export.glb import write_glb

    write_glb(path, scene.select_points(selection), scene.cameras, scale=scene.scale)


def _read_glb(path: Path) -> _ReadBack:
    from jog3r.export.glb import read_glb

    content = read_glb(path)
    return _ReadBack(content.cameras, content.points, content.colors)


def _write_mesh(path: Path, scene: Reconstruction, selection: PointSelection) -> None:
    check_suffix(path, MESH_SUFFIXES)
    scene.mesh(selection).save(path)


def _read_mesh(path: Path) -> _ReadBack:
    mesh = Mesh.load(path)
    return _ReadBack(points=mesh.vertices, colors=mesh.colors)


def _write_npz(path: Path, scene: Reconstruction, selection: PointSelection) -> None:
    del selection  # it holds all pixels, from which any selection can be made
    write_npz(path, scene)


def _read_npz(path: Path) -> _ReadBack:
    scene = read_npz(path)
    return _ReadBack(scene.cameras, frames=scene.video.frames)


def _cameras_alone(name: CameraFormat) -> _Format:
    """Return the scene format that writes nothing but the cameras."""
    format = camera_formats.FORMATS[name]

    def write(path: Path, scene: Reconstruction, selection: PointSelection) -> None:
        del selection
        fps = scene.video.fps if format.has_time else None
        camera_formats.write_cameras(path, scene.cameras, name, fps=fps)

    def read(path: Path) -> _ReadBack:
        if format.trajectory is not None:
            return _ReadBack(world_from_camera=format.trajectory(path).world_from_camera)
        return _ReadBack(camera_formats.read_cameras(path, name))

    return _Format(write, read, is_folder=False, selection=None)


FORMATS: dict[str, _Format] = {
    "colmap": _Format(_write_colmap, _read_colmap, is_folder=True),
    "colmap-text": _Format(_write_colmap_text, _read_colmap, is_folder=True),
    "nerfstudio": _Format(_write_nerfstudio, _read_nerfstudio, is_folder=True),
    "3dgs": _Format(_write_3dgs, _read_3dgs, is_folder=True),
    "ply": _Format(_write_ply, _read_ply, is_folder=False),
    "ply-sequence": _Format(_write_ply_sequence, _read_ply_sequence, is_folder=True),
    "glb": _Format(_write_glb, _read_glb, is_folder=False),
    "mesh": _Format(_write_mesh, _read_mesh, is_folder=False, selection=MESH_SELECTION),
    "npz": _Format(_write_npz, _read_npz, is_folder=False, selection=None),
    "json": _cameras_alone("json"),
    "realestate10k": _cameras_alone("realestate10k"),
    "tum": _cameras_alone("tum"),
    "kitti": _cameras_alone("kitti"),
}
"""Every name that `export_scene` takes."""

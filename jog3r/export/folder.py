"""A whole result as a folder that appears whole or not at all, and its reader.

==================  =============================================================================
file                content
==================  =============================================================================
meta.json           kind, scale, flags, prompt, seed, frame rate, versions, conventions
frames/0000.png     the frames without loss; read back bit for bit
video.mp4           the same to look at (H.264, lossy)
cameras.json        world_from_camera and K of every file in frames/; read back bit for bit
cameras.txt         the same as RealEstate10K
cameras_tum.txt     the path as TUM trajectory (no K)
depth.npz           depth and confidence, float32 (T, H, W), and mask, bool, if there is one; read
                    back bit for bit
points.ply          the point cloud with colour and confidence
scene.glb           the point cloud with camera frusta, y up
overview.png        a picture of it all
==================  =============================================================================

A Generation without reconstruction has the first three and overview.png only. `load` needs
meta.json, frames/, cameras.json and depth.npz; the others may be deleted.
"""

import json
import platform
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jog3r import __version__
from jog3r.errors import FileError, InputError
from jog3r.export.atomic import atomic_file, atomic_folder
from jog3r.export.cameras_json import read_cameras_json, read_json, write_cameras_json
from jog3r.export.images import image_name, read_images, write_images
from jog3r.export.npz import array_tensor, check_present, read_arrays
from jog3r.export.realestate10k import write_realestate10k
from jog3r.export.tum import write_tum
from jog3r.result_checks import as_path
from jog3r.results import Generation, Reconstruction, Video

FORMAT = "jog3r scene 1"
"""First entry of meta.json; the number counts changes that older readers cannot read."""

NAMES = {"meta.json", "frames", "video.mp4", "cameras.json", "cameras.txt", "cameras_tum.txt"} | {
    "depth.npz",
    "points.ply",
    "scene.glb",
    "overview.png",
}
"""Everything that a folder of ours may hold."""
_FRAME_NAME = re.compile(r"frames/(\d{4}|x\d{8})\.png")


def write_reconstruction(
    folder: str | Path, reconstruction: Reconstruction, *, overwrite: bool = False
) -> Path:
    """Write a reconstruction; see `Reconstruction.save`.

    Raises:
        InputError: the folder exists and `overwrite` is False, or it is not one of ours.
        SaveError: it could not be written; nothing partial is left.
    """
    folder = free_target(folder, overwrite)
    with atomic_folder(folder) as temporary:
        _write_video(temporary, reconstruction.video)
        _write_scene(temporary, reconstruction, title=f"Reconstruction: {folder.name}")
        _write_meta(temporary, {"kind": "reconstruction", **_scene_meta(reconstruction)})
    return folder


def write_generation(
    folder: str | Path, generation: Generation, *, overwrite: bool = False
) -> Path:
    """Write a generation with its reconstruction, if it has one; see `Generation.save`.

    Raises:
        InputError: the folder exists and `overwrite` is False, or it is not one of ours.
        SaveError: it could not be written; nothing partial is left.
    """
    from jog3r.export.overview import write_overview

    folder = free_target(folder, overwrite)
    meta: dict[str, Any] = {
        "kind": "generation",
        "prompt": generation.prompt,
        "seed": generation.seed,
        "fps": generation.video.fps,
    }
    with atomic_folder(folder) as temporary:
        _write_video(temporary, generation.video)
        if generation.reconstruction is None:
            write_overview(temporary / "overview.png", generation.video, title=generation.prompt)
        else:
            _write_scene(temporary, generation.reconstruction, title=generation.prompt)
            meta |= _scene_meta(generation.reconstruction)
        _write_meta(temporary, meta)
    return folder


def read_reconstruction(folder: str | Path) -> Reconstruction:
    """Read a reconstruction, also that of a saved generation; see `Reconstruction.load`.

    Raises:
        FileError: missing, truncated or foreign folder or file; names it.
    """
    folder = as_path("folder", folder)
    meta = _read_meta(folder)
    if "scale" not in meta:
        raise FileError(
            f"{folder}: expected a reconstruction, got a generation without one; use"
            " Generation.load(), or generate with cameras=True"
        )
    content = read_cameras_json(folder / "cameras.json")
    video = _read_video(folder, meta, content.files)
    depth, confidence, mask = _read_depth(folder / "depth.npz")
    scale, flags = meta["scale"], _read_flags(folder, meta)
    try:
        return Reconstruction(video, content.cameras, depth, confidence, scale, mask, flags)
    except InputError as error:
        raise FileError(f"{folder}: expected parts that fit each other, got {error}") from error


def read_generation(folder: str | Path) -> Generation:
    """Read a generation; see `Generation.load`.

    Raises:
        FileError: missing, truncated or foreign folder or file; names it.
    """
    folder = as_path("folder", folder)
    meta = _read_meta(folder)
    if meta.get("kind") != "generation":
        raise FileError(
            f"{folder}: expected a generation, got a {meta.get('kind')}; use Reconstruction.load()"
        )
    reconstruction = read_reconstruction(folder) if "scale" in meta else None
    video = _read_video(folder, meta) if reconstruction is None else reconstruction.video
    prompt, seed = meta.get("prompt"), meta.get("seed")
    if not isinstance(prompt, str) or type(seed) is not int:
        raise FileError(
            f"{folder / 'meta.json'}: expected prompt and seed, got {prompt!r} and {seed!r}"
        )
    return Generation(video, prompt, seed, reconstruction)


def frame_name(index: int) -> str:
    """Return the name of a frame's image inside the folder; names sort as the frames do."""
    return f"frames/{image_name(index)}"


def free_target(folder: str | Path, overwrite: bool) -> Path:
    """Return where a result may be saved; replacing it deletes nothing but an earlier result.

    Raises:
        InputError: the folder exists and `overwrite` is False, it is not one of ours or holds
            other things too, or one of its parents is no folder.
    """
    folder = as_path("folder", folder)
    try:
        _check_target(folder, overwrite)
    except OSError as error:  # for example a name too long, or a folder that may not be listed
        raise InputError(
            f"folder: expected a place to write to, got {folder}: '{error.strerror}'; choose"
            " another"
        ) from error
    return folder


def _check_target(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        parent = next((parent for parent in folder.parents if parent.exists()), Path())
        if not parent.is_dir():
            raise InputError(
                f"folder: expected a place inside folders, got {folder}, where {parent} is a file;"
                " choose another"
            )
        return
    if not overwrite:
        raise InputError(f"folder: expected a new name, got {folder}, which exists; overwrite=True")
    # Replacing deletes all that is in it: it must be a result of ours, and nothing but that.
    if not folder.is_dir() or (any(folder.iterdir()) and not _is_ours(folder)):
        raise InputError(
            f"folder: expected one written by jog3r to overwrite, got {folder}; choose another"
        )
    foreign = foreign_files(folder)
    if foreign:
        raise InputError(
            f"folder: expected only jog3r's own files to overwrite, got {folder / foreign[0]};"
            " move it elsewhere"
        )


def foreign_files(folder: Path) -> list[str]:
    """List what is in a folder and cannot come from us, by its name or its kind, sorted."""
    names = [path.name for path in folder.iterdir() if not _may_be_ours(path)]
    if (folder / "frames").is_dir() and "frames" not in names:
        for path in (folder / "frames").iterdir():
            name = f"frames/{path.name}"
            names += [] if _FRAME_NAME.fullmatch(name) and path.is_file() else [name]
    return sorted(names)


def _may_be_ours(path: Path) -> bool:
    if path.name == "frames":
        return path.is_dir() and not path.is_symlink()
    return path.name in NAMES and path.is_file()


def _is_ours(folder: Path) -> bool:
    try:
        _read_meta(folder)
    except FileError:
        return False
    return True


def _write_video(folder: Path, video: Video) -> None:
    from jog3r.export.mp4 import write_mp4

    (folder / "frames").mkdir()
    write_images(folder, video, [frame_name(index) for index in range(len(video))])
    write_mp4(folder / "video.mp4", video)


def _write_scene(folder: Path, reconstruction: Reconstruction, *, title: str) -> None:
    from jog3r.export.glb import write_glb
    from jog3r.export.overview import write_overview
    from jog3r.export.ply import write_ply

    cameras, fps, scale = reconstruction.cameras, reconstruction.video.fps, reconstruction.scale
    files = [frame_name(index) for index in range(len(cameras))]
    write_cameras_json(folder / "cameras.json", cameras, files=files, fps=fps, scale=scale)
    write_realestate10k(folder / "cameras.txt", cameras, fps=fps)
    write_tum(folder / "cameras_tum.txt", cameras, fps=fps)
    with atomic_file(folder / "depth.npz") as file:
        named = {name: getattr(reconstruction, name) for name in ("depth", "confidence", "mask")}
        arrays = {name: maps.numpy() for name, maps in named.items() if maps is not None}
        np.savez_compressed(file, **arrays)
    cloud = reconstruction.points
    write_ply(folder / "points.ply", cloud, comments=[f"unit of length: {scale}"])
    write_glb(folder / "scene.glb", cloud, cameras, scale=scale)
    write_overview(folder / "overview.png", reconstruction.video, reconstruction, title=title)


def _scene_meta(reconstruction: Reconstruction) -> dict[str, Any]:
    flags = list(reconstruction.flags)
    return {"fps": reconstruction.video.fps, "scale": reconstruction.scale, "flags": flags}


def _write_meta(folder: Path, entries: dict[str, Any]) -> None:
    versions = {"jog3r": __version__, "torch": torch.__version__}
    meta = {
        "format": FORMAT,
        **entries,
        "convention": "opencv: x right, y down, z forward; world_from_camera; K in pixels, pixel"
        " centres at +0.5",
        "versions": versions | {"numpy": np.__version__, "python": platform.python_version()},
    }
    with atomic_file(folder / "meta.json") as file:
        file.write((json.dumps(meta, indent=2) + "\n").encode())


def _read_meta(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise FileError(f"{folder}: expected a folder written by save(), got no such folder")
    meta = read_json(folder / "meta.json")
    if meta.get("format") != FORMAT:
        raise FileError(
            f"{folder / 'meta.json'}: expected format {FORMAT!r}, got {meta.get('format')!r};"
            " was it written by a newer jog3r?"
        )
    return meta


def _read_video(
    folder: Path, meta: dict[str, Any], files: tuple[str | None, ...] | None = None
) -> Video:
    """Read the named frames, which are those of the cameras, or all there are."""
    names = files or [f"frames/{path.name}" for path in sorted((folder / "frames").glob("*.png"))]
    if not names:
        raise FileError(f"{folder / 'frames'}: expected PNG files, got none")
    unnamed = [name for name in names if name is None]
    if unnamed:
        raise FileError(f"{folder / 'cameras.json'}: expected the image of every camera, got none")
    frames = read_images(folder, [name for name in names if name is not None])
    try:
        return Video(frames, meta.get("fps"))  # type: ignore[arg-type]
    except InputError as error:
        raise FileError(f"{folder / 'meta.json'}: {error}") from error


def _read_flags(folder: Path, meta: dict[str, Any]) -> tuple[str, ...]:
    flags = meta.get("flags", [])  # folders of jog3r 0.1 have none
    if not isinstance(flags, list) or not all(isinstance(flag, str) for flag in flags):
        raise FileError(f"{folder / 'meta.json'}: expected flags as texts, got {flags!r}")
    return tuple(flags)


def _read_depth(path: Path) -> tuple[Tensor, Tensor, Tensor | None]:
    arrays = read_arrays(path)
    check_present(path, arrays, ("depth", "confidence"))
    depth, confidence = (array_tensor(path, arrays, name) for name in ("depth", "confidence"))
    return depth, confidence, array_tensor(path, arrays, "mask") if "mask" in arrays else None

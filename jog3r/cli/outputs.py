"""Where outputs go and how they are listed."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from jog3r.errors import InputError

# What `save` writes, the first thing to open first.
DESCRIPTIONS = {
    "overview.png": "picture of everything: open this first",
    "video.mp4": "the frames as a video",
    "scene.glb": "points and cameras for any 3D viewer",
    "points.ply": "points with colour and confidence",
    "cameras.txt": "cameras and lens as RealEstate10K",
    "cameras.json": "cameras and lens as JSON",
    "cameras_tum.txt": "camera path as TUM trajectory",
    "depth.npz": "depth and confidence of every pixel",
    "frames": "the frames without loss, as PNG",
    "meta.json": "prompt, seed, unit of length, versions",
}


def slug(prompt: str, longest: int = 48) -> str:
    """Return a prompt as a file name: lower case, dashes, cut after a whole word.

    Example:
        >>> slug("A red sphere, in a brick room!")
        'a-red-sphere-in-a-brick-room'
    """
    words = re.findall(r"[^\W_]+", prompt.lower())
    name = "-".join(words)
    if len(name) > longest:
        name = name[: longest + 1].rpartition("-")[0] or name[:longest]
    return name or "prompt"


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that `save` would refuse, before any time goes into filling it.

    Raises:
        InputError: the folder exists and `overwrite` is False, it is not one of ours or holds
            other things too, or it cannot be made there.
    """
    if folder.exists() and not overwrite:
        raise InputError(
            f"--out: expected a new folder, got {folder}, which exists; add --overwrite or choose"
            " another"
        )
    from jog3r.export.folder import free_target

    try:
        free_target(folder, overwrite)
    except InputError as error:
        raise InputError(f"--out: {str(error).removeprefix('folder: ')}") from error


def print_outputs(folders: Iterable[Path]) -> None:
    """List what is in the folders of saved results, each file with what it is."""
    width = max(len(name) for name in DESCRIPTIONS)
    for folder in folders:
        print(folder)
        for name, description in DESCRIPTIONS.items():
            if (folder / name).exists():
                print(f"  {name:<{width}}  {description}")


def print_flags(flags: Sequence[str]) -> None:
    """Say what is unusual about a result."""
    for flag in flags:
        print(f"note: {flag}")

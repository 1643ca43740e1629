"""Checkpoints on the disk: which there are, which is the newest, what an interruption has left."""

import shutil
import zipfile
from pathlib import Path

from jog3r.errors import FileError

SUFFIX = ".ckpt"
METADATA = "meta.pt"
"""In a checkpoint that is a folder, what is not shared among processes."""


def is_sharded(path: Path) -> bool:
    """Tell whether a checkpoint is a folder to which every process has written its share."""
    return (path / METADATA).is_file()


def checkpoints_in(folder: Path) -> list[Path]:
    """List the complete checkpoints of a folder, the oldest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith(".")]
    return sorted((path for path in found if path.is_file() or is_sharded(path)), key=written)


def check_whole(path: Path) -> None:
    """Read a checkpoint's file through and compare its checksums.

    torch itself notices that an archive is cut off, and not that a number in it has changed.

    Raises:
        FileError: It is no archive, or a part of it is damaged.
    """
    if not path.exists():
        raise FileError(f"{path}: expected a checkpoint, got nothing there; check the path")
    try:
        with zipfile.ZipFile(path) as archive:
            part = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise damaged(path, error) from error
    if part is not None:
        raise damaged(path, f"the checksum of {part} is wrong")


def damaged(path: object, reason: object) -> FileError:
    """Give the error for a checkpoint that cannot be read."""
    told = " ".join(str(reason).split())[:200] or type(reason).__name__
    return FileError(
        f"{path}: expected a whole checkpoint, got a damaged one ({told}); go on from another one"
        " in its folder"
    )


def remove_leftovers(folder: Path) -> None:
    """Delete what interrupted saves have left in a folder of checkpoints."""
    for left in folder.glob(f".*{SUFFIX}.*.tmp"):
        delete(left)


def delete(path: Path) -> None:
    """Delete a file, a link or a folder; of a folder that ends in the middle nothing is seen."""
    if path.is_dir() and not path.is_symlink():
        hidden = path.name if path.name.startswith(".") else f".{path.name}.old.tmp"
        shutil.rmtree(path.rename(path.with_name(hidden)))
    else:
        path.unlink(missing_ok=True)


def written(path: Path) -> tuple[int, str]:
    """Give when a checkpoint was written; of two of one moment the name decides."""
    return ((path / METADATA if path.is_dir() else path).stat().st_mtime_ns, path.name)

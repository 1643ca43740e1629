"""Where exports may go: what stands there already, and whether it may be replaced.

Every exported folder has a list of its files, `jog3r_export.json`. It is replaced only on request,
and only if nothing else is in it: what others have put there is never deleted.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jog3r import __version__
from jog3r.errors import FileError, InputError
from jog3r.export.atomic import atomic_file, atomic_folder
from jog3r.export.cameras_json import read_json
from jog3r.result_checks import as_path

EXPORT_LIST = "jog3r_export.json"
"""Says what an exported folder is, and which files are ours."""

COLMAP_FILES = tuple(
    f"{name}.{suffix}"
    for name in ("cameras", "images", "points3D", "rigs", "frames")
    for suffix in ("bin", "txt")
)


@contextmanager
def export_folder(
    path: str | Path, notes: Mapping[str, Any], *, overwrite: bool = False
) -> Iterator[Path]:
    """Make a temporary folder that becomes `path`, with a list of its files, or nothing does.

    Args:
        path: to create; missing parents are created too.
        notes: for the list, such as the format and the unit of length.
        overwrite: replace what an earlier export wrote there.

    Raises:
        InputError: it exists and `overwrite` is False, or files that are not ours are in it.
        SaveError: it could not be written; nothing partial is left.
    """
    folder = as_path("path", path)
    _checked(folder, overwrite, _check_folder)
    with atomic_folder(folder) as temporary:
        yield temporary
        entries = {"jog3r": __version__, **notes, "files": sorted(_files(temporary))}
        with atomic_file(temporary / EXPORT_LIST) as file:
            file.write((json.dumps(entries, indent=1) + "\n").encode())


def free_file(path: str | Path, *, overwrite: bool = False) -> Path:
    """Return where a file may be written.

    Raises:
        InputError: it exists and `overwrite` is False, or is a folder.
    """
    file = as_path("path", path)
    _checked(file, overwrite, _check_file)
    return file


def check_no_other_model(folder: str | Path, written: Sequence[str]) -> None:
    """Check that no COLMAP file is left beside ours, which readers would take for a part of it.

    Args:
        folder: where the model goes.
        written: names of the files that it will replace.

    Raises:
        InputError: another one of the files of a model is there.
    """
    place = as_path("path", folder)
    other = [name for name in COLMAP_FILES if name not in written and (place / name).exists()]
    if other:
        raise InputError(
            f"path: expected a folder without another COLMAP model, got {place / other[0]};"
            " choose another folder"
        )


def _checked(target: Path, overwrite: bool, check: Any) -> None:
    try:
        if target.exists() and not overwrite:
            raise InputError(
                f"path: expected a new name, got {target}, which exists; use overwrite=True or"
                " choose another"
            )
        if target.exists():
            check(target)
    except OSError as error:  # for example a name too long
        raise InputError(
            f"path: expected a place to write to, got {target}: '{error.strerror}'; choose another"
        ) from error


def _check_file(file: Path) -> None:
    if not file.is_file():
        raise InputError(f"path: expected a file to overwrite, got {file}; choose another")


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"path: expected a folder to overwrite, got {folder}; choose another")
    try:
        listed = read_json(folder / EXPORT_LIST).get("files")
    except FileError:
        listed = []
    ours = {EXPORT_LIST, *listed} if isinstance(listed, list) else {EXPORT_LIST}
    foreign = sorted(_files(folder) - ours)
    if foreign:
        raise InputError(
            f"path: expected only files of an earlier export to overwrite, got"
            f" {folder / foreign[0]}; move it elsewhere or choose another folder"
        )


def _files(folder: Path) -> set[str]:
    """Name everything below a folder but plain folders, which hold nothing themselves."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }

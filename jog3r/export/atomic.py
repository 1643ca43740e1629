"""Files and folders that appear whole or not at all.

Everything is written under a hidden temporary name beside the target, flushed to the disk, and
takes the target's name only at the end. On any failure, interruption included, the temporary part
and the parent folders made for it are removed again, and an existing target is untouched.
"""

import errno
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from jog3r.errors import InputError, SaveError
from jog3r.result_checks import as_path

logger = logging.getLogger(__name__)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` when the block ends without an error.

    Args:
        path: to create or replace; missing parents are created; a link is followed.

    Raises:
        InputError: a path that names nothing.
        SaveError: anything the operating system refuses (disk full, no permission).

    Example:
        >>> with atomic_file("notes.txt") as file:
        ...     file.write(b"whole or not at all")
        19
    """
    target = _resolved(path)
    with _reported(path), _parents(target), _removed_on_failure(target) as temporary:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        _sync_folder(target.parent)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Make a temporary folder that replaces `path` when the block ends without an error.

    An existing folder keeps its name until the new one is complete; then both are renamed, one
    after the other, and the old one is deleted.

    Args:
        path: to create or replace; missing parents are created; a link is followed.

    Raises:
        InputError: a path that names nothing.
        SaveError: anything the operating system refuses (disk full, no permission).
    """
    target = _resolved(path)
    with _reported(path), _parents(target), _removed_on_failure(target) as temporary:
        temporary.mkdir()
        yield temporary
        _sync_folder(temporary)
        _replace_folder(temporary, target)
        _sync_folder(target.parent)


@contextmanager
def atomic_files(folder: str | Path, *, obsolete: Sequence[str] = ()) -> Iterator[Path]:
    """Make a temporary folder whose files move into `folder` when the block ends without an error.

    Files of the same names are replaced, in the order of their names; all others stay.

    Args:
        folder: to create, or to add to; missing parents are created; a link is followed.
        obsolete: patterns of names. Files in `folder` that match and were not written anew are
            deleted at the end, such as the shards of a model that now fits into one file.

    Raises:
        InputError: a path that names nothing.
        SaveError: anything the operating system refuses (disk full, no permission).
    """
    target = _resolved(folder)
    with _reported(folder), _parents(target / "*"), _removed_on_failure(target / "files") as place:
        place.mkdir()
        yield place
        made = sorted(place.iterdir())
        for file in made:
            _sync_file(file)
        for file in made:
            file.replace(target / file.name)
        place.rmdir()
        names = {file.name for file in made}
        for old in {file for pattern in obsolete for file in target.glob(pattern)}:
            if old.name not in names:
                old.unlink()
        _sync_folder(target)


def _replace_folder(temporary: Path, target: Path) -> None:
    if not target.exists():
        temporary.rename(target)
        return
    old = _temporary_name(target)
    target.rename(old)
    try:
        temporary.rename(target)
    except BaseException:
        old.rename(target)
        raise
    try:
        shutil.rmtree(old)
    except OSError as error:  # the new folder is in place: nothing has failed for its owner
        logger.warning("%s: the replaced folder could not be deleted, got '%s'", old, error)


def _resolved(path: str | Path) -> Path:
    name = as_path("path", path)
    with _reported(path):
        try:
            target = name.resolve()
        except RuntimeError as error:  # Python before 3.13
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from error
    if not target.name:
        raise InputError(f"path: expected a name to write to, got {path}; add one")
    return target


@contextmanager
def _reported(path: str | Path) -> Iterator[None]:
    """Turn what the operating system refuses into one error that names the wanted path."""
    try:
        yield
    except OSError as error:
        # A file of a folder has already been reported under its temporary name.
        nested = isinstance(error, SaveError) and isinstance(error.__cause__, OSError)
        cause = error.__cause__ if nested else error
        assert isinstance(cause, OSError)
        reason = cause.strerror or str(cause) or type(cause).__name__
        raise SaveError(
            f"{path}: expected to write it whole, got '{reason}'; nothing partial was left,"
            " free some space or choose another place"
        ) from cause


@contextmanager
def _parents(target: Path) -> Iterator[None]:
    """Create the missing parent folders, and remove them again if the block fails."""
    missing = [folder for folder in target.parents if not folder.exists()]
    created: list[Path] = []
    try:
        for folder in reversed(missing):
            folder.mkdir()
            created.append(folder)
        yield
    except BaseException:
        for folder in reversed(created):
            # Someone else may have put something there meanwhile: then it stays.
            if not any(folder.iterdir()):
                folder.rmdir()
        raise


@contextmanager
def _removed_on_failure(target: Path) -> Iterator[Path]:
    temporary = _temporary_name(target)
    try:
        yield temporary
    except BaseException:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
        raise


def _temporary_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")


def _sync_file(file: Path) -> None:
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def _sync_folder(folder: Path) -> None:
    """Flush a folder's list of names; only systems that can open folders need it."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

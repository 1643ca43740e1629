"""Safetensors files: one, or shards with an index; opened with errors that name what lies there."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor

from jog3r.errors import FileError

WEIGHTS_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"


def locate(source: Path) -> list[Path]:
    """Find the files that hold weights.

    Args:
        source: A safetensors file, an index, or a folder with `model.safetensors` or its index.

    Raises:
        FileError: There are none, the index is damaged, or a shard is missing or holds other
            tensors than the index says.
    """
    if source.is_dir():
        index = source / INDEX_FILE
        source = index if index.exists() else source / WEIGHTS_FILE
    if not source.is_file():
        shards = any(source.parent.glob("*-of-*.safetensors"))
        got = f"shards without their index {INDEX_FILE}" if shards else "nothing"
        raise FileError(
            f"{source}: expected a weights file, got {got}; the model folder is incomplete, copy"
            " it again"
        )
    return _shards(source) if source.suffix == ".json" else [source]


def _shards(index: Path) -> list[Path]:
    """Read an index and check that the shards are what it says."""
    by_file: dict[str, set[str]] = {}
    for name, file in read_index(index).items():
        by_file.setdefault(file, set()).add(name)
    for file, names in by_file.items():
        found = set(shapes([index.parent / file]))
        if found != names:
            missing, extra = sorted(names - found), sorted(found - names)
            raise FileError(
                f"{index.parent / file}: expected the {len(names)} tensors that {index.name}"
                f" places there, got {len(missing)} missing {missing[:3]} and {len(extra)} unknown"
                f" {extra[:3]}; copy the model folder again"
            )
    return [index.parent / file for file in sorted(by_file)]


def read_index(index: Path) -> dict[str, str]:
    """Read which file each tensor lies in, and check that these files are there.

    Raises:
        FileError: No such index, a damaged one, or a missing file.
    """
    places: dict[str, str] = {}
    what = "other JSON"
    try:
        places = json.loads(index.read_text("utf-8"))["weight_map"]
        # Shards lie beside their index; a path could lead anywhere.
        good = bool(places) and all(Path(file).name == file for file in places.values())
    except (OSError, ValueError, RecursionError):
        good, what = False, "no JSON, or a truncated one"
    except (KeyError, TypeError, AttributeError):
        good = False
    if not good:
        found = recognised(index)
        if found is not None and not found[0].startswith("text"):
            what = found[0]
        raise FileError(
            f"{index}: expected an index of shards with a weight_map from tensors to file names,"
            f" got {what}; copy the model folder again"
        )
    missing = sorted({file for file in places.values() if not (index.parent / file).is_file()})
    if missing:
        raise FileError(
            f"{index}: expected {len(set(places.values()))} shards beside it, got {len(missing)}"
            f" missing {missing[:3]}; copy the model folder again"
        )
    return places


def shapes(files: Sequence[Path]) -> dict[str, tuple[int, ...]]:
    """Read names and shapes of the tensors; no values are read.

    Raises:
        FileError: A file that is truncated or not safetensors.
    """
    found = {}
    for file in files:
        with _opened(file) as content:
            for name in content.keys():  # noqa: SIM118  it is no dictionary
                found[name] = tuple(content.get_slice(name).get_shape())
    return found


def dtypes(files: Sequence[Path]) -> set[str]:
    """Read what numbers the tensors consist of, such as "F16"; no values are read.

    Raises:
        FileError: A file that is truncated or not safetensors.
    """
    found: set[str] = set()
    for file in files:
        with _opened(file) as content:
            found |= {content.get_slice(name).get_dtype() for name in content.keys()}  # noqa: SIM118
    return found


def tensors(files: Sequence[Path]) -> Iterator[tuple[str, Tensor]]:
    """Give names and tensors one by one; the memory of each is let go with it.

    Raises:
        FileError: A file that is truncated or not safetensors.
    """
    for file in files:
        for name in shapes([file]):
            # Opened for each: what was read of an open file stays in memory until it is closed.
            with _opened(file) as content:
                tensor = content.get_tensor(name)
            yield name, tensor


def mapped(files: Sequence[Path]) -> dict[str, Tensor]:
    """Map all tensors into memory; values are read from the files when they are used.

    Raises:
        FileError: A file that is truncated or not safetensors.
    """
    found = {}
    for file in files:
        with _opened(file) as content:
            found |= {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    return found


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as content:
            yield content
    except (SafetensorError, OSError, ValueError) as error:
        if is_pickle(file):
            raise FileError(
                f"{file}: expected a safetensors file, got a Python pickle, as torch.save writes"
                " it; turn it into a model folder with jog3r convert"
            ) from error
        fail_on_foreign(file, "a safetensors file", error, str(error))


def fail_on_foreign(file: Path, wanted: str, error: Exception, reason: str = "") -> NoReturn:
    """Say what a file is that could not be read as what it should be.

    Args:
        file: It exists.
        wanted: What was expected, such as "a safetensors file".
        error: What its reader raised.
        reason: What to tell of that, if it helps.

    Raises:
        FileError: Always.
    """
    told = f" ({reason})" if reason else ""
    foreign = f"a truncated or foreign one of {file.stat().st_size} bytes{told}"
    what, to_do = recognised(file) or (foreign, "copy it again")
    raise FileError(f"{file}: expected {wanted}, got {what}; {to_do}") from error


def recognised(file: Path) -> tuple[str, str] | None:
    """Recognise what often lies in the place of weights: say what it is, and what to do."""
    try:
        head = _head(file)
    except OSError as error:
        return f"one that cannot be read ({error.strerror})", "check its permissions"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        return "an empty file", "copy it again"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer in its place", "run `git lfs pull`, or download the file itself"
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")):
        return "a web page saved under its name", "download the file itself, not its page"
    if start.startswith((b"{", b"[")) and head[4:8] != bytes(4):  # else a length comes first
        return "text (JSON)", "download the weights themselves"
    return None


def is_safetensors(file: Path) -> bool:
    """Whether a file begins as safetensors does, whatever its name: a length, then JSON."""
    return _head(file)[4:9] == bytes(4) + b"{"


def is_pickle(file: Path) -> bool:
    """Whether a file begins as torch.save's do: a zip archive, or a bare pickle."""
    try:
        head = _head(file)
    except OSError:
        return False
    if head[4:9] == bytes(4) + b"{":
        return False
    return head.startswith(b"PK\x03\x04") or (head[:1] == b"\x80" and head[1:2] in b"\2\3\4\5")


def _head(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(512)

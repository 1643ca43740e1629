"""Where outputs go and how they are listed."""

import re
from collections.abc import Iterable
from pathlib import Path

from jog3r.errors import InputError


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
    """Refuse a folder that is taken before any time goes into filling it.

    Raises:
        InputError: the folder exists and `overwrite` is False, or a file has its name.
    """
    if folder.exists() and not (overwrite and folder.is_dir()):
        hint = "choose another --out" if folder.is_file() else "add --overwrite or choose another"
        raise InputError(f"--out: expected a new folder, got {folder}, which exists; {hint}")


def print_outputs(folders: Iterable[Path]) -> None:
    """List the files of the folders, each with what it is."""
    for folder in folders:
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        names = [file.relative_to(folder).as_posix() for file in files]
        width = max((len(name) for name in names), default=0)
        print(folder)
        for name in names:
            print(f"  {name:<{width}}  {describe(name)}".rstrip())


def describe(name: str) -> str:
    """Say in a few words what a file of a saved result is; empty for a name we do not know."""
    from jog3r.export.folder import CONTENTS

    return CONTENTS.get(name, "")

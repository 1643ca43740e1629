"""Reading tables of numbers from text, with errors that name the line and the column."""

import math
from collections.abc import Iterator
from pathlib import Path

from jog3r.errors import FileError
from jog3r.result_checks import as_path


def read_text(path: str | Path) -> str:
    """Read a whole text file.

    Raises:
        InputError: a path that names nothing.
        FileError: missing, a folder, unreadable, or not UTF-8 text.
    """
    try:
        # -sig: some editors put a byte order mark first, which is no part of the text.
        return as_path("path", path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FileError(f"{path}: expected a text file, got none of this name") from None
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path}: expected a text file, got bytes that are not UTF-8; is it another format?"
        ) from error
    except OSError as error:
        raise FileError(f"{path}: expected a text file, got '{error.strerror}'") from error


def number_rows(
    path: str | Path, lines: list[str], columns: list[str], *, first_line: int = 1
) -> Iterator[tuple[int, list[float]]]:
    """Yield the line number and the numbers of every line that is not empty or a # comment.

    Args:
        path: for the error text.
        lines: to parse.
        columns: names of the columns, in order; every line must have all of them and no more.
        first_line: number of the first of the lines in its file.

    Raises:
        FileError: another number of columns, or an entry that is no finite number.
    """
    for number, line in enumerate(lines, start=first_line):
        entries = line.split()
        if not entries or entries[0].startswith("#"):
            continue
        if len(entries) != len(columns):
            raise FileError(
                f"{path}: line {number}: expected {len(columns)} columns"
                f" ({' '.join(columns)}), got {len(entries)}; is the file truncated?"
            )
        yield (
            number,
            [
                finite_number(path, number, column, name, entry)
                for column, (name, entry) in enumerate(zip(columns, entries, strict=True), start=1)
            ],
        )


def finite_number(path: str | Path, line: int, column: int, name: str, entry: str) -> float:
    """Read one entry of a table.

    Raises:
        FileError: no finite number; names line and column.
    """
    try:
        value = float(entry)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FileError(
            f"{path}: line {line}, column {column} ({name}): expected a finite number,"
            f" got {entry!r}"
        )
    return value


def whole_entry(path: str | Path, line: int, column: int, name: str, entry: str) -> int:
    """Read one entry of a table that counts or numbers something.

    Raises:
        FileError: no whole number of at least 0 that 63 bits hold; names line and column.
    """
    if not (entry.isascii() and entry.isdigit() and len(entry) < 19):
        raise FileError(
            f"{path}: line {line}, column {column} ({name}): expected a whole number, got"
            f" {entry[:40]!r}"
        )
    return int(entry)

"""Tables of clips and captions as the field writes them: csv, tsv, jsonl and json."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jog3r.data.readers.interface import Problem
from jog3r.errors import FileError
from jog3r.export.text import read_text

TABLES = (".csv", ".tsv", ".jsonl", ".json")
CLIP_COLUMNS = ("clip_name", "clip_id", "clip_path", "videoid", "id", "video")
"""Names under which tables of captions give the clip, the first that occurs counts."""
CAPTION_COLUMNS = ("caption", "captions", "text", "name")


class Row(NamedTuple):
    """One row of a table."""

    line: int
    cells: dict[str, Any]


def read_rows(path: Path) -> tuple[list[Row], list[Problem]]:
    """Read a table; rows that cannot be read are problems.

    Args:
        path: A csv or tsv file whose first line names the columns, a jsonl file of one object per
            line, or a json file with a list of objects.

    Raises:
        FileError: Missing, not UTF-8 text, another suffix, or no table at all.
    """
    text, suffix = read_text(path), path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        found = _separated(path, text, "," if suffix == ".csv" else "\t")
    elif suffix == ".jsonl":
        found = _json_lines(path, text)
    elif suffix == ".json":
        found = _json_list(path, text)
    else:
        raise FileError(f"{path}: expected a table {' '.join(TABLES)}, got {suffix or 'no suffix'}")
    both = list(found)
    rows = [each for each in both if isinstance(each, Row)]
    return rows, [each for each in both if isinstance(each, Problem)]


def read_captions(path: Path) -> tuple[dict[str, str], list[Problem]]:
    """Read captions by clip.

    Args:
        path: A table as `read_rows` takes it with one of `CLIP_COLUMNS` and one of
            `CAPTION_COLUMNS`, or a json object `{clip: caption}`. A clip may be named by the path
            of its video; of a list of captions the first counts.

    Returns:
        Captions of the clips that have one, and problems: rows that cannot be read and captions of
        zero length; neither costs a clip.

    Raises:
        FileError: No table, or one without these columns.
    """
    rows, problems = _caption_rows(path)
    captions: dict[str, str] = {}
    for row in rows:
        clip, caption = _first(row.cells, CLIP_COLUMNS), _first(row.cells, CAPTION_COLUMNS)
        if clip is None or caption is None:
            raise FileError(
                f"{path}: line {row.line}: expected one of the columns {CLIP_COLUMNS} and one of"
                f" {CAPTION_COLUMNS}, got {[*row.cells]}; rename them"
            )
        text = caption_text(caption)
        if text is None:
            problems.append(empty_caption(f"{path.name}: line {row.line}"))
        else:
            captions.setdefault(Path(str(clip)).stem, text)
    return captions, [Problem(kind=p.kind, where=p.where, what=p.what, lost=0) for p in problems]


def caption_text(cell: object) -> str | None:
    """Return the caption that a cell holds, stripped; None where it has no letters.

    Example:
        >>> caption_text([" a room "]), caption_text("  ")
        ('a room', None)
    """
    if isinstance(cell, list):
        cell = cell[0] if cell else None
    return (str(cell).strip() or None) if cell is not None else None


def empty_caption(where: str) -> Problem:
    """Return the problem of a caption of zero length: its clip has no caption."""
    what = "expected a caption, got one of zero length; the clip counts as one without caption"
    return Problem(kind="empty-caption", where=where, what=what, lost=0)


def _caption_rows(path: Path) -> tuple[list[Row], list[Problem]]:
    if path.suffix.lower() == ".json":
        content = _parsed(path, read_text(path))
        if isinstance(content, Mapping):
            pairs = enumerate(content.items(), start=1)
            return [Row(n, {"id": clip, "caption": text}) for n, (clip, text) in pairs], []
    return read_rows(path)


def _first(cells: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((cells[name] for name in names if cells.get(name) is not None), None)


def _separated(path: Path, text: str, separator: str) -> Iterator[Row | Problem]:
    # Not splitlines(): captions from the web hold characters that it takes for ends of lines.
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        columns = next(lines, None)
        if not columns or len(set(columns)) < len(columns):
            raise FileError(f"{path}: expected a first line of column names, got {columns}")
        for cells in lines:
            if len(cells) == len(columns):
                yield Row(lines.line_num, dict(zip(columns, cells, strict=True)))
            elif cells:
                what = f"expected {len(columns)} columns {columns}, got {len(cells)}"
                where = f"{path.name}: line {lines.line_num}"
                yield Problem(kind="wrong-columns", where=where, what=what)
    except csv.Error as error:
        raise FileError(f"{path}: line {lines.line_num}: expected a table, got {error}") from error


def _json_lines(path: Path, text: str) -> Iterator[Row | Problem]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            content = None
        yield _row(path, number, content)


def _json_list(path: Path, text: str) -> Iterator[Row | Problem]:
    content = _parsed(path, text)
    if not isinstance(content, list):
        raise FileError(f"{path}: expected a list of objects, got {type(content).__name__}")
    for number, entry in enumerate(content, start=1):
        yield _row(path, number, entry)


def _row(path: Path, number: int, content: object) -> Row | Problem:
    if isinstance(content, dict):
        return Row(number, content)
    what = "expected a JSON object, got something else or half of one"
    return Problem(kind="broken-row", where=f"{path.name}: line {number}", what=what)


def _parsed(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: expected JSON, got a damaged file ({error})") from error

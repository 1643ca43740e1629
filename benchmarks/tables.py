"""Tables as text."""

from collections.abc import Sequence
from typing import Any

TERMINAL = 120
"""Columns of a wide terminal."""


def format_cell(value: Any) -> str:
    """Write a number with four digits; nan where there is nothing to compute."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Set a table for the terminal, its first row the heading; turned round if that is narrower."""
    shapes = [_set(rows), _set(list(zip(*rows, strict=True)))]
    straight, turned = ("\n".join(lines) for lines in shapes)
    wide, narrow = (max(map(len, lines)) for lines in shapes)
    return turned if wide > TERMINAL and narrow < wide else straight


def _set(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]

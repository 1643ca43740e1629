"""Nested config dataclasses <-> plain dictionaries, as they stand in config.json."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from jog3r.errors import InputError

T = TypeVar("T")


def to_plain(config: Any) -> dict[str, Any]:
    """Turn a config dataclass into a dictionary of plain values."""
    return dataclasses.asdict(config)


def from_plain(cls: type[T], values: Mapping[str, Any], name: str = "config") -> T:
    """Make a config dataclass from plain values.

    Lists become tuples, dictionaries become nested configs; what is left out keeps its default.

    Args:
        cls: The dataclass.
        values: Its fields.
        name: What to call it in errors.

    Raises:
        InputError: An unknown key, or something else where keys and values belong.

    Example:
        >>> from jog3r.diffusion.schedule import NoiseSchedule
        >>> from_plain(NoiseSchedule, {"steps": 10}).steps
        10
    """
    if not isinstance(values, Mapping):
        raise InputError(
            f"{name}: expected keys and values, got {type(values).__name__}; see the config.json"
            " of the model tiny"
        )
    types = typing.get_type_hints(cls)
    known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - known):
        raise InputError(
            f"{name}: expected keys of {sorted(known)}, got also {unknown}; it belongs to another"
            " version or model"
        )
    made = {}
    for key, value in values.items():
        if dataclasses.is_dataclass(types[key]):
            value = from_plain(typing.cast("type[Any]", types[key]), value, f"{name}.{key}")
        elif isinstance(value, list):
            value = tuple(value)
        made[key] = value
    return cls(**made)

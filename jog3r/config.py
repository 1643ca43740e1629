"""Nested config dataclasses <-> plain dictionaries, as they stand in config.json."""

import dataclasses
import inspect
import reprlib
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from jog3r.errors import InputError

T = TypeVar("T")


def to_plain(config: Any) -> dict[str, Any]:
    """Turn a config dataclass into a dictionary of plain values."""
    return dataclasses.asdict(config)


def from_plain(cls: type[T], values: Mapping[str, Any], name: str = "config") -> T:
    """Make a config dataclass from plain values.

    Lists become tuples, dictionaries become nested configs; what is left out keeps its default.
    Where a field may hold one of several configs, the key `kind` says which; without it, it is the
    first. Ranges, and what belongs together, are left to the dataclasses.

    Args:
        cls: The dataclass.
        values: Its fields.
        name: What to call it in errors.

    Raises:
        InputError: An unknown key, something else where keys and values belong, or a value of
            another type than the field's.

    Example:
        >>> from jog3r.diffusion.schedule import NoiseSchedule
        >>> from_plain(NoiseSchedule, {"steps": 500}).steps
        500
    """
    if not isinstance(values, Mapping):
        raise InputError(
            f"{name}: expected keys and values, got {type(values).__name__}; see the config.json"
            " of the model tiny"
        )
    kinds = typing.get_type_hints(cls)
    known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - known):
        raise InputError(
            f"{name}: expected keys of {sorted(known)}, got {unknown}; it belongs to another"
            " version or model"
        )
    return cls(**{key: _made(kinds[key], value, f"{name}.{key}") for key, value in values.items()})


def check_positive(name: str, config: Any, *keys: str) -> None:
    """Check that fields of a config, numbers or tuples of numbers, are finite and above 0.

    Args:
        name: What to call the config in errors.
        config: The dataclass.
        keys: Its fields.

    Raises:
        InputError: One is not.
    """
    for key in keys:
        value = getattr(config, key)
        numbers = value if isinstance(value, tuple) else (value,)
        if not numbers or not all(0 < number <= sys.float_info.max for number in numbers):
            raise InputError(
                f"{name}.{key}: expected finite numbers above 0, got {value!r}; correct the config"
            )


def _made(kind: Any, value: Any, name: str) -> Any:
    """Make the value of a field from a plain one, by the field's annotation."""
    if dataclasses.is_dataclass(kind):
        return from_plain(typing.cast("type[Any]", kind), value, name)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):  # X | Y | None
        if value is None and type(None) in inner:
            return None
        choices = [each for each in inner if each is not type(None)]
        return _made(
            choices[0] if len(choices) == 1 else _chosen(choices, value, name), value, name
        )
    if origin is tuple and isinstance(value, list | tuple):
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) == len(value):
            places = enumerate(zip(kinds, value, strict=True))
            return tuple(_made(each, item, f"{name}[{i}]") for i, (each, item) in places)
    elif _fits(type(inner[0]) if origin is Literal else origin or kind, value):
        return value
    raise InputError(
        f"{name}: expected {inspect.formatannotation(kind)}, got {reprlib.repr(value)}; see the"
        " config.json of the model tiny"
    )


def _chosen(configs: list[Any], values: Any, name: str) -> Any:
    """Choose among config dataclasses by the value of `kind`."""
    by_kind = {config.kind: config for config in configs}
    kind = values.get("kind", configs[0].kind) if isinstance(values, Mapping) else configs[0].kind
    if not isinstance(kind, str) or kind not in by_kind:
        raise InputError(
            f"{name}.kind: expected one of {[*by_kind]}, got {reprlib.repr(kind)}; it belongs to"
            " another version or model"
        )
    return by_kind[kind]


def _fits(kind: type, value: Any) -> bool:
    # True is an int to Python, and no number to a reader of the file.
    if isinstance(value, bool):
        return kind is bool
    if kind is float:  # a whole number is a good one; NaN, infinity and 10**400 are not
        return isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return isinstance(value, kind)

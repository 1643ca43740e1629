"""Every key of a recipe with its line and the default that its class gives it."""

import dataclasses
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import yaml

from jog3r.backbones.registry import BACKBONES
from jog3r.training.recipes import read_stages

REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Key:
    """A key with a value of its own, no further keys.

    Attributes:
        name: Dotted, from the stage on.
        line: Where it stands, from 0.
        value: What the recipe gives it.
        default: What it is without, or REQUIRED.
    """

    name: str
    line: int
    value: Any
    default: Any

    @property
    def told(self) -> str:
        """What its comment has to say of the default."""
        if self.default is REQUIRED:
            return "(required)"
        if type(self.default).__name__ == "_HAS_DEFAULT_FACTORY_CLASS":
            return "(default: a part of jog3r's own"
        same_kind = isinstance(self.default, bool) == isinstance(self.value, bool)  # 1 is no True
        if same_kind and plain(self.default) == plain(self.value):
            return "(default)"
        return f"(default: {as_text(self.default)}"


def keys_of(recipe: Path) -> Iterator[Key]:
    """List the keys of a recipe."""
    (top,) = [node for key, node in yaml.compose(recipe.read_text()).value if key.value == "stages"]
    stages = read_stages(recipe)
    for key, node in top.value:
        yield from _keys(node, stages[key.value], _Stage(), key.value)


def plain(value: Any) -> Any:
    """Make a default comparable with what YAML gives."""
    return [*map(plain, value)] if isinstance(value, tuple | list) else value


def as_text(value: Any) -> str:
    """Write a default as YAML does, on one line."""
    text = yaml.safe_dump(plain(value), default_flow_style=True).removesuffix("...\n")
    return text.strip().replace("\n", " ")


class _Stage:
    """What a LightningCLI config holds beside what its classes take."""

    def default(self, key: str) -> Any:
        return {"seed_everything": True, "ckpt_path": None}.get(key, REQUIRED)

    def inside(self, key: str, whole: Any) -> Any:
        return _Callable(pl.Trainer) if key == "trainer" else _of_class(whole)


class _Callable:
    """What a class takes."""

    def __init__(self, kind: Callable[..., Any]) -> None:
        self.kind = kind
        self.parameters = inspect.signature(kind).parameters
        self.annotations = typing.get_type_hints(
            kind if dataclasses.is_dataclass(kind) else kind.__init__  # type: ignore[misc]
        )

    def default(self, key: str) -> Any:
        return self.parameters[key].default

    def inside(self, key: str, whole: Any) -> Any:
        if isinstance(whole, Mapping) and "class_path" in whole:
            return _of_class(whole)
        if key == "backbone_config":
            return None  # the caller knows which backbone
        return _of_annotation(self.annotations[key], whole)


def _of_class(whole: Any) -> Any:
    module, _, name = whole["class_path"].rpartition(".")
    return _ClassPath(getattr(importlib.import_module(module), name))


@dataclass(frozen=True)
class _ClassPath:
    kind: Callable[..., Any]

    def default(self, key: str) -> Any:
        return REQUIRED

    def inside(self, key: str, whole: Any) -> Any:
        return _Callable(self.kind)


def _of_annotation(annotation: Any, whole: Any) -> Any:
    choices = [annotation]
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        choices = [*typing.get_args(annotation)]
    if typing.get_origin(annotation) in (list, tuple):
        choices = [*typing.get_args(annotation)]
    configs = [each for each in choices if dataclasses.is_dataclass(each)]
    if not configs:
        return None
    kind = whole.get("kind") if isinstance(whole, Mapping) else None
    chosen = next((each for each in configs if getattr(each, "kind", None) == kind), configs[0])
    return _Callable(typing.cast("type[Any]", chosen))


def _keys(node: yaml.Node, whole: Any, schema: Any, name: str) -> Iterator[Key]:
    assert isinstance(node, yaml.MappingNode)
    for key, value in node.value:
        path, line = f"{name}.{key.value}", key.start_mark.line
        if key.value == "class_path" or value.start_mark.line < line:  # an alias, commented above
            continue
        if key.value == "extends":
            yield Key(path, line, value.value, REQUIRED)
            continue
        held = whole[key.value]
        within = schema.inside(key.value, held) if not isinstance(value, yaml.ScalarNode) else None
        if key.value == "backbone_config":
            module, _, kind = BACKBONES[whole.get("backbone", "stdit")].partition(":")
            within = _Callable(getattr(importlib.import_module(module), kind).Config)
        if isinstance(value, yaml.MappingNode) and within is not None:
            yield from _keys(value, held, within, path)
        elif isinstance(value, yaml.SequenceNode) and value.value and _is_list_of_parts(value):
            for place, (item, part) in enumerate(zip(value.value, held, strict=True)):
                inner = _of_class(part) if "class_path" in part else within
                yield from _keys(item, part, inner, f"{path}.{place}")
        else:
            yield Key(path, line, held, schema.default(key.value))


def _is_list_of_parts(node: yaml.SequenceNode) -> bool:
    return all(isinstance(item, yaml.MappingNode) for item in node.value)

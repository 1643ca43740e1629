"""Recipes: YAML files with one LightningCLI config per stage.

A stage may say `extends: FILE:STAGE` and hold only what differs from a stage of another recipe, or
of its own: keys are merged, lists and values are replaced, and where another class takes the place
of one, nothing of the old one's arguments stays. The other stage may extend none itself.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from jog3r.errors import FileError

EXTENDS = "extends"


def read_stages(recipe: Path) -> dict[str, dict[str, Any]]:
    """Read the stages of a recipe, with what they extend.

    Raises:
        FileError: No such file, one that is not YAML with `stages`, or a stage that extends one
            that there is not, or that extends another itself.
    """
    stages = _stages_as_written(recipe)
    return {name: _whole(config, recipe) for name, config in stages.items()}


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Change some keys of nested dictionaries.

    Args:
        base: What is changed.
        changes: Dictionaries go on inside, everything else replaces. One with another `class_path`
            replaces as well.

    Example:
        >>> merged({"a": {"b": 1, "c": 2}, "d": [3]}, {"a": {"b": 4}, "d": []})
        {'a': {'b': 4, 'c': 2}, 'd': []}
    """
    result = dict(base)
    for key, value in changes.items():
        old: Any = base.get(key)
        inside = isinstance(old, Mapping) and isinstance(value, Mapping)
        if inside and value.get("class_path", old.get("class_path")) == old.get("class_path"):
            value = merged(old, value)
        result[key] = value
    return result


def _whole(config: dict[str, Any], recipe: Path) -> dict[str, Any]:
    if EXTENDS not in config:
        return config
    changes = {key: value for key, value in config.items() if key != EXTENDS}
    file, _, stage = str(config[EXTENDS]).rpartition(":")
    other = recipe.parent / file if file else recipe
    if not other.is_file():
        raise FileError(
            f"{recipe}: expected {EXTENDS}: FILE:STAGE with a file beside the recipe, got {other},"
            " which does not exist; correct the recipe"
        )
    base = _stages_as_written(other).get(stage)
    if base is None or EXTENDS in base:
        raise FileError(
            f"{recipe}: expected {EXTENDS}: FILE:STAGE with a stage that extends none itself, got"
            f" {config[EXTENDS]}; correct the recipe"
        )
    return merged(base, changes)


def _stages_as_written(recipe: Path) -> dict[str, dict[str, Any]]:
    if not recipe.is_file():
        raise FileError(f"recipe: expected a YAML file, got {recipe}; recipes/tiny.yaml is one")
    try:
        content = yaml.safe_load(recipe.read_text("utf-8"))
        # An alias may stand for what it is part of; JSON refuses that, jsonargparse never ends.
        json.dumps(content, skipkeys=True, default=str)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FileError(
            f"{recipe}: expected YAML, got something else ({error}); correct the file"
        ) from error
    stages = content.get("stages") if isinstance(content, dict) else None
    if not isinstance(stages, dict) or not stages:
        raise FileError(
            f"{recipe}: expected the key 'stages' with one LightningCLI config per stage, got none;"
            " see recipes/tiny.yaml"
        )
    for name, config in stages.items():
        # The name becomes that of a file.
        if not re.fullmatch(r"[\w-]+", str(name), re.ASCII) or not isinstance(config, dict):
            raise FileError(
                f"{recipe}: expected stages named by letters, digits, _ and -, each a LightningCLI"
                f" config, got {name!r}: {type(config).__name__}; see recipes/tiny.yaml"
            )
    return stages

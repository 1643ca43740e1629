"""Recipes: YAML files with one LightningCLI config per stage."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from jog3r.errors import FileError


def read_stages(recipe: Path) -> dict[str, dict[str, Any]]:
    """Read the stages of a recipe.

    Raises:
        FileError: No such file, or one that is not YAML with `stages`.
    """
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

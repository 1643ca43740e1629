"""Parts of a model that may be one of several: `kind` in a recipe -> a class for jsonargparse.

Where a field may hold one of several configs, jsonargparse takes its default for the class that is
meant, and refuses the values of the others unless it is told the class.
"""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from jog3r.model_config import ModelConfig
from jog3r.training.recipes import merged


def with_class_paths(stage: Mapping[str, Any]) -> dict[str, Any]:
    """Name the classes of a stage's parts whose kind is not the usual one.

    Args:
        stage: As `read_stages` gives it. What is no model is left for the parser to complain about.

    Example:
        >>> stage = {"model": {"init_args": {"model": {"schedule": {"kind": "rectified-flow"}}}}}
        >>> with_class_paths(stage)["model"]["init_args"]["model"]["schedule"]["class_path"]
        'jog3r.diffusion.rectified_flow.RectifiedFlow'
    """
    found: Any = stage
    for key in ("model", "init_args", "model"):
        found = found.get(key) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        return dict(stage)
    named = {
        name: {"class_path": path, "init_args": dict(found[name])}
        for name in found
        if (path := _unusual_class(name, found[name])) is not None
    }
    return merged(stage, {"model": {"init_args": {"model": {**found, **named}}}})


def _unusual_class(field: str, values: Any) -> str | None:
    annotation = typing.get_type_hints(ModelConfig).get(field)
    configs = [each for each in typing.get_args(annotation) if dataclasses.is_dataclass(each)]
    kind = values.get("kind") if isinstance(values, Mapping) else None
    for config in configs[1:]:
        if getattr(config, "kind", None) == kind:
            return f"{config.__module__}.{typing.cast('type', config).__qualname__}"
    return None

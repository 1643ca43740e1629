"""Backbones by name, so that a config file can choose one."""

import importlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import nn

from jog3r.errors import InputError

BACKBONES: dict[str, str] = {"stdit": "jog3r.backbones.stdit:STDiT"}
"""Name -> "module:class"; the module is imported when the backbone is first asked for."""


def build_backbone(name: str, config: Mapping[str, Any]) -> nn.Module:
    """Build a backbone from plain values, as they come out of a JSON or YAML file.

    Args:
        name: a key of `BACKBONES`.
        config: fields of the backbone's `Config`; what is left out keeps its default.

    Raises:
        InputError: no such backbone, or a key that its config does not have.

    Example:
        >>> tiny = {"hidden_size": 32, "depth": 1, "num_heads": 2, "input_size": [4, 8, 8]}
        >>> build_backbone("stdit", tiny).config.input_size
        (4, 8, 8)
    """
    if name not in BACKBONES:
        raise InputError(f"backbone: expected one of {sorted(BACKBONES)}, got {name!r}")
    module, _, attribute = BACKBONES[name].partition(":")
    config_class = getattr(importlib.import_module(module), attribute).Config
    known = {field.name for field in fields(config_class)}
    if unknown := sorted(set(config) - known):
        raise InputError(f"config of {name}: expected keys of {sorted(known)}, got {unknown}")
    # JSON knows lists only.
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    return config_class(**values).build()

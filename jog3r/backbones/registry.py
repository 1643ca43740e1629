"""Backbones by name, so that a config file can choose one."""

import importlib
from collections.abc import Mapping
from typing import Any

from jog3r.backbones.interface import Backbone
from jog3r.config import from_plain
from jog3r.errors import InputError

BACKBONES: dict[str, str] = {
    "stdit": "jog3r.backbones.stdit:STDiT",
    "stdit2": "jog3r.backbones.stdit2:STDiT2",
    "stdit3": "jog3r.backbones.stdit3:STDiT3",
}
"""Name -> "module:class"; the module is imported when the backbone is first asked for."""


def build_backbone(name: str, config: Mapping[str, Any]) -> Backbone:
    """Build a backbone from plain values, as they come out of a JSON or YAML file.

    Args:
        name: a key of `BACKBONES`.
        config: fields of the backbone's `Config`; what is left out keeps its default.

    Raises:
        InputError: no such backbone, or a key or value that its config does not take.

    Example:
        >>> tiny = {"hidden_size": 32, "depth": 1, "num_heads": 2, "patch_size": [1, 2, 2]}
        >>> build_backbone("stdit", tiny).config.patch_size
        (1, 2, 2)
    """
    if name not in BACKBONES:
        raise InputError(f"backbone: expected one of {sorted(BACKBONES)}, got {name!r}")
    module, _, attribute = BACKBONES[name].partition(":")
    config_class = getattr(importlib.import_module(module), attribute).Config
    return from_plain(config_class, config, f"config of {name}").build()

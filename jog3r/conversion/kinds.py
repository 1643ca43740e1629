"""What a kind of checkpoint is to the rest of this room, and how it is recognised."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from jog3r.conversion import AUTO, KINDS
from jog3r.conversion.checkpoints import Checkpoint
from jog3r.errors import FileError, InputError

Settings = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Converted:
    """One part of a model.

    Attributes:
        config: Fields of `ModelConfig`; those of parts as plain dictionaries.
        prefix: What the model puts before the names of the part's tensors.
        build: Makes the part's class, whose names and shapes the tensors must have.
        tensors: Under that class's names.
        left_out: Names in the checkpoint that the class has no use for.
    """

    config: dict[str, Any]
    prefix: str
    build: Callable[[], nn.Module]
    tensors: dict[str, Tensor]
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of public checkpoint.

    Attributes:
        origin: Where it was published.
        licence: SPDX name of that of its weights.
        is_it: Whether tensors are of this kind, by their names.
        convert: Turns a checkpoint into a part, with settings of its config that no shape tells.
    """

    origin: str
    licence: str
    is_it: Callable[[Mapping[str, Tensor]], bool]
    convert: Callable[[Checkpoint, Settings], Converted]


# Name -> "module:name of a Kind in it".
HOMES = {
    "opensora-1.0": "opensora:STDIT",
    "opensora-1.1": "opensora:STDIT2",
    "opensora-1.2": "opensora:STDIT3",
    "opensora-1.2-vae": "video_vae:KIND",
    "sd-vae": "sd_vae:KIND",
    "dust3r": "dust3r:KIND",
}


def find_kind(name: str) -> Kind:
    """Return a kind by its name.

    Raises:
        InputError: No such kind.
    """
    if name not in HOMES:
        raise InputError(f"kind: expected one of {[AUTO, *KINDS]}, got {name!r}")
    module, _, attribute = HOMES[name].partition(":")
    return getattr(importlib.import_module(f"jog3r.conversion.{module}"), attribute)


def recognise(checkpoint: Checkpoint, wanted: str = AUTO) -> str:
    """Say which kind of checkpoint this is.

    Args:
        checkpoint: Its names are looked at.
        wanted: What it should be.

    Raises:
        FileError: None of them, or another than the wanted one.
        InputError: No such kind.
    """
    if wanted != AUTO:
        find_kind(wanted)
    found = [name for name in KINDS if find_kind(name).is_it(checkpoint.tensors)]
    if wanted in found:
        return wanted
    if wanted == AUTO and len(found) == 1:
        return found[0]
    got = (
        f"tensors of {' and '.join(found)}"
        if found
        else f"others: {sorted(checkpoint.tensors)[:4]}"
    )
    expected = f"one of {list(KINDS)}" if wanted == AUTO else wanted
    raise FileError(
        f"{checkpoint.source}: expected a checkpoint of {expected}, got {got}; give another file or"
        " kind"
    )

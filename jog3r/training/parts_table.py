"""What a recipe trains and what it freezes, as a table; nothing of its size is built."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.codecs.text import TextEncoder, word_tokenizer
from jog3r.config import from_plain
from jog3r.data.world.captions import vocabulary
from jog3r.errors import InputError
from jog3r.model import JOG3R
from jog3r.training.lora import LoRA
from jog3r.training.recipes import read_stages
from jog3r.training.trained_parts import TrainedParts

NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


def recipe_table(recipe: Path) -> str:
    """Describe each stage: every group of parameters, its size, and whether it trains.

    Raises:
        FileError: No such recipe, or one that is damaged.
        InputError: Values that make no model.
    """
    stages = read_stages(recipe)
    return "\n\n".join(f"stage {name}\n{stage_table(config)}" for name, config in stages.items())


def stage_table(stage: Mapping[str, Any]) -> str:
    """Describe one stage of a recipe.

    Raises:
        InputError: Values that make no model, or a class whose parts are not known.
    """
    module = stage_module(stage)
    rows = [group.row() for group in _groups(module).values()]
    width = max(len(row[0]) for row in rows)
    lines = [
        f"{name:<{width}} {tensors:>7} {size:>13}  {state}" for name, tensors, size, state in rows
    ]
    counts = [(p.numel(), p.requires_grad) for p in module.parameters()]
    trained, every = sum(n for n, trains in counts if trains), sum(n for n, _ in counts)
    header = f"{'parameters of':<{width}} tensors       numbers  state"
    footer = f"trained {trained / 1e6:.1f} M of {every / 1e6:.1f} M parameters"
    return "\n".join([header, *lines, footer])


def stage_module(stage: Mapping[str, Any]) -> nn.Module:
    """Build what a stage trains on the meta device, where it takes no memory, and freeze the rest.

    Raises:
        InputError: Values that make no model, or a class whose parts are not known.
    """
    path = str(stage.get("model", {}).get("class_path", ""))
    given = stage.get("model", {}).get("init_args", {})
    with torch.device("meta"):
        if path.endswith(".AutoencoderTraining"):
            return from_plain(FrameAutoencoder.Config, given["autoencoder"], "autoencoder").build()
        if not path.endswith((".JointTraining", ".PairTraining")):
            raise InputError(
                "model.class_path: expected jog3r's AutoencoderTraining, JointTraining or"
                f" PairTraining, got {path or 'none'}; correct the recipe"
            )
        config = from_plain(JOG3R.Config, given.get("model", {}), "model")
        if path.endswith(".PairTraining"):
            return JOG3R(config)
        words = isinstance(config.text_encoder, TextEncoder.Config)
        model = JOG3R(config, word_tokenizer(vocabulary()) if words else None)
    from_plain(TrainedParts, given.get("trained") or {}, "trained").apply(model)
    if given.get("lora"):
        with torch.device("meta"):
            from_plain(LoRA, given["lora"], "lora").apply(model)
    return model


@dataclass
class _Group:
    """Parameters of one place, in all the blocks that treat it alike."""

    pattern: str
    trains: bool
    blocks: set[int] = field(default_factory=set)
    tensors: int = 0
    size: int = 0

    def row(self) -> tuple[str, str, str, str]:
        name = self.pattern.replace("*", "{" + _ranges(sorted(self.blocks)) + "}", 1)
        return name, str(self.tensors), f"{self.size:,}", "trained" if self.trains else "frozen"


def _groups(module: nn.Module) -> dict[tuple[str, bool], _Group]:
    groups: dict[tuple[str, bool], _Group] = {}
    for name, parameter in module.named_parameters():
        place = name.rpartition(".")[0] if name.endswith((".weight", ".bias")) else name
        # The autoencoder is one thing to whoever trains; of the rest the first number is the block.
        place = "autoencoder" if place.startswith("autoencoder.") else place
        pattern, number = NUMBER.sub("*", place, count=1), NUMBER.search(place)
        key = (pattern, parameter.requires_grad)
        group = groups.setdefault(key, _Group(*key))
        group.blocks |= {int(number[0])} if number else set()
        group.tensors += 1
        group.size += parameter.numel()
    return groups


def _ranges(numbers: list[int]) -> str:
    """Write numbers with runs drawn together.

    Example:
        >>> _ranges([0, 1, 2, 3, 7, 9])
        '0-3,7,9'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)

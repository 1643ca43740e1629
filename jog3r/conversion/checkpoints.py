"""Find and read a public checkpoint: safetensors or pickles, one file, shards, or a folder."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from jog3r.conversion.pickles import read_pickle, training_options, unwrapped
from jog3r.errors import FileError
from jog3r.stored_tensors import is_pickle, is_safetensors, locate, mapped, read_index, recognised
from jog3r.weights_file import CONFIG_FILE

INDEX_ENDING = ".index.json"
SHARD = re.compile(r"-of-\d+\.(safetensors|bin|pth|pt)$")
# In a folder, the first of these that match are taken.
PATTERNS = (
    ("*.safetensors" + INDEX_ENDING,),
    ("*.safetensors",),
    ("*.bin" + INDEX_ENDING, "*.pt" + INDEX_ENDING, "*.pth" + INDEX_ENDING),
    ("*.pth", "*.pt", "*.bin", "*.ckpt"),
)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What was read.

    Attributes:
        source: The file, for messages.
        tensors: By name; their values lie in the file until they are used.
        hints: What stands beside them: config.json, or the options of the training.
        taken_off: Wrappers and prefixes around the tensors.
    """

    source: Path
    tensors: dict[str, Tensor]
    hints: dict[str, Any] = field(default_factory=dict)
    taken_off: Sequence[str] = ()


def read_checkpoint(source: str | Path) -> Checkpoint:
    """Read a checkpoint; nothing in it is run.

    Args:
        source: A file of safetensors or of torch.save, the index of shards of either, or a folder
            with one of these.

    Raises:
        FileError: Nothing there, several checkpoints, code in a pickle, or a file that is missing,
            truncated or something else.
    """
    try:
        file = _chosen(Path(source))
        content, options = _content(file)
        found, taken_off = unwrapped(content, file)
        hints = _config_beside(file) or options
    except OSError as error:
        raise FileError(
            f"{source}: expected a checkpoint, got a place that cannot be read ({error.strerror});"
            " check the path and its permissions"
        ) from error
    return Checkpoint(source=file, tensors=found, hints=hints, taken_off=taken_off)


def _chosen(source: Path) -> Path:
    """Choose the file to begin with."""
    if not source.exists():
        raise FileError(f"{source}: expected a checkpoint, got nothing there; check the path")
    if not source.is_dir():
        return source
    for patterns in PATTERNS:
        files = sorted(file for pattern in patterns for file in source.glob(pattern))
        plain = [file for file in files if "-of-" not in file.name]
        # "weights.fp16.bin" is a variant of "weights.bin" in the layout of Hugging Face.
        whole = [file for file in plain if len(file.name.removesuffix(INDEX_ENDING).split(".")) < 3]
        files = whole if len(whole) == 1 else plain
        if len(files) == 1:
            return files[0]
        if files:
            raise FileError(
                f"{source}: expected one checkpoint, got {[file.name for file in files]}; give the"
                " path of one of them"
            )
    inside = sorted(item.name for item in source.iterdir())
    if shards := [name for name in inside if SHARD.search(name)]:
        raise FileError(
            f"{source}: expected an index ({INDEX_ENDING}) beside the shards of a checkpoint, got"
            f" none beside {shards[:2]}; download it too"
        )
    raise FileError(
        f"{source}: expected a checkpoint (.safetensors, .pth, .pt, .bin, .ckpt, or an index of"
        f" shards), got {inside[:5] or 'an empty folder'}; give the folder or file that holds it"
    )


def _content(file: Path) -> tuple[Any, dict[str, Any]]:
    """Read what is in a file or in the shards of an index, and the options beside it."""
    if file.name.endswith(INDEX_ENDING):
        return _of_shards(file), {}
    if file.suffix == ".safetensors" and is_pickle(file):  # torch goes by its name
        raise FileError(
            f"{file}: expected a safetensors file, got a Python pickle, as torch.save writes it;"
            " rename it to .pth"
        )
    if file.suffix == ".safetensors" or (recognised(file) is None and is_safetensors(file)):
        return mapped(locate(file)), {}
    content = read_pickle(file)
    return content, training_options(content)


def _of_shards(index: Path) -> dict[str, Tensor]:
    places = read_index(index)
    if all(file.endswith(".safetensors") for file in places.values()):
        return mapped(locate(index))
    found: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        file = index.parent / name
        shard = read_pickle(file)
        expected = {tensor for tensor, place in places.items() if place == name}
        if not isinstance(shard, dict) or set(shard) != expected:
            raise FileError(
                f"{file}: expected the {len(expected)} tensors that {index.name} places there, got"
                " others; download the checkpoint again"
            )
        found |= shard
    return found


def _config_beside(file: Path) -> dict[str, Any]:
    config = file.parent / CONFIG_FILE
    if not config.is_file():
        return {}
    try:
        values = json.loads(config.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(
            f"{config}: expected JSON beside the checkpoint, got something else ({error}); download"
            " it again, or move the checkpoint away from it"
        ) from error
    if not isinstance(values, dict):
        raise FileError(
            f"{config}: expected keys and values, got {type(values).__name__}; download it again,"
            " or move the checkpoint away from it"
        )
    return values

"""A public checkpoint, and parts of other model folders -> one model folder."""

import json
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from jog3r.config import from_plain, to_plain
from jog3r.conversion import KINDS
from jog3r.conversion.card import card
from jog3r.conversion.checkpoints import Checkpoint, read_checkpoint
from jog3r.conversion.kinds import Converted, Settings, find_kind, recognise
from jog3r.conversion.layout import UntoldError
from jog3r.conversion.merging import Model, joined, text_encoder_source, with_text_encoder
from jog3r.errors import FileError, InputError
from jog3r.export.atomic import atomic_folder
from jog3r.model import JOG3R, PARTS
from jog3r.model_card import CARD_FILE, is_commercial
from jog3r.model_config import ModelConfig
from jog3r.weights_file import (
    CONFIG_FILE,
    MAX_SHARD_SIZE,
    TOKENIZER_FILE,
    WEIGHTS_PATTERNS,
    check_tensors,
    shared_names,
    write_weights,
)

# What a model folder may hold; one with anything else is not replaced.
OURS = (CONFIG_FILE, CARD_FILE, TOKENIZER_FILE, *WEIGHTS_PATTERNS)
# Fields of the whole model; all other settings are of the part's own config.
OF_MODEL = ("image_size", "num_frames", "fps", "guidance_scale", "num_inference_steps", "licence")


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What was done.

    Attributes:
        kind: Of the checkpoint.
        source: The file it was read from.
        folder: The new model folder.
        licence: Of the weights in it.
        taken_off: Wrappers and prefixes around the checkpoint's tensors.
        left_out: Names in the checkpoint that a model has no use for.
    """

    kind: str
    source: Path
    folder: Path
    licence: str
    taken_off: Sequence[str]
    left_out: Sequence[str]


def convert(
    kind: str,
    source: str | Path,
    out: str | Path,
    *,
    merge: Sequence[str | Path] = (),
    text_encoder: str | None = None,
    settings: Settings | None = None,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
    max_shard_size: int | str = MAX_SHARD_SIZE,
) -> Conversion:
    """Turn a public checkpoint into a model folder: config.json, safetensors and a card.

    The whole config is read off names and shapes, the config.json beside the checkpoint or the
    options of its training, and the settings. All tensors must fit the class that will load them.

    Args:
        kind: One of `jog3r.conversion.KINDS`, or "auto".
        source: A file, an index of shards, or a folder with one of them.
        out: The folder to make.
        merge: Model folders whose parts come into the new one.
        text_encoder: Folder or hub id of the T5 or CLIP to use; it is not copied.
        settings: Fields of the part's config, nested ones as dictionaries, and `image_size`,
            `num_frames`, `fps`, `guidance_scale`, `num_inference_steps` and `licence`.
        dtype: Of the written weights; None for that of the checkpoint.
        overwrite: Whether to replace a model folder.
        max_shard_size: Of a file of weights.

    Raises:
        FileError: The checkpoint is of another kind, incomplete, truncated or no checkpoint, or a
            model folder to merge is damaged.
        InputError: The folder exists, parts that do not fit each other, unknown settings, dtype or
            text encoder, a setting that is needed, or a licence that the weights do not have.
        SaveError: The folder cannot be written; nothing partial is left.
    """
    out = Path(out)
    _check_free(out, [source, *merge], overwrite)
    if text_encoder is not None:
        text_encoder = text_encoder_source(text_encoder)
    checkpoint = read_checkpoint(source)
    name = recognise(checkpoint, kind)
    part, module = _part(name, checkpoint, settings or {})
    model = joined(_model(name, checkpoint, part, module, settings or {}), merge)
    if text_encoder is not None:
        model = with_text_encoder(model, text_encoder)
    config = from_plain(ModelConfig, model.config, "settings")
    _check_whole(config, model, out)
    rounded = None if dtype is None else str(dtype).rpartition(".")[2]
    files = {
        CONFIG_FILE: (json.dumps(to_plain(config), indent=2) + "\n").encode(),
        CARD_FILE: card(KINDS[name], model.origins, config.licence, rounded).encode(),
    }
    with atomic_folder(out) as folder:
        for file, content in {**files, **model.files}.items():
            (folder / file).write_bytes(content)
        write_weights(model.tensors, folder, dtype=dtype, max_shard_size=max_shard_size)
    return Conversion(
        kind=name,
        source=checkpoint.source,
        folder=out,
        licence=config.licence,
        taken_off=checkpoint.taken_off,
        left_out=part.left_out,
    )


def _part(
    name: str, checkpoint: Checkpoint, settings: Settings
) -> tuple[Converted, torch.nn.Module]:
    """Convert a checkpoint, and build its class without values."""
    of_part = {key: value for key, value in settings.items() if key not in OF_MODEL}
    try:
        part = find_kind(name).convert(checkpoint, of_part)
        with torch.device("meta"):
            return part, part.build()
    except (FileError, UntoldError):
        raise
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        if of_part:
            raise InputError(
                f"settings: expected values that fit {checkpoint.source}, got"
                f" {reprlib.repr(of_part)}, by which it is no {name} ({error}); correct them, or"
                " take another file"
            ) from error
        raise FileError(
            f"{checkpoint.source}: expected the shapes of {name}, got some that make no network"
            f" ({error}); download the checkpoint again"
        ) from error


def _model(
    name: str, checkpoint: Checkpoint, part: Converted, module: torch.nn.Module, settings: Settings
) -> Model:
    """Check a part against its class, and make it a model with this part alone."""
    of_model = {key: value for key, value in settings.items() if key in OF_MODEL}
    of_model["licence"] = _licence(name, settings)
    check_tensors(module, part.tensors, checkpoint.source)
    tensors = _once(part.tensors, shared_names(module), checkpoint.source)
    kind = find_kind(name)
    return Model(
        config=dict.fromkeys(PARTS) | part.config | of_model,
        tensors={part.prefix + key: tensor for key, tensor in tensors.items()},
        origins=(f"[{kind.origin}](https://huggingface.co/{kind.origin})",),
    )


def _licence(name: str, settings: Settings) -> str:
    """Give the licence of the weights; only one that allows to can be replaced."""
    theirs = find_kind(name).licence
    licence = settings.get("licence", theirs)
    if not isinstance(licence, str) or not licence.strip():
        raise InputError(
            f"settings.licence: expected the SPDX name of a licence, got {licence!r}; leave it out"
            f" for {theirs}"
        )
    if licence != theirs and not is_commercial(theirs):
        raise InputError(
            f"settings.licence: expected {theirs}, which weights of {name} are under and which goes"
            f" with all that is made of them, got {reprlib.repr(licence)}; leave it out"
        )
    return licence


def _once(
    tensors: Mapping[str, Tensor], shared: Mapping[str, str], source: Path
) -> dict[str, Tensor]:
    """Keep one of the names of every tensor, after a look whether it is the same under each."""
    kept: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        first = shared.get(name, name)
        if not torch.equal(tensor, kept.setdefault(first, tensor)):
            names = [each for each in tensors if shared.get(each, each) == first]
            raise FileError(
                f"{source}: expected {' and '.join(names)} to be the same tensor, got different"
                " values; the checkpoint is damaged, take another one"
            )
    return kept


def _check_whole(config: ModelConfig, model: Model, out: Path) -> None:
    """Check that the parts make a model that will load them, without its public text encoder."""
    from tokenizers import Tokenizer

    words = model.files.get(TOKENIZER_FILE)
    if words is None:
        config = replace(config, text_encoder=None)
    with torch.device("meta"):
        whole = JOG3R(config, None if words is None else Tokenizer.from_buffer(words))
    check_tensors(whole, model.tensors, out)


def _check_free(out: Path, sources: Sequence[str | Path], overwrite: bool) -> None:
    if not out.exists():
        return
    if not overwrite:
        raise InputError(
            f"out: expected a new folder, got {out}, which exists; add --overwrite or choose"
            " another"
        )
    read = [folder for source in sources for folder in (Path(source), Path(source).parent)]
    if out.resolve() in [folder.resolve() for folder in read]:
        raise InputError(f"out: expected another folder than what is read, got {out}")
    inside = list(out.iterdir()) if out.is_dir() else [out]
    foreign = [item.name for item in inside if not any(item.match(name) for name in OURS)]
    if foreign or not out.is_dir():
        raise InputError(
            f"out: expected a model folder to replace, got {out} with {foreign[:3]}; choose another"
        )

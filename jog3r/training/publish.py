"""A checkpoint of training -> a model folder for everybody: config, safetensors, a card."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from jog3r.conversion.pickles import read_pickle
from jog3r.errors import FileError, InputError
from jog3r.export.atomic import atomic_file, atomic_files
from jog3r.model_card import CARD_FILE, plain_card
from jog3r.training.checkpoint_files import is_sharded
from jog3r.training.sharded_files import read_sharded
from jog3r.training.sharded_metadata import check_metadata
from jog3r.training.start import AUTOENCODER_FILE
from jog3r.training.stored_model import ENTRY, built_autoencoder, built_model
from jog3r.weights_file import CONFIG_FILE, WEIGHTS_PATTERNS, weights_bytes

Weights = Literal["averaged", "current"]

CURRENT = "current_model_state"
"""Where Lightning puts the weights that train when `state_dict` holds their average."""
PREFIX = "model."
"""Of the names of a model's weights in its LightningModule."""

TRAINED = """
## Training

The {weights} weights after {steps} steps, from the checkpoint `{name}`.
"""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What was written.

    Attributes:
        folder: Where.
        kind: "model" or "autoencoder".
        weights: Which of the checkpoint's.
        steps: Of the optimiser, until then.
    """

    folder: Path
    kind: str
    weights: Weights
    steps: int


def publish(
    checkpoint: str | Path,
    out: str | Path,
    *,
    dtype: torch.dtype = torch.float16,
    weights: Weights | None = None,
    overwrite: bool = False,
) -> Published:
    """Write the weights of a checkpoint as a folder that `JOG3R.from_pretrained` loads.

    Adapters are folded into the weights they belong to. The checkpoint of an autoencoder becomes
    the folder with which joint training starts; its latents get unit variance on the clips of the
    last validation. No program in the checkpoint is run.

    Args:
        checkpoint: A file, or a folder that several processes have written.
        out: The folder to make.
        dtype: Of the written weights.
        weights: "averaged", or those that train, "current"; None for the average if there is one.
        overwrite: Whether to replace a model or autoencoder in that folder; its other files stay.

    Raises:
        FileError: No checkpoint of `jog3r train`, a damaged one, one of an autoencoder that was
            never validated, or weights that are not finite.
        InputError: The folder is in use, the run kept no average, or the dtype is none for weights.
        SaveError: The folder cannot be written; what was in it is left as it was.
    """
    source, out = Path(checkpoint), Path(out)
    _check_free(out, overwrite)
    content = _read(source)
    chosen = _which(content, weights)
    key = CURRENT if chosen == "current" and CURRENT in content else "state_dict"
    state = {
        name.removeprefix(PREFIX): value
        for name, value in content[key].items()
        if name.startswith(PREFIX)
    }
    entry, steps = content[ENTRY], int(content["global_step"])
    try:
        if entry["kind"] == "autoencoder":
            _write_autoencoder(entry, state, source, out, dtype)
        else:
            card = TRAINED.format(weights=chosen, steps=steps, name=source.name)
            _write_model(entry, state, source, out, dtype, card)
    except (KeyError, TypeError, InputError) as error:
        raise FileError(
            f"{source}: expected weights and the description of a model, got others ({error});"
            " publish it with the version of jog3r that trained it"
        ) from error
    return Published(folder=out, kind=entry["kind"], weights=chosen, steps=steps)


def _check_free(out: Path, overwrite: bool) -> None:
    ours = any((out / name).is_file() for name in (CONFIG_FILE, AUTOENCODER_FILE))
    in_use = out.exists() and not (out.is_dir() and not any(out.iterdir()))
    if in_use and not (overwrite and ours):
        what = "a model" if ours else "something else"
        raise InputError(
            f"{out}: expected a folder to make, got {what} there;"
            f" {'say that it may be replaced (--overwrite), or ' * ours}choose another"
        )


def _read(source: Path) -> Mapping[str, Any]:
    if not source.exists():
        raise FileError(f"{source}: expected a checkpoint, got nothing there; check the path")
    if is_sharded(source):
        check_metadata(source)
        content: Any = read_sharded(source)
    elif source.is_dir():
        raise FileError(
            f"{source}: expected a checkpoint, got a folder of other things; give one of the .ckpt"
            " in it"
        )
    else:
        content = read_pickle(source)
    whole = isinstance(content, Mapping) and {"state_dict", "global_step"} <= set(content)
    if not whole or not isinstance(content.get(ENTRY), Mapping):
        what = "one of another program or version" if whole else "something else"
        raise FileError(
            f"{source}: expected a checkpoint of jog3r train, got {what}; jog3r convert reads"
            " published weights"
        )
    return content


def _which(content: Mapping[str, Any], weights: Weights | None) -> Weights:
    averages = CURRENT in content
    if weights == "averaged" and not averages:
        raise InputError(
            "weights: expected current, as the run kept no average of its weights, got averaged;"
            " leave it out"
        )
    return weights or ("averaged" if averages else "current")


def _write_autoencoder(
    entry: Mapping[str, Any],
    state: Mapping[str, Tensor],
    source: Path,
    out: Path,
    dtype: torch.dtype,
) -> None:
    autoencoder = built_autoencoder(entry, state, str(source))
    content = weights_bytes(autoencoder, dtype)
    with atomic_file(out / AUTOENCODER_FILE) as file:
        file.write(content)


def _write_model(
    entry: Mapping[str, Any],
    state: Mapping[str, Tensor],
    source: Path,
    out: Path,
    dtype: torch.dtype,
    card: str,
) -> None:
    model = built_model(entry, state, str(source))
    with atomic_files(out, obsolete=WEIGHTS_PATTERNS) as place:
        model.save_pretrained(place, dtype=dtype)
        text = plain_card(model.summary(), model.config.licence) + card
        (place / CARD_FILE).write_text(text, "utf-8")

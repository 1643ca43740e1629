"""Model folders as what they consist of, and several of them as one."""

import json
import re
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from jog3r.codecs.pretrained_text import is_hub_id
from jog3r.config import to_plain
from jog3r.errors import FileError, InputError
from jog3r.model import PARTS
from jog3r.model_card import CARD_FILE
from jog3r.model_config import read_config
from jog3r.stored_tensors import locate, mapped
from jog3r.weights_file import CONFIG_FILE, TOKENIZER_FILE

ORIGINS = re.compile(r"Converted by `jog3r convert` from (.+?)\. The values")


@dataclass(frozen=True, kw_only=True)
class Model:
    """What a model folder consists of.

    Attributes:
        config: Fields of `ModelConfig`; parts that it does not have are None.
        tensors: Under the names of `JOG3R`.
        origins: Where its parts come from, for people.
        files: Further files, by name.
    """

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    origins: tuple[str, ...]
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def parts(self) -> list[str]:
        """Names of the parts it has."""
        return [part for part in PARTS if self.config.get(part) is not None]


def read_model(folder: str | Path) -> Model:
    """Read a model folder; values of tensors stay in their files until they are used.

    Raises:
        FileError: It is incomplete or damaged.
    """
    folder = Path(folder)
    config = to_plain(read_config(folder / CONFIG_FILE))
    card, tokenizer = folder / CARD_FILE, folder / TOKENIZER_FILE
    text = card.read_text("utf-8", "replace") if card.is_file() else ""
    found = ORIGINS.search(" ".join(text.split()))
    return Model(
        config=config,
        tensors=mapped(locate(folder)),
        origins=(found[1] if found else f"`{folder.resolve().name}`",),
        files={TOKENIZER_FILE: tokenizer.read_bytes()} if tokenizer.is_file() else {},
    )


def joined(model: Model, folders: Sequence[str | Path]) -> Model:
    """Add the parts of other model folders to a model.

    Sizes and what else is no part are those of the one with the network.

    Raises:
        FileError: A folder is incomplete or damaged.
        InputError: Two of them have the same part.
    """
    for folder in folders:
        other = read_model(folder)
        if both := [part for part in model.parts if part in other.parts]:
            raise InputError(
                f"merge (--with): expected other parts than {model.parts}, got another"
                f" {both[0]} in {folder}; give folders with different parts"
            )
        base = other if "network" in other.parts else model
        licences = {*_licences(model), *_licences(other)}
        config = base.config | {part: model.config[part] for part in model.parts}
        config |= {part: other.config[part] for part in other.parts}
        model = Model(
            config=_with_pixels(config | {"licence": " AND ".join(sorted(licences))}),
            tensors=model.tensors | other.tensors,
            origins=(*model.origins, *other.origins),
            files=model.files | other.files,
        )
    return model


def _with_pixels(config: dict[str, Any]) -> dict[str, Any]:
    """Let a backbone without a head have the pixels per token that the autoencoder gives it."""
    network, autoencoder = config.get("network"), config.get("autoencoder")
    if network is None or autoencoder is None or network.get("tap", 0) is not None:
        return config
    levels = len(autoencoder.get("spatial", autoencoder)["block_out_channels"])
    patch = network["backbone_config"]["patch_size"][1] * 2 ** (levels - 1)
    return config | {"network": network | {"patch": patch}}


def with_text_encoder(model: Model, source: str) -> Model:
    """Add a public text encoder, which is not copied.

    Args:
        model: Its network tells the width and length of the text it takes.
        source: Folder or hub id, as `text_encoder_source` gives it.

    Raises:
        InputError: The model has a text encoder, or no network that takes text.
    """
    network = model.config.get("network") or {}
    if "text_encoder" in model.parts or "backbone_config" not in network:
        raise InputError(
            "text_encoder (--text-encoder): expected a model with a backbone and without text"
            f" encoder, got one with {model.parts}; leave it out"
        )
    of_backbone = network["backbone_config"]
    config = {
        "kind": "pretrained",
        "source": source,
        "family": _family(source),
        "width": of_backbone["caption_channels"],
        "max_tokens": of_backbone["max_text_tokens"],
    }
    return replace(model, config=model.config | {"text_encoder": config})


def text_encoder_source(source: str) -> str:
    """Give the folder of a text encoder as a full path, or a hub id as it is.

    Raises:
        InputError: Neither a folder with config.json nor formed as a hub id.

    Example:
        >>> text_encoder_source("DeepFloyd/t5-v1_1-xxl")
        'DeepFloyd/t5-v1_1-xxl'
    """
    path = Path(source)
    try:
        if source and (path / CONFIG_FILE).is_file():
            return str(path.resolve())
        got = "a folder without it" if path.is_dir() else "a file" if path.exists() else "neither"
    except OSError as error:
        got = f"which cannot be read ({error.strerror})"
    if got != "neither" or not is_hub_id(source):
        raise InputError(
            f"text_encoder (--text-encoder): expected a folder with {CONFIG_FILE} or a hub id"
            f" 'owner/name', got {reprlib.repr(source)}, {got if source else 'nothing'}; check the"
            " path"
        )
    return source


def _family(source: str) -> str:
    """Say what a text encoder is, by the config in its folder or by its name."""
    config = Path(source) / CONFIG_FILE
    text = source
    if config.is_file():
        try:
            text = str(json.loads(config.read_text("utf-8")).get("model_type", ""))
        except (OSError, ValueError, AttributeError) as error:
            raise FileError(
                f"{config}: expected the config of a text encoder, got something else ({error});"
                " download it again"
            ) from error
    return "clip" if "clip" in text.lower() else "t5"


def _licences(model: Model) -> list[str]:
    return str(model.config["licence"]).split(" AND ")

"""What a checkpoint of training says of its model: plain values, from which it is built again."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.codecs.text import TextEncoder
from jog3r.config import from_plain, to_plain
from jog3r.errors import FileError
from jog3r.model import JOG3R
from jog3r.training.lora import LoRA
from jog3r.weights_file import check_tensors

ENTRY = "jog3r"
"""The key in a checkpoint."""


class StoresModel:
    """A LightningModule's part: its checkpoints tell what they are checkpoints of."""

    model: JOG3R
    lora: LoRA | None = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the entry."""
        checkpoint[ENTRY] = model_entry(self.model, self.lora)


def model_entry(model: JOG3R, lora: LoRA | None) -> dict[str, Any]:
    """Describe a model.

    Args:
        model: As it trains.
        lora: The adapters in its backbone, if there are any.
    """
    own = hasattr(model, "text_encoder") and isinstance(model.text_encoder, TextEncoder)
    return {
        "kind": "model",
        "config": to_plain(model.config),
        "tokenizer": model.text_encoder.tokenizer.to_str() if own else None,
        "lora": None if lora is None else asdict(lora),
    }


def autoencoder_entry(autoencoder: FrameAutoencoder, latent_std: Tensor | None) -> dict[str, Any]:
    """Describe an autoencoder.

    Args:
        autoencoder: As it trains.
        latent_std: Standard deviation of each channel of its latents on held-out clips, as they are
            before they are scaled; None before the first validation.
    """
    return {
        "kind": "autoencoder",
        "config": to_plain(autoencoder.config),
        "latent_std": None if latent_std is None else latent_std.tolist(),
    }


def built_model(entry: Mapping[str, Any], state: Mapping[str, Tensor], source: str) -> JOG3R:
    """Build a model with the weights of a checkpoint; adapters are folded in.

    Args:
        entry: As `model_entry` gives it.
        state: The weights, by the names they have in the model.
        source: Where they come from, for messages.

    Raises:
        FileError: The weights do not fit the description.
        InputError: A description of another version.
    """
    lora = None if entry["lora"] is None else from_plain(LoRA, entry["lora"], "lora")
    with torch.device("meta"):
        model = JOG3R(from_plain(JOG3R.Config, entry["config"]), _tokenizer(entry["tokenizer"]))
        if lora is not None:
            lora.apply(model)
    check_tensors(model, state, source)
    model.load_state_dict(state, assign=True)
    model.eval().requires_grad_(False)
    return model if lora is None else lora.merge(model)


def built_autoencoder(
    entry: Mapping[str, Any], state: Mapping[str, Tensor], source: str
) -> FrameAutoencoder:
    """Build an autoencoder with the weights of a checkpoint, its latents set to unit variance.

    Args:
        entry: As `autoencoder_entry` gives it.
        state: The weights, by the names they have in the autoencoder.
        source: Where they come from, for messages.

    Raises:
        FileError: The weights do not fit the description, or nothing is known of the latents.
        InputError: A description of another version.
    """
    if entry["latent_std"] is None:
        raise FileError(
            f"{source}: expected the spread of the latents on held-out clips, got a checkpoint from"
            " before the first validation; take a later one"
        )
    with torch.device("meta"):
        autoencoder = from_plain(FrameAutoencoder.Config, entry["config"]).build()
    check_tensors(autoencoder, state, source)
    autoencoder.load_state_dict(state, assign=True)
    std = torch.tensor(entry["latent_std"])
    autoencoder.scale = (1.0 / std).reshape(autoencoder.scale.shape)
    return autoencoder


def _tokenizer(text: str | None) -> Any:
    from tokenizers import Tokenizer

    return None if text is None else Tokenizer.from_str(text)

"""Weights for use, written when training ends."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch import Tensor

from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.export.atomic import atomic_file
from jog3r.training.autoencoder import AutoencoderTraining
from jog3r.training.sharding import gathered
from jog3r.training.start import AUTOENCODER_FILE
from jog3r.training.stored_model import StoresModel, built_model, model_entry
from jog3r.weights_file import weights_bytes


class PublishWeights(pl.Callback):
    """Write safetensors when training ends, after weight averaging has put the averages in place.

    Args:
        folder: Where to write to.
        dtype: Of a model's weights.
    """

    def __init__(
        self, folder: str, *, dtype: Literal["float16", "bfloat16", "float32"] = "float16"
    ) -> None:
        self.folder, self.dtype = Path(folder), getattr(torch, dtype)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write an autoencoder, its latents set to unit variance, or a whole model."""
        # Every process, since each may hold a part of every weight.
        if isinstance(pl_module, AutoencoderTraining):
            data: Any = trainer  # lightning does not declare its datamodule
            video = torch.cat([batch["video"] for batch in data.datamodule.val_dataloader()])
            pl_module.calibrate(video.to(pl_module.device))
            state = gathered(pl_module.model.state_dict(), keep=trainer.is_global_zero)
            if trainer.is_global_zero:
                self._write_autoencoder(pl_module.model.config, state)
        elif isinstance(pl_module, StoresModel):
            state = gathered(pl_module.model.state_dict(), keep=trainer.is_global_zero)
            if trainer.is_global_zero:
                entry = model_entry(pl_module.model, pl_module.lora)
                model = built_model(entry, state, "weights")
                model.save_pretrained(self.folder, dtype=self.dtype)

    def _write_autoencoder(
        self, config: FrameAutoencoder.Config, state: Mapping[str, Tensor]
    ) -> None:
        with torch.device("meta"):
            autoencoder = config.build()
        autoencoder.load_state_dict(state, assign=True)
        with atomic_file(self.folder / AUTOENCODER_FILE) as file:
            file.write(weights_bytes(autoencoder, torch.float32))

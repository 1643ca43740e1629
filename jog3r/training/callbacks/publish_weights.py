"""Weights for use, written when training ends."""

from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch

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
        if isinstance(pl_module, AutoencoderTraining):
            if trainer.is_global_zero:
                self._write_autoencoder(trainer, pl_module)
        elif isinstance(pl_module, StoresModel):
            # Every process, since each may hold a part of every weight.
            state = gathered(pl_module.model.state_dict(), keep=trainer.is_global_zero)
            if trainer.is_global_zero:
                entry = model_entry(pl_module.model, pl_module.lora)
                model = built_model(entry, state, "weights")
                model.save_pretrained(self.folder, dtype=self.dtype)

    def _write_autoencoder(self, trainer: pl.Trainer, stage: AutoencoderTraining) -> None:
        data: Any = trainer  # lightning does not declare its datamodule
        video = torch.cat([batch["video"] for batch in data.datamodule.val_dataloader()])
        stage.calibrate(video.to(stage.device))
        with atomic_file(self.folder / AUTOENCODER_FILE) as file:
            file.write(weights_bytes(stage.model, torch.float32))

"""What happens beside the training steps: publishing weights, drawing sample sheets."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from PIL import Image
from torch import Tensor

from jog3r.model import JOG3R
from jog3r.routes.text_to_video import SamplingOptions, decode, sample_latents
from jog3r.routes.video_to_cameras import pair_pointmaps, video_tokens
from jog3r.training.autoencoder import AutoencoderTraining
from jog3r.training.joint import JointTraining
from jog3r.training.start import AUTOENCODER_FILE
from jog3r.weights_file import write_weights

# One prompt per thing a sheet should show: colours, shapes, rooms, open ground, two objects.
SHEET_PROMPTS = (
    "a red sphere in a white room, the camera moves forward",
    "a blue cube and a yellow cone in a brick room, the camera moves right",
    "a green cylinder in a desert, bright light, the camera moves left",
    "an orange ball in a green field, the camera orbits left",
    "a purple cone in a wooden room, warm light, the camera turns right",
    "a gallery, the camera moves forward",
)


class PublishWeights(pl.Callback):
    """Write safetensors when training ends (after weight averaging has put the averages in place)."""

    def __init__(self, folder: str) -> None:
        """Take the folder to write to."""
        self.folder = Path(folder)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write an autoencoder, its latents set to unit variance, or a whole model."""
        if not trainer.is_global_zero:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if isinstance(pl_module, AutoencoderTraining):
            loader: Any = trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
            video = torch.cat([batch["video"] for batch in loader])
            pl_module.calibrate(video.to(pl_module.device))
            write_weights(pl_module.model, self.folder / AUTOENCODER_FILE, torch.float32)
        elif isinstance(pl_module, JointTraining):
            pl_module.model.save_pretrained(self.folder)


class SampleSheet(pl.Callback):
    """At every validation, draw generated videos and the depth of real ones: a picture says more than a loss."""

    def __init__(self, folder: str, steps: int = 20, frames: int = 16) -> None:
        """Take the folder for the pictures and how to sample.

        Args:
            folder: Where `step_000123.png` goes.
            steps: Sampling steps.
            frames: Length of the videos; four of the frames are shown.
        """
        self.folder, self.steps, self.frames = Path(folder), steps, frames

    @torch.inference_mode()
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the sheet with the averaged weights."""
        if trainer.sanity_checking or not trainer.is_global_zero or not isinstance(pl_module, JointTraining):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        loader: Any = trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
        sheet = torch.cat([_generated(pl_module.model, self.steps, self.frames), _reconstructed(pl_module.model, next(iter(loader)))], dim=0)
        picture = Image.fromarray(sheet.numpy())
        picture = picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST)
        picture.save(self.folder / f"step_{trainer.global_step:06d}.png")


def _generated(model: JOG3R, steps: int, frames: int) -> Tensor:
    """Four frames of each prompt, a row per prompt, `(rows, columns, 3)` uint8."""
    options = SamplingOptions(negative_prompt="", guidance_scale=4.0, steps=steps, frames=frames, callback=None, progress=False)
    sample = sample_latents(model, SHEET_PROMPTS, list(range(len(SHEET_PROMPTS))), options)
    chosen = torch.linspace(0, frames - 1, 4).long()
    return torch.cat([torch.cat(list(video.frames[chosen]), dim=1) for video in decode(model, sample.latents)])


def _reconstructed(model: JOG3R, batch: dict[str, Any]) -> Tensor:
    """A row per held-out clip: first frame, its true depth, last frame, predicted depth of the first, brighter is nearer."""
    rows = []
    for i, tokens in enumerate(video_tokens(model, batch["video"], [0] * len(batch["video"]))):
        predicted = pair_pointmaps(model, tokens).points_i[0, ..., 2]
        true = batch["depth"][i, 0]
        colour = [((frame.permute(1, 2, 0) + 1.0) * 127.5).round().byte() for frame in batch["video"][i, [0, -1]]]
        rows.append(torch.cat([colour[0], _grey(true), colour[1], _grey(predicted)], dim=1))
    return torch.cat(rows).cpu()


def _grey(depth: Tensor) -> Tensor:
    nearness = 1.0 / depth.clamp(min=1e-3)
    nearness = torch.where(depth > 0.0, nearness / nearness[depth > 0.0].quantile(0.98), 0.0)
    return (255.0 * nearness.clamp(0.0, 1.0)).byte()[..., None].expand(-1, -1, 3)

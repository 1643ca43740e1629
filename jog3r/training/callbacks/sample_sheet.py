"""One picture per validation: generated videos, and depth beside the truth."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from jog3r.alignment import star
from jog3r.model import JOG3R
from jog3r.routes.arguments import SamplingOptions
from jog3r.routes.pointmaps import token_pointmaps
from jog3r.routes.text_to_video import decode, sample_latents
from jog3r.training.callbacks.held_out import (
    held_out_frames,
    held_out_grid,
    held_out_tokens,
)
from jog3r.training.joint import JointTraining

# One prompt per thing a sheet should show: colours, shapes, rooms, open ground, two objects.
SHEET_PROMPTS = (
    "a red sphere in a white room, the camera moves forward",
    "a blue cube and a yellow cone in a brick room, the camera moves right",
    "a green cylinder in a desert, bright light, the camera moves left",
    "an orange ball in a green field, the camera orbits left",
    "a purple cone in a wooden room, warm light, the camera turns right",
    "a gallery, the camera moves forward",
)


class SampleSheet(pl.Callback):
    """At every validation, draw generated videos and the depth of the first held-out ones.

    Args:
        folder: Where `step_000123.png` goes.
        steps: Sampling steps.
        frames: Length of the videos; four of the frames are shown.

    Raises:
        InputError: Steps or a length out of range.
    """

    def __init__(self, folder: str, *, steps: int = 20, frames: int = 16) -> None:
        self.folder = Path(folder)
        self.options = SamplingOptions(
            negative_prompt="",
            guidance_scale=2.0,
            steps=steps,
            frames=frames,
            callback=None,
            progress=False,
        )

    @torch.inference_mode()
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the sheet beside the first batch, while averaged weights are still in place."""
        if batch_idx or trainer.sanity_checking or not isinstance(pl_module, JointTraining):
            return
        # Every process, since each may hold a part of every weight.
        rows = _generated(pl_module.model, self.options)
        if "depth" in batch:
            rows = _below_each_other(rows, _depths(pl_module.model, batch))
        if trainer.is_global_zero:
            self._save(rows, trainer.global_step)

    def _save(self, rows: Tensor, step: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(rows.numpy())
        picture = picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST)
        picture.save(self.folder / f"step_{step:06d}.png")


def _generated(model: JOG3R, options: SamplingOptions) -> Tensor:
    """Show four frames of each prompt, a row per prompt: `(rows, columns, 3)` uint8."""
    sample = sample_latents(model, SHEET_PROMPTS, range(len(SHEET_PROMPTS)), options)
    chosen = torch.linspace(0, options.frames - 1, 4).long()
    rows = [
        torch.cat(list(video.frames[chosen]), dim=1)
        for video in decode(model, sample.latents, options.frames)
    ]
    return torch.cat(rows)


def _below_each_other(*parts: Tensor) -> Tensor:
    """Stack pictures; those of clips of another size than the model's are narrower or wider."""
    width = max(part.shape[1] for part in parts)
    return torch.cat([pad(part, (0, 0, 0, width - part.shape[1])) for part in parts])


def _depths(model: JOG3R, batch: dict[str, Any]) -> Tensor:
    """Show a row per held-out clip: `(rows, columns, 3)` uint8.

    First frame, its true depth, last frame, predicted depth of the first; brighter is nearer.
    """
    rows, frames, grid = [], held_out_frames(model, batch), held_out_grid(model, batch)
    for i, tokens in enumerate(held_out_tokens(model, batch)):
        ends = ((frames[i, [0, -1]] + 1.0) * 127.5).round().byte().permute(0, 2, 3, 1)
        true = _grey(batch["depth"][i, 0])
        pointmaps = token_pointmaps(model, tokens, star(2), grid=grid)
        predicted = _grey(pointmaps.points_i[0, ..., 2])
        rows.append(torch.cat([ends[0].cpu(), true.cpu(), ends[1].cpu(), predicted], dim=1))
    return torch.cat(rows)


def _grey(depth: Tensor) -> Tensor:
    """Paint depth `(H, W)` grey, `(H, W, 3)` uint8; black where there is none."""
    seen = depth > 0.0
    nearness = torch.where(seen, 1.0 / depth.clamp(min=1e-3), 0.0)
    if bool(seen.any()):
        nearness = nearness / nearness[seen].quantile(0.98)
    return (255.0 * nearness.clamp(0.0, 1.0)).byte()[..., None].expand(-1, -1, 3)

"""Batches of held-out clips, as pixels or as latents, seen through the model's own eyes."""

from typing import Any

from torch import Tensor

from jog3r.model import JOG3R
from jog3r.routes.pointmaps import latent_tokens, video_tokens


def held_out_tokens(model: JOG3R, batch: dict[str, Any]) -> Tensor:
    """Give the tokens at the tap `(B, T, S, D)`; the noise is the same every time."""
    if "video" in batch:
        return video_tokens(model, batch["video"], [0] * len(batch["video"]))
    latents, frames = batch["latents"], batch["world_from_camera"].shape[1]
    return latent_tokens(model, latents, [0] * len(latents), frames=frames)


def held_out_frames(model: JOG3R, batch: dict[str, Any]) -> Tensor:
    """Give the frames `(B, T, 3, H, W)` in [-1, 1]; those of latents are decoded."""
    if "video" in batch:
        return batch["video"]
    return model.autoencoder.decode(batch["latents"], num_frames=batch["depth"].shape[1])

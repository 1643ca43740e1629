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


def held_out_grid(model: JOG3R, batch: dict[str, Any]) -> tuple[int, int]:
    """Give the rows and columns of a frame's tokens; clips may be of another size than the model's.

    Args:
        model: Its patches count.
        batch: Of the clips.
    """
    if "video" in batch:
        patch = model.stitched.config.patch
        return batch["video"].shape[-2] // patch, batch["video"].shape[-1] // patch
    _, *steps = model.stitched.backbone.config.patch_size
    rows, columns = (n // step for n, step in zip(batch["latents"].shape[-2:], steps, strict=True))
    return rows, columns

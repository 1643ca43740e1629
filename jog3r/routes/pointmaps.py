"""Frames -> the pointmaps of their pairs, by whatever network a model has.

A video backbone sees all frames at once and tells pairs apart afterwards, from the tokens at its
tap; DUSt3R encodes every frame alone. Both are asked in the same way.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from jog3r.diffusion.schedule import RECONSTRUCTION_AT
from jog3r.errors import InputError
from jog3r.heads.dust3r import DUSt3R
from jog3r.routes.prompts import encode_texts
from jog3r.routes.video_formats import video_format
from jog3r.stitch import StitchedModel

if TYPE_CHECKING:
    from jog3r.alignment import PairPointmaps
    from jog3r.model import JOG3R

CHUNK = 16
"""Frames and pairs that go through a network at a time, which bounds the memory."""


def seen_frames(model: "JOG3R", frames: int) -> list[int]:
    """Name the frames of a video that get a camera.

    All of them, or where latents span several frames, the last one of each.

    Raises:
        InputError: The video has no two of them.
    """
    if isinstance(model.network, DUSt3R):
        return list(range(frames))
    seen = model.autoencoder.frames_of_latents(frames)
    if len(seen) > 1:
        return seen
    least = next(n for n in range(2, 1000) if model.autoencoder.latent_frames(n) > 1)
    raise InputError(
        f"video: expected at least {least} frames, as the latents of this model span several, got"
        f" {frames}; take a longer one"
    )


def usual_graph(model: "JOG3R") -> str:
    """Name the pairs that suit a network: JOG3R's head was trained on stars, DUSt3R on any pair."""
    return "auto" if isinstance(model.network, DUSt3R) else "star"


def working_size(model: "JOG3R", source: tuple[int, int]) -> tuple[int, int]:
    """Choose the size (height, width) [px] at which a model sees frames.

    A video backbone has one. DUSt3R takes any shape: whole patches, the longer side as in training.
    """
    if isinstance(model.network, StitchedModel):
        return model.config.image_size
    patch, scale = model.network.config.patch, max(model.config.image_size) / max(source)
    height, width = (max(patch, round(side * scale / patch) * patch) for side in source)
    return height, width


def video_pointmaps(
    model: "JOG3R",
    frames: Tensor,
    pairs: Int[Tensor, "e 2"],
    *,
    seed: int = 0,
    fps: float | None = None,
) -> "PairPointmaps":
    """Give the pointmaps of pairs of frames.

    Args:
        model: The model.
        frames: `(T, 3, H, W)` in [-1, 1], of its working size.
        pairs: Numbers of the two frames, counted among those that `seen_frames` names.
        seed: Of the little noise that a video backbone is given.
        fps: Rate of the frames; None for the model's own.
    """
    if isinstance(model.network, DUSt3R):
        return image_pointmaps(model.network, frames, pairs)
    return token_pointmaps(model, video_tokens(model, frames[None], [seed], fps=fps)[0], pairs)


@torch.inference_mode()
def video_tokens(
    model: "JOG3R", video: Tensor, seeds: Sequence[int], *, fps: float | None = None
) -> Tensor:
    """Give the tokens at the tap `(B, T, S, D)`, at low noise and with the empty prompt.

    Args:
        model: The model.
        video: `(B, T, 3, H, W)` in [-1, 1], of the model's size.
        seeds: Of the noise, one per sample.
        fps: Rate of the frames; None for the model's own.
    """
    latents = model.autoencoder.encode(video.to(model.device))
    return latent_tokens(model, latents, seeds, frames=video.shape[1], fps=fps)


@torch.inference_mode()
def latent_tokens(
    model: "JOG3R", latents: Tensor, seeds: Sequence[int], *, frames: int, fps: float | None = None
) -> Tensor:
    """Give the tokens at the tap `(B, T, S, D)` of videos that have been encoded before.

    Args:
        model: The model.
        latents: `(B, C, T, h, w)`, clean.
        seeds: Of the noise, one per sample.
        frames: Length of the videos.
        fps: Rate of the frames; None for the model's own.
    """
    latents = latents.to(model.device)
    noise = model.schedule.unit_noise(latents.shape[1:], seeds).to(model.device)
    times = torch.full((len(latents),), RECONSTRUCTION_AT, device=model.device)
    noisy = model.schedule.add_noise(latents, noise, times)
    text, text_mask = encode_texts(model, [""] * len(latents))
    told = video_format(model, len(latents), frames, fps=fps, latents=latents)
    return model.stitched.tokens(noisy, times.float(), text, text_mask, video_format=told)


@torch.inference_mode()
def token_pointmaps(
    model: "JOG3R",
    tokens: Tensor,
    pairs: Int[Tensor, "e 2"],
    *,
    grid: tuple[int, int] | None = None,
    chunk: int = CHUNK,
) -> "PairPointmaps":
    """Decode the pointmaps of one video from its tokens.

    Args:
        model: The model.
        tokens: At the tap, `(T, S, D)`.
        pairs: Numbers of the two frames.
        grid: Rows and columns of a frame's tokens; None for those of the model's own size.
        chunk: Pairs per pass.
    """
    decode, grid = model.stitched.pointmaps, grid or model.token_grid
    found = [
        decode(tokens[None], part[None], grid) for part in pairs.to(tokens.device).split(chunk)
    ]
    return _joined(
        pairs,
        [part.points_1[0] for part in found],
        [part.points_2[0] for part in found],
        [part.confidence_1[0] for part in found],
        [part.confidence_2[0] for part in found],
    )


@torch.inference_mode()
def image_pointmaps(
    network: DUSt3R, frames: Tensor, pairs: Int[Tensor, "e 2"], *, chunk: int = CHUNK
) -> "PairPointmaps":
    """Give the pointmaps of pairs of frames by DUSt3R; every frame is encoded once.

    Args:
        network: The network.
        frames: `(T, 3, H, W)` in [-1, 1], sides multiples of its patch.
        pairs: Numbers of the two frames.
        chunk: Frames and pairs per pass.
    """
    frames = frames.to(network.mask_token)  # its device, and its precision
    grid = (frames.shape[2] // network.config.patch, frames.shape[3] // network.config.patch)
    tokens = torch.cat([network.encode(part) for part in frames.split(chunk)])
    found = []
    for part in pairs.to(tokens.device).split(chunk):
        first, second = part.unbind(dim=1)
        # What is the same for all pairs of a pass runs once: a star has one first frame.
        first = first[:1] if bool((first == first[0]).all()) else first
        found.append(network.pointmaps(tokens[first], tokens[second], grid, chunk=1))
    return _joined(
        pairs,
        [one.points for one, _ in found],
        [two.points for _, two in found],
        [one.confidence for one, _ in found],
        [two.confidence for _, two in found],
    )


def _joined(
    pairs: Tensor,
    points_i: list[Tensor],
    points_j: list[Tensor],
    confidence_i: list[Tensor],
    confidence_j: list[Tensor],
) -> "PairPointmaps":
    """Join the passes; alignment takes float32 on the CPU."""
    from jog3r.alignment import PairPointmaps

    maps = (torch.cat(x).float().cpu() for x in (points_i, points_j, confidence_i, confidence_j))
    points_1, points_2, confidence_1, confidence_2 = maps
    return PairPointmaps(pairs.cpu(), points_1, points_2, confidence_1, confidence_2)

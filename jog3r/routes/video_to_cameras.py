"""V2C: video -> latents -> a little noise -> tokens at the tap -> pointmaps -> alignment."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from jog3r.diffusion.schedule import RECONSTRUCTION_AT
from jog3r.errors import InputError

if TYPE_CHECKING:
    from jog3r.alignment import PairPointmaps, Regularisers
    from jog3r.data.fit import ResizeAndCrop
    from jog3r.model import JOG3R
    from jog3r.results import Reconstruction, Video


def video_to_cameras(
    model: "JOG3R",
    source: Any,
    *,
    K: Any,
    stride: int,
    max_frames: int | None,
    seed: int,
    regularisers: "Regularisers | None",
    progress: bool,
) -> "Reconstruction":
    """Reconstruct a video; `JOG3R.reconstruct` explains the arguments."""
    from jog3r.data.fit import resize_and_crop
    from jog3r.data.media import read_video
    from jog3r.results import Video

    original = read_video(source, stride=stride, max_frames=max_frames)
    if len(original) < 2:
        raise InputError(
            f"video: expected at least 2 frames, got {len(original)}; one frame has no camera path"
        )
    known = None if K is None else torch.as_tensor(K, dtype=torch.float32)
    frames, K_network, mapping = resize_and_crop(original.tensor(), known, model.config.image_size)
    tokens = video_tokens(model, frames[None], [seed])[0]
    small = Video.from_tensor(frames, fps=original.fps)
    found = reconstruct_tokens(model, tokens, small, K=K_network, regularisers=regularisers)
    return _in_source_pixels(found, mapping, original)


def _in_source_pixels(
    found: "Reconstruction", mapping: "ResizeAndCrop", original: "Video"
) -> "Reconstruction":
    """State a result in the pixels of the user's frames; what the crop cut off has no depth."""
    from jog3r.results import Cameras, Reconstruction

    cameras = Cameras(
        world_from_camera=found.cameras.world_from_camera,
        K=mapping.intrinsics_to_source(found.cameras.K),
        image_size=mapping.source_size,
    )
    return Reconstruction(
        video=original,
        cameras=cameras,
        depth=mapping.depth_to_source(found.depth),
        confidence=mapping.confidence_to_source(found.confidence),
        scale=found.scale,
    )


@torch.inference_mode()
def video_tokens(model: "JOG3R", video: Tensor, seeds: list[int]) -> Tensor:
    """Tokens at the tap `(B, T, S, D)` of videos `(B, T, 3, H, W)` in [-1, 1], at low noise and with the empty prompt."""
    latents = model.autoencoder.encode(video.to(model.device))
    noise = torch.stack(
        [
            torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(seed))
            for seed in seeds
        ]
    )
    times = torch.full((len(latents),), RECONSTRUCTION_AT, device=model.device)
    noisy = model.schedule.add_noise(latents, noise.to(model.device), times)
    text, text_mask = model.text_encoder([""] * len(latents))
    return model.network.tokens(noisy, times.float(), text, text_mask)


@torch.inference_mode()
def pair_pointmaps(model: "JOG3R", tokens: Tensor) -> "PairPointmaps":
    """Pointmaps of the star graph (0, f) of one video's tokens `(T, S, D)`."""
    from jog3r.alignment import PairPointmaps

    partners = torch.arange(1, len(tokens), device=tokens.device)
    predicted = model.network.pointmaps(tokens[None], partners[None], model.token_grid)
    pairs = torch.stack([torch.zeros_like(partners), partners], dim=1)
    parts = (predicted.points_1, predicted.points_2, predicted.confidence_1, predicted.confidence_2)
    return PairPointmaps(pairs.cpu(), *(part[0].float().cpu() for part in parts))


def reconstruct_tokens(
    model: "JOG3R",
    tokens: Tensor,
    video: "Video",
    *,
    K: Tensor | None = None,
    regularisers: "Regularisers | None" = None,
) -> "Reconstruction":
    """Align the pointmaps of one video's tokens; the result is in the pixels of the network."""
    from jog3r.alignment import Regularisers, align
    from jog3r.results import Cameras, Reconstruction

    pairs = pair_pointmaps(model, tokens)
    aligned = align(pairs, regularisers=regularisers or Regularisers(), intrinsics=K)
    cameras = Cameras(
        world_from_camera=aligned.world_from_camera,
        K=aligned.K,
        image_size=(video.height, video.width),
    )
    return Reconstruction(
        video=video,
        cameras=cameras,
        depth=aligned.depth,
        confidence=aligned.confidence,
        scale="relative",
    )

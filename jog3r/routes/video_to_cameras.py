"""V2C: video -> latents -> tokens at the tap -> pointmaps -> alignment -> refinement."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from jog3r.diffusion.schedule import RECONSTRUCTION_AT
from jog3r.errors import AlignmentError, InputError
from jog3r.geometry import check_intrinsics
from jog3r.routes.arguments import check_alignment, known_intrinsics

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
    refine: str | None,
    progress: bool,
) -> "Reconstruction":
    """Reconstruct a video; `JOG3R.reconstruct` explains the arguments.

    Raises:
        InputError: What `read_video` refuses, a single frame, K that does not fit, no such
            refinement.
        AlignmentError: Pointmaps that no camera explains.
        FileError: What `read_video` cannot read.
    """
    from jog3r.data.fit import resize_and_crop
    from jog3r.data.media import read_video
    from jog3r.results import Video

    check_alignment(regularisers, refine)
    original = read_video(source, stride=stride, max_frames=max_frames)
    if len(original) < 2:
        raise InputError(
            f"video: expected at least 2 frames, got {len(original)}; one frame has no camera path"
        )
    K_source = known_intrinsics(K, (original.height, original.width), len(original))
    frames, K, mapping = resize_and_crop(original.tensor(), K_source, model.config.image_size)
    if K is not None:
        check_intrinsics(K, model.config.image_size, name="K, after crop and resizing")
    with tqdm(total=2, desc="reconstructing", disable=not progress) as bar:
        tokens = video_tokens(model, frames[None], [seed])[0]
        bar.update()
        small = Video.from_tensor(frames, fps=original.fps)
        found = reconstruct_tokens(
            model, tokens, small, K=K, regularisers=regularisers, refine=refine
        )
        bar.update()
    return _in_source_pixels(found, mapping, original)


@torch.inference_mode()
def video_tokens(model: "JOG3R", video: Tensor, seeds: Sequence[int]) -> Tensor:
    """Give the tokens at the tap `(B, T, S, D)`, at low noise and with the empty prompt.

    Args:
        model: The model.
        video: `(B, T, 3, H, W)` in [-1, 1], of the model's size.
        seeds: Of the noise, one per sample.
    """
    latents = model.autoencoder.encode(video.to(model.device))
    noise = model.schedule.unit_noise(latents.shape[1:], seeds).to(model.device)
    times = torch.full((len(latents),), RECONSTRUCTION_AT, device=model.device)
    noisy = model.schedule.add_noise(latents, noise, times)
    text, text_mask = model.text_encoder([""] * len(latents))
    return model.network.tokens(noisy, times.float(), text, text_mask)


@torch.inference_mode()
def pair_pointmaps(model: "JOG3R", tokens: Tensor, *, chunk: int = 16) -> "PairPointmaps":
    """Decode the pointmaps of the star graph (0, f) of one video.

    Args:
        model: The model.
        tokens: At the tap, `(T, S, D)`.
        chunk: Pairs per pass; bounds the memory.
    """
    from jog3r.alignment import PairPointmaps

    partners = torch.arange(1, len(tokens), device=tokens.device)
    parts = [
        model.network.pointmaps(tokens[None], part[None], model.token_grid)
        for part in partners.split(chunk)
    ]
    return PairPointmaps(
        pairs=torch.stack([torch.zeros_like(partners), partners], dim=1).cpu(),
        points_i=_joined([part.points_1 for part in parts]),
        points_j=_joined([part.points_2 for part in parts]),
        confidence_i=_joined([part.confidence_1 for part in parts]),
        confidence_j=_joined([part.confidence_2 for part in parts]),
    )


def reconstruct_tokens(
    model: "JOG3R",
    tokens: Tensor,
    video: "Video",
    *,
    K: Tensor | None = None,
    regularisers: "Regularisers | None" = None,
    refine: str | None = "photometric",
) -> "Reconstruction":
    """Align the pointmaps of one video's tokens; the result is in the pixels of the network.

    Raises:
        AlignmentError: Pointmaps that no camera explains.
    """
    from jog3r.alignment import align, refine_photometrically
    from jog3r.results import Cameras, Reconstruction

    try:
        aligned = align(pair_pointmaps(model, tokens), regularisers=regularisers, intrinsics=K)
        if refine == "photometric":
            aligned = refine_photometrically(aligned, video.tensor())
        cameras = Cameras(
            world_from_camera=aligned.world_from_camera,
            K=aligned.K,
            image_size=(video.height, video.width),
        )
    except InputError as error:
        raise AlignmentError(
            "video: expected a clip that the model understands, got pointmaps that no camera"
            f" explains ({error}); try other frames or give K"
        ) from error
    return Reconstruction(
        video=video,
        cameras=cameras,
        depth=aligned.depth,
        confidence=aligned.confidence,
        scale="relative",
    )


def _joined(maps: list[Tensor]) -> Tensor:
    """Join the pairs of one video's chunks `(1, P, ...)`."""
    return torch.cat(maps, dim=1)[0].float().cpu()


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

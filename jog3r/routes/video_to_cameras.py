"""V2C: video -> latents -> tokens at the tap -> pointmaps -> alignment -> refinement.

Or, with DUSt3R in place of backbone and head: video -> pointmaps -> alignment -> refinement.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from jog3r.diffusion.schedule import RECONSTRUCTION_AT
from jog3r.errors import AlignmentError, InputError
from jog3r.geometry import check_intrinsics
from jog3r.heads.dust3r import DUSt3R
from jog3r.routes.arguments import check_alignment, known_intrinsics
from jog3r.routes.prompts import encode_texts
from jog3r.routes.video_formats import video_format
from jog3r.stitch import StitchedModel

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
    if isinstance(model.network, StitchedModel):
        model.network.check_head()
    original = read_video(source, stride=stride, max_frames=max_frames)
    if len(original) < 2:
        raise InputError(
            f"video: expected at least 2 frames, got {len(original)}; one frame has no camera path"
        )
    check_length(model, len(original))
    source_size = (original.height, original.width)
    K_source = known_intrinsics(K, source_size, len(original))
    size = working_size(model, source_size)
    frames, K, mapping = resize_and_crop(original.tensor(), K_source, size)
    if K is not None:
        check_intrinsics(K, size, name="K, after crop and resizing")
    with tqdm(total=2, desc="reconstructing", disable=not progress) as bar:
        pairs, seen = video_pointmaps(model, frames, seed, fps=original.fps)
        bar.update()
        found = align_pointmaps(
            pairs,
            frames_at(Video.from_tensor(frames, fps=original.fps), seen),
            K=K[seen] if K is not None and K.ndim == 3 else K,
            regularisers=regularisers,
            refine=refine,
        )
        bar.update()
    return _in_source_pixels(found, mapping, frames_at(original, seen))


def check_length(model: "JOG3R", frames: int) -> None:
    """Check that a video has two latents, each of which gives a camera.

    Raises:
        InputError: It is too short.
    """
    if isinstance(model.network, DUSt3R) or len(model.autoencoder.frames_of_latents(frames)) > 1:
        return
    least = next(n for n in range(2, 1000) if model.autoencoder.latent_frames(n) > 1)
    raise InputError(
        f"video: expected at least {least} frames, as the latents of this model span several, got"
        f" {frames}; take a longer one"
    )


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
    model: "JOG3R", frames: Tensor, seed: int, *, fps: float | None = None
) -> "tuple[PairPointmaps, list[int]]":
    """Give the pointmaps of the star graph (0, f), by whatever network the model has.

    Args:
        model: The model.
        frames: `(T, 3, H, W)` in [-1, 1], of its working size.
        seed: Of the little noise that a video backbone is given.
        fps: Rate of the frames; None for the model's own.

    Returns:
        The pointmaps, and which frames they are of: all, or where latents span several frames, the
        last one of each.
    """
    if isinstance(model.network, DUSt3R):
        return image_pointmaps(model.network, frames), list(range(len(frames)))
    seen = model.autoencoder.frames_of_latents(len(frames))
    tokens = video_tokens(model, frames[None], [seed], fps=fps)[0]
    return pair_pointmaps(model, tokens), seen


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
    network = model.stitched
    latents = model.autoencoder.encode(video.to(model.device))
    noise = model.schedule.unit_noise(latents.shape[1:], seeds).to(model.device)
    times = torch.full((len(latents),), RECONSTRUCTION_AT, device=model.device)
    noisy = model.schedule.add_noise(latents, noise, times)
    text, text_mask = encode_texts(model, [""] * len(latents))
    told = video_format(model, len(latents), video.shape[1], fps=fps)
    return network.tokens(noisy, times.float(), text, text_mask, video_format=told)


@torch.inference_mode()
def pair_pointmaps(model: "JOG3R", tokens: Tensor, *, chunk: int = 16) -> "PairPointmaps":
    """Decode the pointmaps of the star graph (0, f) of one video.

    Args:
        model: The model.
        tokens: At the tap, `(T, S, D)`.
        chunk: Pairs per pass; bounds the memory.
    """
    partners = torch.arange(1, len(tokens), device=tokens.device)
    parts = [
        model.stitched.pointmaps(tokens[None], part[None], model.token_grid)
        for part in partners.split(chunk)
    ]
    return _star(
        [part.points_1[0] for part in parts],
        [part.points_2[0] for part in parts],
        [part.confidence_1[0] for part in parts],
        [part.confidence_2[0] for part in parts],
    )


@torch.inference_mode()
def image_pointmaps(network: DUSt3R, frames: Tensor, *, chunk: int = 16) -> "PairPointmaps":
    """Give the pointmaps of the star graph (0, f) by DUSt3R; every frame is encoded once.

    Args:
        network: The network.
        frames: `(T, 3, H, W)` in [-1, 1], sides multiples of its patch.
        chunk: Frames and pairs per pass; bounds the memory.
    """
    frames = frames.to(network.mask_token)  # its device, and its precision
    grid = (frames.shape[2] // network.config.patch, frames.shape[3] // network.config.patch)
    tokens = torch.cat([network.encode(part) for part in frames.split(chunk)])
    parts = [
        network.star_pointmaps(torch.cat([tokens[:1], part]), grid, chunk=1)
        for part in tokens[1:].split(chunk)
    ]
    return _star(
        [first.points for first, _ in parts],
        [second.points for _, second in parts],
        [first.confidence for first, _ in parts],
        [second.confidence for _, second in parts],
    )


def align_pointmaps(
    pairs: "PairPointmaps",
    video: "Video",
    *,
    K: Tensor | None = None,
    regularisers: "Regularisers | None" = None,
    refine: str | None = "photometric",
) -> "Reconstruction":
    """Align the pointmaps of one video; the result is in the pixels of the network.

    Raises:
        AlignmentError: Pointmaps that no camera explains.
    """
    from jog3r.alignment import align, refine_photometrically
    from jog3r.results import Cameras, Reconstruction

    try:
        aligned = align(pairs, regularisers=regularisers, intrinsics=K)
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


def frames_at(video: "Video", seen: Sequence[int]) -> "Video":
    """Give a video of some of the frames, at the rate at which they are apart."""
    from jog3r.results import Video

    if len(seen) == len(video):
        return video
    return Video(video.frames[list(seen)], fps=video.fps * len(seen) / len(video))


def _star(
    points_i: list[Tensor],
    points_j: list[Tensor],
    confidence_i: list[Tensor],
    confidence_j: list[Tensor],
) -> "PairPointmaps":
    """Join the chunks of the pairs (0, f)."""
    from jog3r.alignment import PairPointmaps

    maps = (torch.cat(x).float().cpu() for x in (points_i, points_j, confidence_i, confidence_j))
    points_0, points_f, confidence_0, confidence_f = maps
    partners = torch.arange(1, len(points_0) + 1)
    return PairPointmaps(
        pairs=torch.stack([torch.zeros_like(partners), partners], dim=1),
        points_i=points_0,
        points_j=points_f,
        confidence_i=confidence_0,
        confidence_j=confidence_f,
    )


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

"""Frames through diffusers' AutoencoderKL in passes and tiles of bounded size.

A pass holds few frames, so that memory does not grow with the length of a video; a tile is a part
of a frame, so that it need not grow with the frame either. Passes change no number, tiles do.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.errors import InputError

# The type of a vae is Any: diffusers types its results for every value of return_dict at once.
PIXELS_ENCODED, PIXELS_DECODED = 64 * 64 * 64, 32 * 64 * 64
"""Pixels of a pass; a frame that has more goes alone."""


def encode_frames(
    vae: Any, frames: Float[Tensor, "n 3 h w"], chunk: int | None
) -> Float[Tensor, "n c lh lw"]:
    """Give the mean of every frame's posterior, unscaled.

    Args:
        vae: AutoencoderKL.
        frames: In [-1, 1].
        chunk: Frames per pass; None for as many as `PIXELS_ENCODED` allows.

    Raises:
        InputError: `chunk` is no whole number above 0.
    """
    count = _frames_per_pass(chunk, PIXELS_ENCODED, frames.shape[-2] * frames.shape[-1])
    return torch.cat(
        [vae.encode(part).latent_dist.mean.float() for part in _passes(vae, frames, count)]
    )


def decode_frames(
    vae: Any, latents: Float[Tensor, "n c lh lw"], *, factor: int, chunk: int | None, cut: bool
) -> Float[Tensor, "n 3 h w"]:
    """Decode unscaled latents frame by frame.

    Args:
        vae: AutoencoderKL.
        latents: One per frame.
        factor: Pixels per latent and axis.
        chunk: Frames per pass; None for as many as `PIXELS_DECODED` allows.
        cut: Whether to cut the result to [-1, 1].

    Raises:
        InputError: `chunk` is no whole number above 0.
    """
    pixels = factor**2 * latents.shape[-2] * latents.shape[-1]
    count = _frames_per_pass(chunk, PIXELS_DECODED, pixels)
    parts = (vae.decode(part).sample.float() for part in _passes(vae, latents, count))
    return torch.cat([part.clamp(-1.0, 1.0) if cut else part for part in parts])


def use_tiles(vae: Any, tile_px: int | None, factor: int) -> None:
    """Have frames larger than a tile encoded and decoded in tiles that blend into each other.

    Args:
        vae: AutoencoderKL.
        tile_px: Height and width of a tile [px]; None for whole frames.
        factor: Pixels per latent and axis.

    Raises:
        InputError: Tiles whose overlap, a quarter of them, is no whole number of latents.
    """
    if tile_px is None:
        vae.disable_tiling()
        return
    if not _is_count(tile_px) or tile_px % (4 * factor):
        raise InputError(
            f"tile_px: expected None or a multiple of {4 * factor} px, got {tile_px!r};"
            f" {64 * factor} is usual"
        )
    vae.enable_tiling()
    vae.tile_sample_min_size, vae.tile_latent_min_size = tile_px, tile_px // factor


def check_video(video: Tensor, factor: int) -> None:
    """Check that a video `(B, T, 3, H, W)` can be encoded.

    Raises:
        InputError: It has no frame, or its height or width is no multiple of `factor`.
    """
    *_, height, width = video.shape
    if not video.numel() or height % factor or width % factor:
        raise InputError(
            f"video: expected height and width in multiples of {factor} px and at least one frame,"
            f" got {tuple(video.shape)}; resize or crop it first"
        )


def check_num_frames(num_frames: int) -> None:
    """Check that a number of frames is a whole one above 0.

    Raises:
        InputError: It is not.
    """
    if not _is_count(num_frames):
        raise InputError(
            f"num_frames: expected a whole number above 0, got {num_frames!r}; a video has frames"
        )


def _frames_per_pass(chunk: int | None, bound: int, pixels: int) -> int:
    if chunk is None:
        return max(1, bound // pixels)
    if not _is_count(chunk):
        raise InputError(f"chunk: expected frames per pass above 0, got {chunk!r}; use None")
    return chunk


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _passes(vae: Any, frames: Tensor, count: int) -> Iterator[Tensor]:
    for part in frames.split(count):
        # Convolutions on a CPU are quicker in this order.
        yield part.to(vae.dtype).contiguous(memory_format=torch.channels_last)

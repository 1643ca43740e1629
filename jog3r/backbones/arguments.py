"""Checks of what a backbone is built from and called with, the same for all architectures."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from jog3r.backbones.interface import BackboneConfig, VideoFormat
from jog3r.errors import InputError


def check_width(hidden_size: int, *factors: int) -> None:
    """Check that channels can be shared out among heads and axes.

    Args:
        hidden_size: Channels of a token.
        factors: What the channels must be a multiple of.

    Raises:
        InputError: They are not.
    """
    if any(hidden_size % factor for factor in factors):
        raise InputError(
            f"hidden_size: expected a multiple of each of {factors} for heads and positions,"
            f" got {hidden_size}; correct the config"
        )


def check_inputs(
    config: BackboneConfig,
    latents: Tensor,
    timestep: Tensor,
    text: Tensor | None,
    text_mask: Tensor | None,
    *,
    null_length: int,
) -> None:
    """Check that latents, timesteps and text fit each other and the network.

    Args:
        config: Of the network.
        latents: `(B, C, T, H, W)`.
        timestep: `(B,)`.
        text: `(B, L, E)`, or None for the stored null text.
        text_mask: `(B, L)`, or None.
        null_length: Tokens of the stored null text.

    Raises:
        InputError: They do not fit.
    """
    _check_tensors(latents=latents, timestep=timestep)
    B, C, E = latents.shape[0], config.in_channels, config.caption_channels
    if latents.ndim != 5 or latents.shape[1] != C or 0 in latents.shape:
        raise InputError(
            f"latents: expected (B, {C}, T, H, W) without an empty axis,"
            f" got {tuple(latents.shape)}; encode with the autoencoder the network was trained with"
        )
    if timestep.shape != (B,):
        raise InputError(
            f"timestep: expected one per sample, ({B},), got {tuple(timestep.shape)}; expand it"
        )
    if text is not None:
        _check_text(text, B, E)
    L = null_length if text is None else text.shape[1]
    if text_mask is not None:
        _check_mask("text_mask", text_mask)
        if text_mask.shape != (B, L):
            raise InputError(
                f"text_mask: expected one value per text token, ({B}, {L}),"
                f" got {tuple(text_mask.shape)}; pass the mask of this text"
            )


def _check_tensors(**given: Any) -> None:
    for name, value in given.items():
        if not isinstance(value, Tensor):
            raise InputError(
                f"{name}: expected a tensor, got {type(value).__name__}; use torch.as_tensor"
            )


def _check_text(text: Tensor, B: int, E: int) -> None:
    _check_tensors(text=text)
    if text.ndim != 3 or text.shape[0] != B or text.shape[1] == 0 or text.shape[2] != E:
        raise InputError(
            f"text: expected ({B}, L, {E}), got {tuple(text.shape)}; use the text encoder the"
            " network was trained with"
        )


def _check_mask(name: str, mask: Tensor) -> None:
    _check_tensors(**{name: mask})
    if mask.dtype != torch.bool:  # numbers would be added to attention's weights
        raise InputError(f"{name}: expected True and False, got {mask.dtype}; use mask.bool()")


def check_way_out(
    depth: int,
    batch: int,
    taps: Collection[int],
    until: int | None,
    early: tuple[int, int] | None,
) -> None:
    """Check that taps and exits name blocks that run.

    Args:
        depth: Number of blocks.
        batch: Number of samples.
        taps: Blocks to tap.
        until: Last block to run, or None.
        early: (samples, block) of those that leave early, or None.

    Raises:
        InputError: They do not, or are no whole numbers.
    """
    _check_blocks("taps", taps)
    _check_blocks("until", () if until is None else (until,))
    _check_blocks("early", () if early is None else early)
    last = depth if until is None else until
    if not 1 <= last <= depth or not all(1 <= tap <= last for tap in taps):
        raise InputError(
            f"taps, until: expected blocks 1 to {depth}, no tap behind until,"
            f" got taps {sorted(taps)}, until {until}"
        )
    if early is not None:
        n, block = early if len(early) == 2 else (0, 0)
        if until is not None or not 0 < n < batch or not 1 <= block <= depth:
            raise InputError(
                f"early: expected (n, block) with 0 < n < {batch} samples and block 1 to {depth},"
                f" without until, got {early}, until {until}"
            )


def _check_blocks(name: str, numbers: Any) -> None:
    if not isinstance(numbers, Collection) or not all(isinstance(each, int) for each in numbers):
        raise InputError(
            f"{name}: expected whole numbers, got {numbers!r}; blocks are numbered from 1 on, as in"
            " taps=(1, 2)"
        )


def check_video_format(video_format: VideoFormat | None, batch: int) -> VideoFormat:
    """Give the format back where it is there and describes the batch.

    Args:
        video_format: Of the decoded videos.
        batch: Number of samples.

    Raises:
        InputError: It is missing or describes another number of samples.
    """
    if video_format is None:
        raise InputError(
            "video_format: expected frames, size and rate of the video, which this network is"
            " told, got None; pass VideoFormat.of(...)"
        )
    for name, numbers in vars(video_format).items():
        if numbers.shape != (batch,):
            raise InputError(
                f"video_format.{name}: expected one number per sample, ({batch},),"
                f" got {tuple(numbers.shape)}; pass VideoFormat.of({batch}, ...)"
            )
    return video_format


def check_x_mask(x_mask: Tensor | None, latents: Tensor) -> None:
    """Check that every latent frame is said to be noised or clean.

    Args:
        x_mask: `(B, T)`, or None.
        latents: `(B, C, T, H, W)`.

    Raises:
        InputError: Another shape or dtype.
    """
    if x_mask is not None:
        _check_mask("x_mask", x_mask)
    expected = (latents.shape[0], latents.shape[2])
    if x_mask is not None and x_mask.shape != expected:
        raise InputError(
            f"x_mask: expected one value per latent frame, {expected}, got {tuple(x_mask.shape)};"
            " True stands for a noised frame"
        )

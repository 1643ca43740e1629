"""Checks of what a backbone is built from and called with, the same for all architectures."""

from collections.abc import Collection

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
    B, C, E = latents.shape[0], config.in_channels, config.caption_channels
    if latents.shape[1] != C or 0 in latents.shape:
        raise InputError(
            f"latents: expected (B, {C}, T, H, W) without an empty axis,"
            f" got {tuple(latents.shape)}; encode with the autoencoder the network was trained with"
        )
    if timestep.shape != (B,):
        raise InputError(
            f"timestep: expected one per sample, ({B},), got {tuple(timestep.shape)}; expand it"
        )
    if text is not None and (text.shape[0] != B or text.shape[1] == 0 or text.shape[2] != E):
        raise InputError(
            f"text: expected ({B}, L, {E}), got {tuple(text.shape)}; use the text encoder the"
            " network was trained with"
        )
    L = null_length if text is None else text.shape[1]
    if text_mask is not None and text_mask.shape != (B, L):
        raise InputError(
            f"text_mask: expected one value per text token, ({B}, {L}),"
            f" got {tuple(text_mask.shape)}; pass the mask of this text"
        )


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
        InputError: They do not.
    """
    last = depth if until is None else until
    if not 1 <= last <= depth or not all(1 <= tap <= last for tap in taps):
        raise InputError(
            f"taps, until: expected blocks 1 to {depth}, no tap behind until,"
            f" got taps {sorted(taps)}, until {until}"
        )
    if early is not None:
        n, block = early
        if until is not None or not 0 < n < batch or not 1 <= block <= depth:
            raise InputError(
                f"early: expected (n, block) with 0 < n < {batch} samples and block 1 to {depth},"
                f" without until, got {early}, until {until}"
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
        InputError: Another shape.
    """
    expected = (latents.shape[0], latents.shape[2])
    if x_mask is not None and x_mask.shape != expected:
        raise InputError(
            f"x_mask: expected one value per latent frame, {expected}, got {tuple(x_mask.shape)};"
            " True stands for a noised frame"
        )

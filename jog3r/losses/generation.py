"""Generation loss: mean squared error of what the backbone predicts.

Source: DDPM equation 14 (Ho et al. 2020).
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.errors import InputError
from jog3r.losses.frame_mean import frame_mean


def generation_loss(
    prediction: Float[Tensor, "b c_out t h w"],
    target: Float[Tensor, "b c t h w"],
    *,
    frame_mask: Bool[Tensor, "b t"] | None = None,
    reduction: Literal["mean", "sample"] = "mean",
) -> Float[Tensor, ""] | Float[Tensor, " b"]:
    """Average the squared error, in float32.

    Args:
        prediction: of the backbone. With twice the channels of the target, the second half is
            the learned variance and does not take part; `variational_bound` trains it.
        target: see the schedule's `target`.
        frame_mask: frames that are noised; the others are given to the network clean and do not
            count. None for all.
        reduction: over everything, or per sample.

    Raises:
        InputError: sizes that do not fit, or a sample without noised frames.
    """
    channels = target.shape[1]
    if prediction.shape[1] not in (channels, 2 * channels) or (
        prediction.shape[2:] != target.shape[2:] or len(prediction) != len(target)
    ):
        raise InputError(
            f"prediction: expected the size of the target {tuple(target.shape)}, or twice its"
            f" channels, got {tuple(prediction.shape)}"
        )
    with torch.autocast(target.device.type, enabled=False):
        error = (prediction[:, :channels].float() - target.float()).square()
    per_sample = frame_mean(error, frame_mask)
    return per_sample if reduction == "sample" else per_sample.mean()

"""Generation loss: mean squared error of what the backbone predicts.

Source: DDPM equation 14 (Ho et al. 2020).
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.errors import InputError


def generation_loss(
    prediction: Float[Tensor, "b c_out t h w"],
    target: Float[Tensor, "b c t h w"],
    *,
    reduction: Literal["mean", "sample"] = "mean",
) -> Float[Tensor, ""] | Float[Tensor, " b"]:
    """Average the squared error, in float32.

    Args:
        prediction: of the backbone. With twice the channels of the target, the second half is
            the learned variance and does not take part.
        target: see `jog3r.diffusion.prediction.generation_target`.
        reduction: over everything, or per sample.

    Raises:
        InputError: sizes that do not fit.
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
    per_sample = error.flatten(1).mean(dim=1)
    return per_sample if reduction == "sample" else per_sample.mean()

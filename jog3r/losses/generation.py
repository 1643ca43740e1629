"""Generation loss: mean squared error of what the backbone predicts.

Source: DDPM equation 14 (Ho et al. 2020); v-prediction: Salimans and Ho 2022, section 4.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.errors import InputError

PredictionType = Literal["epsilon", "v_prediction"]


def generation_target(
    clean: Float[Tensor, "b c t h w"],
    noise: Float[Tensor, "b c t h w"],
    *,
    signal_level: Float[Tensor, " b"],
    noise_level: Float[Tensor, " b"],
    prediction_type: PredictionType,
) -> Float[Tensor, "b c t h w"]:
    """Compute what the backbone should predict for `signal_level * clean + noise_level * noise`.

    Args:
        clean: latents.
        noise: of unit variance.
        signal_level: square root of the cumulative product of alpha at each sample's timestep.
        noise_level: square root of one minus that product.
        prediction_type: of the checkpoint: the noise, or v = signal_level * noise - noise_level
            * clean.

    Raises:
        InputError: an unknown prediction type.
    """
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "v_prediction":
        signal, level = (a[:, None, None, None, None] for a in (signal_level, noise_level))
        return signal * noise - level * clean
    raise InputError(
        f"prediction_type: expected 'epsilon' or 'v_prediction', got {prediction_type!r}"
    )


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
        target: see `generation_target`.
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

"""What the backbone predicts of noisy latents: the noise, or v.

Source: DDPM (Ho et al. 2020); v-prediction: Salimans and Ho 2022, section 4.
"""

from typing import Literal

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
    raise _unknown(prediction_type)


def clean_estimate(
    prediction: Float[Tensor, "b c t h w"],
    noisy: Float[Tensor, "b c t h w"],
    *,
    signal_level: Float[Tensor, " b"],
    noise_level: Float[Tensor, " b"],
    prediction_type: PredictionType,
) -> Float[Tensor, "b c t h w"]:
    """Compute the clean latents that a prediction stands for.

    Args:
        prediction: of the backbone.
        noisy: latents that it was made from.
        signal_level: as in `generation_target`.
        noise_level: likewise.
        prediction_type: likewise.

    Raises:
        InputError: an unknown prediction type.
    """
    signal, level = (a[:, None, None, None, None] for a in (signal_level, noise_level))
    if prediction_type == "epsilon":
        return (noisy - level * prediction) / signal
    if prediction_type == "v_prediction":
        return signal * noisy - level * prediction
    raise _unknown(prediction_type)


def _unknown(prediction_type: str) -> InputError:
    return InputError(
        f"prediction_type: expected 'epsilon' or 'v_prediction', got {prediction_type!r}"
    )

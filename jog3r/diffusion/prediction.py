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
    raise InputError(
        f"prediction_type: expected 'epsilon' or 'v_prediction', got {prediction_type!r}"
    )

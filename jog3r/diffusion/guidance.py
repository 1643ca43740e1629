"""Classifier-free guidance: away from what the network predicts without the prompt.

Source: Ho and Salimans 2022, arXiv 2207.12598, equation 6, with scale = 1 + w.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.errors import InputError


def guide(
    prediction: Float[Tensor, "b2 c_out t h w"], scale: float, *, channels: int
) -> Float[Tensor, "b c_out t h w"]:
    """Join the two halves of a batch: unconditional + scale * (conditional - unconditional).

    Args:
        prediction: Of the same latents, first without (or with the negative) prompt, then with it.
        scale: 1 is the conditional half as it is, 0 the unconditional one.
        channels: That are guided, usually those of the latents. What comes behind, such as the
            learned variance, is not extrapolated: the conditional half's stands.

    Raises:
        InputError: An odd number of samples, or fewer channels than those of the latents.
    """
    if len(prediction) % 2 or not 1 <= channels <= prediction.shape[1]:
        raise InputError(
            f"prediction: expected two halves of a batch with at least {channels} channels, got"
            f" {tuple(prediction.shape)}; pass the network's output for both halves"
        )
    without, with_prompt = prediction[:, :channels].chunk(2)
    guided = without + scale * (with_prompt - without)
    return torch.cat([guided, prediction[len(guided) :, channels:]], dim=1)

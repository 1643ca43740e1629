"""What the frame autoencoder is trained on."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def autoencoding_loss(
    reconstruction: Float[Tensor, "n 3 h w"],
    frames: Float[Tensor, "n 3 h w"],
    mean: Float[Tensor, "n c lh lw"],
    log_variance: Float[Tensor, "n c lh lw"],
    *,
    edge_weight: float = 1.0,
    kl_weight: float = 1e-3,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Absolute error of colours and of their differences between neighbours, and the KL term of the posterior.

    The differences keep edges sharp without a pretrained perceptual network, which the project does not have.

    Args:
        reconstruction: Decoded frames.
        frames: True frames in [-1, 1].
        mean: Posterior mean.
        log_variance: Posterior log-variance.
        edge_weight: Weight of the neighbour differences (horizontal and vertical, summed).
        kl_weight: Weight of the KL divergence from the unit Gaussian, per latent number.

    Returns:
        The loss and its parts: `colour`, `edges`, `kl`, each before its weight.

    Source: Kingma and Welling 2014 for the KL term; own choice of the rest.
    """
    reconstruction, mean, log_variance = reconstruction.float(), mean.float(), log_variance.float()
    colour = F.l1_loss(reconstruction, frames)
    error = reconstruction - frames
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    kl = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).mean()
    return colour + edge_weight * edges + kl_weight * kl, {
        "colour": colour,
        "edges": edges,
        "kl": kl,
    }

"""What the frame autoencoder is trained on."""

import torch
from jaxtyping import Float
from torch import Tensor


def autoencoding_loss(
    reconstruction: Float[Tensor, "n 3 h w"],
    frames: Float[Tensor, "n 3 h w"],
    *,
    mean: Float[Tensor, "n c lh lw"],
    log_variance: Float[Tensor, "n c lh lw"],
    square_weight: float = 4.0,
    hue_weight: float = 2.0,
    edge_weight: float = 0.25,
    kl_weight: float = 1e-6,
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """Add up errors of colours, hues and edges, and the KL term of the posterior.

    The squares give early training a steady gradient (absolute errors alone stay flat for long);
    the differences between neighbours keep edges sharp without a pretrained perceptual network,
    which the project does not have.

    Args:
        reconstruction: Decoded frames.
        frames: True frames in [-1, 1].
        mean: Posterior mean.
        log_variance: Posterior log-variance.
        square_weight: Weight of the squared error of colours; the absolute one has weight 1.
        hue_weight: Weight of the squared error of red - green and of blue - (red + green) / 2,
            which plain colour errors learn last and which captions speak of.
        edge_weight: Weight of the absolute error of neighbour differences (horizontal and vertical,
            summed).
        kl_weight: Weight of the KL divergence from the unit Gaussian, per latent number.

    Returns:
        The loss and its parts: `absolute`, `square`, `hue`, `edges`, `kl`, each before its weight.

    Source: Kingma and Welling 2014 for the KL term; own choice of the rest.
    """
    reconstruction, mean, log_variance = reconstruction.float(), mean.float(), log_variance.float()
    error = reconstruction - frames
    red, green, blue = error.unbind(1)
    parts = {
        "absolute": error.abs().mean(),
        "square": error.square().mean(),
        "hue": (red - green).square().mean() + (blue - 0.5 * (red + green)).square().mean(),
        "edges": error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean(),
        "kl": 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).mean(),
    }
    weights = {"absolute": 1.0, "square": square_weight, "hue": hue_weight}
    weights |= {"edges": edge_weight, "kl": kl_weight}
    loss = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
    return loss, parts

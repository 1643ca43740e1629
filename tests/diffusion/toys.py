"""The closed-form networks that the stored runs of Open-Sora's schedulers were made with."""

import torch
from torch import Tensor

CONDITIONAL, NULL = 0.5, -0.2


def iddpm_network(x: Tensor, timestep: Tensor, y: Tensor | None) -> Tensor:
    """Predict noise and variance; `timestep` and the mean of the condition are `(B,)`."""
    shift = -0.2 * timestep / 1000.0 + (0.0 if y is None else 0.25 * y)
    epsilon = 0.4 * x + 0.3 * x.sin() + shift[:, None, None, None, None]
    return torch.cat([epsilon, x.tanh()], dim=1)


def flow_network(z: Tensor, timestep: Tensor, y: Tensor, x_mask: Tensor | None = None) -> Tensor:
    """Predict a velocity, halved in clean frames, and something behind it."""
    shift = -0.7 * timestep / 1000.0 + 0.25 * y
    velocity = 0.3 * z + shift[:, None, None, None, None]
    if x_mask is not None:
        velocity = velocity * torch.where(x_mask, 1.0, 0.5)[:, None, :, None, None]
    return torch.cat([velocity, 0.5 * z], dim=1)


def conditions(samples: int) -> Tensor:
    """Give the condition of both halves of a guided batch, the unconditional one first."""
    return torch.tensor([NULL, CONDITIONAL]).repeat_interleave(samples)

"""Rotary position along time: pairs of channels turn by an angle that grows with the frame.

Source: RoFormer (Su et al. 2021), section 3.2; the pairing of neighbouring channels and the saved
`freqs` are those of the public Open-Sora checkpoints.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

THETA = 10_000.0


class Rotation(NamedTuple):
    """Cosine and sine of each frame's angles, one angle per pair of channels.

    Attributes:
        cos: `(T, d/2)`.
        sin: `(T, d/2)`.
    """

    cos: Tensor
    sin: Tensor


class RotaryTime(nn.Module):
    """Keeps the frequencies, which are part of the checkpoint."""

    freqs: Tensor

    def __init__(self, head_width: int) -> None:
        super().__init__()
        self.register_buffer("freqs", _frequencies(head_width, torch.get_default_device()))

    def forward(self, T: int) -> Rotation:
        """Give the rotation of T frames."""
        freqs = self.freqs
        if freqs.dtype != torch.float32:  # rounded, they would turn late frames by wrong angles
            freqs = _frequencies(2 * len(freqs), freqs.device)
        frame = torch.arange(T, device=freqs.device, dtype=torch.float32)
        angles = frame[:, None] * freqs
        return Rotation(angles.cos(), angles.sin())


def _frequencies(head_width: int, device: torch.device) -> Tensor:
    exponent = torch.arange(0, head_width, 2, dtype=torch.float32, device=device) / head_width
    return 1.0 / THETA**exponent


def rotate(x: Float[Tensor, "t *places n d"], rotation: Rotation) -> Float[Tensor, "t *places n d"]:
    """Turn the pairs (0, 1), (2, 3), ... of channels of every frame.

    Args:
        x: Queries or keys, time first.
        rotation: Of as many frames.

    Example:
        >>> x = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
        >>> rotate(x, RotaryTime(2)(2))
        tensor([[[1.0000, 0.0000]],
        <BLANKLINE>
                [[0.5403, 0.8415]]])
    """
    pairs = x.unflatten(-1, (-1, 2))
    cos, sin = (part.view(len(x), *(1,) * (x.ndim - 2), -1) for part in rotation)
    if torch.compiler.is_compiling():  # which knows no complex numbers
        a, b = pairs.unbind(-1)
        return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)
    # One pass over memory instead of five.
    turned = torch.view_as_complex(pairs) * torch.complex(cos, sin)
    return torch.view_as_real(turned).flatten(-2)

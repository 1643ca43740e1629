"""The feed-forward part of a block, and its activation."""

from typing import Literal

import torch
import torch.nn.functional as F
from timm.layers.mlp import Mlp
from torch import Tensor, nn

from jog3r.errors import InputError

GELU = Literal["tanh", "exact"]


class GELUTanh(nn.Module):
    """The tanh form of GELU.

    In bfloat16 on a CPU the exact form stands in for it: it takes a quarter of the time there, and
    lies within 5e-4, which bfloat16 resolves of numbers up to 0.1 only.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to every element."""
        rough = x.dtype == torch.bfloat16 and x.device.type == "cpu"
        return F.gelu(x, approximate="none" if rough else "tanh")


ACTIVATIONS: dict[GELU, type[nn.Module]] = {"tanh": GELUTanh, "exact": nn.GELU}


def feed_forward(width: int, ratio: float, gelu: GELU) -> Mlp:
    """Make two linear layers with a GELU between them.

    Args:
        width: Channels of a token.
        ratio: Inner width over `width`.
        gelu: The form; public checkpoints use "tanh".

    Raises:
        InputError: No such form.
    """
    if gelu not in ACTIVATIONS:
        raise InputError(f"gelu: expected one of {[*ACTIVATIONS]}, got {gelu!r}")
    return Mlp(width, int(width * ratio), act_layer=ACTIVATIONS[gelu])

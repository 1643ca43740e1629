"""The feed-forward part of a block, and its activation."""

from typing import Literal

from timm.layers.activations import GELUTanh
from timm.layers.mlp import Mlp
from torch import nn

from jog3r.errors import InputError

GELU = Literal["tanh", "exact"]
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

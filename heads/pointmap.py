"""From a head's raw outputs to points and confidences.

Source: DUSt3R section 3.1-3.2 (direction times expm1 of the norm; confidence 1 + exp).
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.errors import InputError

DepthMode = Literal["exp", "linear", "square"]
"""How far a point lies, as a function of the raw vector's length n: expm1(n), n or n squared."""

LARGEST_EXPONENT = 40.0
"""Raw norms and raw confidences act as if they were no larger: exp(40) squared fits float32."""
SMALLEST_SQUARE = 1e-20
"""Below this squared norm expm1(n) / n is 1 to the last bit, and n has no gradient."""


class Pointmap(NamedTuple):
    """One 3D point and one confidence per pixel, float32.

    Attributes:
        points: `(..., H, W, 3)`.
        confidence: `(..., H, W)`, at least 1.
    """

    points: Tensor
    confidence: Tensor

    def transposed(self) -> "Pointmap":
        """Swap rows and columns of pixels."""
        return Pointmap(self.points.transpose(-3, -2), self.confidence.transpose(-2, -1))


def decode_pointmap(raw: Float[Tensor, "*b 4"], depth_mode: DepthMode = "exp") -> Pointmap:
    """Turn raw outputs (x, y, z, confidence) into points and confidences.

    The point lies in the direction of the raw vector, by default at the distance expm1 of its
    length. It runs in float32 whatever the precision around it, and is smooth at the zero vector.

    Args:
        raw: outputs of a head.
        depth_mode: see `DepthMode`.

    Example:
        >>> decode_pointmap(torch.tensor([[0.0, 0.0, 0.0, 0.0]]))
        Pointmap(points=tensor([[0., 0., 0.]]), confidence=tensor([2.]))
    """
    with torch.autocast(raw.device.type, enabled=False):
        raw = raw.double() if raw.dtype == torch.float64 else raw.float()
        vector, confidence = raw[..., :3], raw[..., 3]
        points = vector if depth_mode == "linear" else vector * _stretch(vector, depth_mode)
        return Pointmap(points, 1.0 + confidence.clamp(max=LARGEST_EXPONENT).exp())


def _stretch(vector: Tensor, depth_mode: DepthMode) -> Tensor:
    square = vector.square().sum(dim=-1, keepdim=True)
    regular = square > SMALLEST_SQUARE
    norm = torch.where(regular, square, 1.0).sqrt()
    if depth_mode == "square":
        return torch.where(regular, norm, 0.0)
    return torch.where(regular, norm.clamp(max=LARGEST_EXPONENT).expm1() / norm, 1.0)


def read_output_modes(
    depth_mode: Sequence[str | float], confidence_mode: Sequence[str | float]
) -> DepthMode:
    """Read the output modes that a public checkpoint states, each (name, lower, upper bound).

    Args:
        depth_mode: name as in `DepthMode`; without bounds.
        confidence_mode: exp, from 1 without upper bound, is what there is.

    Raises:
        InputError: other modes or bounds.

    Example:
        >>> read_output_modes(("exp", -float("inf"), float("inf")), ("exp", 1, float("inf")))
        'exp'
    """
    name, *bounds = depth_mode
    if name not in get_args(DepthMode) or [float(b) for b in bounds] != [-math.inf, math.inf]:
        raise InputError(
            f"depth_mode: expected one of {get_args(DepthMode)} from -inf to inf,"
            f" got {tuple(depth_mode)}"
        )
    name_of_confidence, *bounds = confidence_mode
    if name_of_confidence != "exp" or [float(b) for b in bounds] != [1.0, math.inf]:
        raise InputError(f"conf_mode: expected ('exp', 1, inf), got {tuple(confidence_mode)}")
    return cast("DepthMode", name)

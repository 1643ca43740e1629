"""From a head's raw outputs to points and confidences.

Source: DUSt3R section 3.1-3.2 (direction times expm1 of the norm; confidence 1 + exp).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

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


def decode_pointmap(raw: Float[Tensor, "*b 4"]) -> Pointmap:
    """Turn raw outputs (x, y, z, confidence) into points and confidences.

    The point lies in the direction of the raw vector, at the distance expm1 of its length. It
    runs in float32 whatever the precision around it, and is smooth at the zero vector.

    Example:
        >>> decode_pointmap(torch.tensor([[0.0, 0.0, 0.0, 0.0]]))
        Pointmap(points=tensor([[0., 0., 0.]]), confidence=tensor([2.]))
    """
    with torch.autocast(raw.device.type, enabled=False):
        raw = raw.double() if raw.dtype == torch.float64 else raw.float()
        vector, confidence = raw[..., :3], raw[..., 3]
        square = vector.square().sum(dim=-1, keepdim=True)
        regular = square > SMALLEST_SQUARE
        norm = torch.where(regular, square, 1.0).sqrt()
        stretch = torch.where(regular, norm.clamp(max=LARGEST_EXPONENT).expm1() / norm, 1.0)
        return Pointmap(vector * stretch, 1.0 + confidence.clamp(max=LARGEST_EXPONENT).exp())

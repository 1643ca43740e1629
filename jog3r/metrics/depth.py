"""Depth: AbsRel and the share of pixels within 25 %, after one scale per clip."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry.precision import full_precision

DELTA = 1.25
Scale = Literal["median", "least-squares", "none"]


@dataclass(frozen=True)
class DepthErrors:
    """Errors of the depth of one clip.

    Args:
        abs_rel: mean of |estimate - truth| / truth.
        delta: share of pixels with max(estimate / truth, truth / estimate) below 1.25.
        scale: factor the estimate was multiplied with first.
        coverage: share of the valid true pixels for which there is an estimate; the others are left
            out of the first two.
    """

    abs_rel: float
    delta: float
    scale: float
    coverage: float


@full_precision
def depth_errors(
    estimate: Float[Tensor, "*b h w"],
    truth: Float[Tensor, "*b h w"],
    valid: Bool[Tensor, "*b h w"] | None = None,
    *,
    scale: Scale = "median",
) -> DepthErrors:
    """Compare z-depth over all frames and pixels of a clip.

    Sampler: all valid pixels whose truth is finite and positive; of these, those whose estimate is
    finite and positive. Alignment: one factor for the whole clip, no shift.

    Args:
        estimate: z-depth.
        truth: z-depth.
        valid: pixels to compare; None for all.
        scale: "median", median of the truth over that of the estimate; "least-squares", the factor
            that minimises the squared difference; "none" for metric depth.

    Raises:
        InputError: different shapes, an unknown scale, no valid pixel, or no estimate for any.

    Example:
        >>> truth = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> errors = depth_errors(10 * truth, truth)
        >>> round(errors.abs_rel, 6), errors.delta, round(errors.scale, 6)
        (0.0, 1.0, 0.1)
    """
    if estimate.shape != truth.shape or (valid is not None and valid.shape != truth.shape):
        shapes = [tuple(x.shape) for x in (estimate, truth, valid) if x is not None]
        raise InputError(f"estimate: expected the shape of truth and valid, got {shapes}")
    wanted = torch.isfinite(truth) & (truth > 0)
    wanted = wanted if valid is None else wanted & valid
    if not bool(wanted.any()):
        raise InputError("truth: expected finite, positive depth in a valid pixel, got none")
    given = wanted & torch.isfinite(estimate) & (estimate > 0)
    if not bool(given.any()):
        raise InputError("estimate: expected positive depth in some valid pixel, got none")
    found, true = estimate[given].double(), truth[given].double()
    factor = _scale(found, true, scale)
    found = factor * found
    return DepthErrors(
        abs_rel=float(((found - true).abs() / true).mean()),
        delta=float((torch.maximum(found / true, true / found) < DELTA).double().mean()),
        scale=factor,
        coverage=float(given.sum() / wanted.sum()),
    )


def _scale(found: Tensor, true: Tensor, scale: Scale) -> float:
    if scale == "median":
        return float(true.median() / found.median())
    if scale == "least-squares":
        return float((found * true).sum() / found.square().sum())
    if scale == "none":
        return 1.0
    raise InputError(f"scale: expected 'median', 'least-squares' or 'none', got {scale!r}")


def constant_depth(truth: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h w"]:
    """Return the baseline that sees a wall: the same depth everywhere.

    Example:
        >>> constant_depth(torch.tensor([[2.0, 3.0]]))
        tensor([[1., 1.]])
    """
    return torch.ones_like(truth)

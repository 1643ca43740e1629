"""Confidence-weighted regression of the pointmaps of image pairs.

Source: DUSt3R equations 2 to 4; JOG3R equation 2. Both views of a pair are supervised. Numbers
checked against parity/dust3r_loss.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SMALLEST_SCALE = 1e-8
"""Normalisation never divides by less."""


def pointmap_regression(
    *,
    points_1: Float[Tensor, "p h w 3"],
    points_2: Float[Tensor, "p h w 3"],
    confidence_1: Float[Tensor, "p h w"],
    confidence_2: Float[Tensor, "p h w"],
    target_points_1: Float[Tensor, "p h w 3"],
    target_points_2: Float[Tensor, "p h w 3"],
    valid_1: Bool[Tensor, "p h w"],
    valid_2: Bool[Tensor, "p h w"],
    alpha: float = 0.2,
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """Compare predicted pointmaps with true ones, up to one scale per pair.

    For every valid pixel, confidence * distance - alpha * log(confidence), where prediction and
    target are each divided by the mean distance from the origin of all valid points of the pair.
    Averaged over all valid pixels of the batch for each view; the two views are added. Pairs
    without a valid pixel do not count; a batch without any gives 0.

    Args:
        points_1: predicted points of view 1.
        points_2: predicted points of view 2, also in the frame of camera 1.
        confidence_1: predicted, at least 1.
        confidence_2: predicted, at least 1.
        target_points_1: true points, in the frame of camera 1; may be NaN where not valid.
        target_points_2: true points, in the frame of camera 1.
        valid_1: pixels of view 1 with a true point.
        valid_2: pixels of view 2 with a true point.
        alpha: reward of high confidence.

    Returns:
        The loss, and details for the log, without gradient: `distance` (mean normalised distance
        over the valid pixels of both views), `confidence` (its mean there), `scale` (mean over
        the pairs that count of predicted / true mean distance) and `valid` (share of pixels).
    """
    with torch.autocast(points_1.device.type, enabled=False):
        valid = torch.stack([valid_1, valid_2])
        predicted = _masked(points_1, points_2, valid)
        target = _masked(target_points_1, target_points_2, valid)
        predicted_scale, target_scale = (
            _mean_distance(predicted, valid),
            _mean_distance(target, valid),
        )
        difference = predicted / _spread(predicted_scale) - target / _spread(target_scale)
        distance = torch.linalg.vector_norm(difference, dim=-1)
        confidence = torch.stack([confidence_1, confidence_2]).to(distance.dtype)
        confidence = torch.where(valid, confidence, 1.0)

        # Where nothing is valid, distance and log confidence are zero and add nothing.
        per_pixel = confidence * distance - alpha * confidence.log()
        count = valid.sum(dim=(1, 2, 3)).clamp(min=1)
        loss = (per_pixel.sum(dim=(1, 2, 3)) / count).sum()
        with torch.no_grad():
            pairs = valid.any(dim=0).flatten(1).any(dim=1)
            pixels = valid.sum().clamp(min=1)
            ratio = torch.where(pairs, predicted_scale / target_scale, 0.0)
            details = {
                "distance": distance.sum() / pixels,
                "confidence": (confidence * valid).sum() / pixels,
                "scale": ratio.sum() / pairs.sum().clamp(min=1),
                "valid": valid.to(distance.dtype).mean(),
            }
    return loss, details


def _masked(points_1: Tensor, points_2: Tensor, valid: Tensor) -> Tensor:
    points = torch.stack([points_1, points_2])
    points = points if points.dtype == torch.float64 else points.float()
    # Not a product: what is masked may be NaN or infinite.
    return torch.where(valid[..., None], points, 0.0)


def _mean_distance(points: Tensor, valid: Tensor) -> Tensor:
    """Return per pair the mean distance to the origin of the valid points of both views."""
    distance = torch.linalg.vector_norm(points, dim=-1).sum(dim=(0, 2, 3))
    return (distance / valid.sum(dim=(0, 2, 3)).clamp(min=1)).clamp(min=SMALLEST_SCALE)


def _spread(scale: Tensor) -> Tensor:
    return scale[None, :, None, None, None]

"""Confidence-weighted regression of the pointmaps of image pairs.

Source: DUSt3R equations 2 to 4; JOG3R equation 2. Both views of a pair are supervised. Numbers
checked against parity/dust3r_loss, which also fixes what the other normalisations are.
"""

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.errors import InputError

NormMode = Literal["avg_dis", "avg_log1p", "median_dis", "none"]
"""What the points of a pair are divided by: the mean of their distances from the origin, of the
log1p of these, their median, or nothing."""

Invariance = Literal["shift", "scale", "scale-shift"]
"""What a prediction may miss at no cost: where the depths' median lies, how far points spread
around their median, or both."""

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
    norm_mode: NormMode = "avg_dis",
    gt_scale: bool = False,
    invariance: Invariance | None = None,
    pixels: Float[Tensor, " 2"] | None = None,
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """Compare predicted pointmaps with true ones, up to one scale per pair.

    For every valid pixel, confidence * distance - alpha * log(confidence), where prediction and
    target are each divided by the mean distance from the origin of all valid points of the pair,
    or what else `norm_mode` says. Without confidences, that is with all of them 1, it is the plain
    regression. Averaged over all valid pixels of the batch for each view; the two views are added.
    Pairs without a valid pixel do not count; a batch without any gives 0.

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
        norm_mode: see `NormMode`.
        gt_scale: leave the target as it is; a scale-invariant prediction takes on its scale.
        invariance: see `Invariance`; it acts on the normalised points.
        pixels: what the sums over the valid pixels of each view are divided by, above 0; None for
            their number. Where several processes share a batch, their mean number makes the mean
            of their losses the loss of the whole batch.

    Returns:
        The loss, and details for the log, without gradient: `distance` (mean normalised distance
        over the valid pixels of both views), `confidence` (its mean there), `scale` (mean over
        the pairs that count of predicted / true mean distance, or what the norm mode takes),
        `valid` (share of pixels), and of each view its part of the loss, `loss_1` and `loss_2`,
        and its mean distance, `distance_1` and `distance_2`.

    Raises:
        InputError: an unknown mode, or gt_scale where nothing is scaled.
    """
    _check(norm_mode, gt_scale, invariance)
    with torch.autocast(points_1.device.type, enabled=False):
        valid = torch.stack([valid_1, valid_2])
        predicted = _masked(points_1, points_2, valid)
        target = _masked(target_points_1, target_points_2, valid)
        scales = tuple(scale_of_pairs(each, valid, norm_mode) for each in (predicted, target))
        predicted = predicted / _spread(scales[0])
        target = target if gt_scale else target / _spread(scales[1])
        if invariance in ("shift", "scale-shift"):
            predicted, target = _without_shift(predicted, valid), _without_shift(target, valid)
        if invariance in ("scale", "scale-shift"):
            predicted, target = _at_one_scale(predicted, target, valid, gt_scale)
        difference = predicted - target
        distance = torch.linalg.vector_norm(difference, dim=-1)
        confidence = torch.stack([confidence_1, confidence_2]).to(distance.dtype)
        confidence = torch.where(valid, confidence, 1.0)

        # Where nothing is valid, distance and log confidence are zero and add nothing.
        per_pixel = confidence * distance - alpha * confidence.log()
        count = valid.sum(dim=(1, 2, 3)).clamp(min=1) if pixels is None else pixels
        per_view = per_pixel.sum(dim=(1, 2, 3)) / count
        loss = per_view.sum()
        with torch.no_grad():
            details = _details(distance, confidence, valid, scales[0] / scales[1], count)
            details |= {"loss_1": per_view[0].clone(), "loss_2": per_view[1].clone()}
    return loss, details


def _details(
    distance: Tensor, confidence: Tensor, valid: Tensor, ratio: Tensor, count: Tensor
) -> dict[str, Tensor]:
    """Average over what is valid, for the log."""
    pairs = valid.any(dim=0).flatten(1).any(dim=1)
    pixels = count.sum()
    of_views = distance.sum(dim=(1, 2, 3)) / count
    return {
        "distance": distance.sum() / pixels,
        "distance_1": of_views[0],
        "distance_2": of_views[1],
        "confidence": (confidence * valid).sum() / pixels,
        "scale": torch.where(pairs, ratio, 0.0).sum() / pairs.sum().clamp(min=1),
        "valid": valid.to(distance.dtype).mean(),
    }


def _masked(points_1: Tensor, points_2: Tensor, valid: Tensor) -> Tensor:
    points = torch.stack([points_1, points_2])
    points = points if points.dtype == torch.float64 else points.float()
    # Not a product: what is masked may be NaN or infinite.
    return torch.where(valid[..., None], points, 0.0)


def scale_of_pairs(
    points: Float[Tensor, "2 p h w 3"],
    valid: Bool[Tensor, "2 p h w"],
    norm_mode: NormMode = "avg_dis",
) -> Float[Tensor, " p"]:
    """Return what the points of each pair, both views together, are divided by.

    Args:
        points: zero where not valid.
        valid: pixels that count.
        norm_mode: see `NormMode`. An even number of values has the lower one as its median.
    """
    if norm_mode == "none":
        return points.new_ones(points.shape[1])
    distance = torch.linalg.vector_norm(points, dim=-1)
    if norm_mode == "median_dis":
        return _median(distance[..., None], valid)[:, 0].clamp(min=SMALLEST_SCALE)
    distance = distance.log1p() if norm_mode == "avg_log1p" else distance
    count = valid.sum(dim=(0, 2, 3)).clamp(min=1)
    return (distance.sum(dim=(0, 2, 3)) / count).clamp(min=SMALLEST_SCALE)


def _check(norm_mode: str, gt_scale: bool, invariance: str | None) -> None:
    if norm_mode not in get_args(NormMode):
        raise InputError(f"norm_mode: expected one of {get_args(NormMode)}, got {norm_mode!r}")
    if invariance is not None and invariance not in get_args(Invariance):
        raise InputError(
            f"invariance: expected None or one of {get_args(Invariance)}, got {invariance!r}"
        )
    if gt_scale and norm_mode == "none" and invariance in (None, "shift"):
        raise InputError("gt_scale: expected False where nothing is scaled, got norm_mode 'none'")


def _median(values: Tensor, valid: Tensor) -> Tensor:
    """Return per pair the median `(P, C)` of values `(2, P, H, W, C)` of both views."""
    values = torch.where(valid[..., None], values, torch.nan).transpose(0, 1).flatten(1, 3)
    return values.nanmedian(dim=1).values.nan_to_num(nan=0.0)  # nothing valid: nothing counts


def _without_shift(points: Tensor, valid: Tensor) -> Tensor:
    """Move the median of the depths to zero."""
    depth = _median(points[..., 2:], valid)
    shift = torch.nn.functional.pad(depth, (2, 0))  # (P, 3), along z only
    return torch.where(valid[..., None], points - shift[:, None, None], 0.0)


def _at_one_scale(
    predicted: Tensor, target: Tensor, valid: Tensor, gt_scale: bool
) -> tuple[Tensor, Tensor]:
    """Divide by the median distance from the median point, or bring to the target's."""
    of_predicted, of_target = (_median_spread(points, valid) for points in (predicted, target))
    if gt_scale:
        return predicted * _spread(of_target / of_predicted), target
    return predicted / _spread(of_predicted), target / _spread(of_target)


def _median_spread(points: Tensor, valid: Tensor) -> Tensor:
    offset = points - _median(points, valid)[:, None, None]
    distance = torch.linalg.vector_norm(offset, dim=-1, keepdim=True)
    return _median(distance, valid)[:, 0].clamp(min=SMALLEST_SCALE)


def _spread(scale: Tensor) -> Tensor:
    return scale[None, :, None, None, None]

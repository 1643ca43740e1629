"""One row of camera numbers, the same in every table."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jog3r.metrics.relative_pose import RelativePoseErrors

RULE = (
    "relative poses of all pairs i < j, so nothing is aligned; directions are signed unless marked"
    " +-; pairs pooled over clips; se: over clips; a baseline without motion has no direction and"
    " counts as wrong"
)


def pose_row(clips: Sequence[RelativePoseErrors]) -> dict[str, float]:
    """Summarise clips.

    Returns:
        Accuracies and `directed_%`, the share of pairs whose true baseline has a direction [%];
        median errors over pairs [deg].
    """
    pairs = RelativePoseErrors.pooled(clips)
    percent = {
        "RRA@5_%": pairs.rra(5),
        "RRA@15_%": pairs.rra(15),
        "RTA@5_%": pairs.rta(5),
        "RTA@15_%": pairs.rta(15),
        "RTA@5+-_%": pairs.rta(5, sign_blind=True),
        "RTA@15+-_%": pairs.rta(15, sign_blind=True),
        "AUC@30_%": pairs.auc(),
        "AUC@30_se": mean_and_error([clip.auc() for clip in clips])[1],
        "AUC@30+-_%": pairs.auc(sign_blind=True),
        "directed_%": pairs.coverage,
    }
    degrees = {
        "rotation_median_deg": float(pairs.rotation_deg.median()),
        "direction_median_deg": _median(pairs.direction_deg[pairs.has_direction]),
    }
    return {name: 100 * value for name, value in percent.items()} | degrees


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of the values that are numbers, and its standard error (nan for one)."""
    numbers = [value for value in values if not math.isnan(value)]
    if not numbers:
        return math.nan, math.nan
    mean = sum(numbers) / len(numbers)
    if len(numbers) < 2:
        return mean, math.nan
    variance = sum((value - mean) ** 2 for value in numbers) / (len(numbers) - 1)
    return mean, math.sqrt(variance / len(numbers))


def _median(values: Tensor) -> float:
    return float(values.median()) if len(values) else math.nan


def angle_deg(a: Tensor, b: Tensor) -> Tensor:
    """Angle between vectors along the last dimension, nan where one of them is zero [deg]."""
    cross = torch.linalg.cross(a, b.expand_as(a)).norm(dim=-1)
    angle = torch.atan2(cross, (a * b).sum(dim=-1)).rad2deg()
    return angle.where((a.norm(dim=-1) > 0) & (b.norm(dim=-1) > 0), torch.nan)

"""One depth map per frame from all its pointmaps, at full size."""

import torch
from torch import Tensor

from jog3r.alignment.pairs import PairPointmaps
from jog3r.alignment.robust import cauchy_weight
from jog3r.alignment.unknowns import Cameras

ROUNDS = 1
"""Times that depths which disagree with the others are given less weight."""


def fuse(
    pairs: PairPointmaps, cameras: Cameras, masks: Tensor | None, noise: float
) -> tuple[Tensor, Tensor]:
    """Return depth and confidence of every frame, (T, h, w).

    A pixel's depth is the robust geometric mean of those that the frame's pointmaps give, weighted
    by confidence - 1 and equally where none is confident; 0 where none lies in front of its camera.
    Its confidence is the mean of theirs.

    Args:
        pairs: at full size.
        cameras: found.
        masks: (T, h, w), True = use; a masked pixel has the plain mean depth.
        noise: relative standard deviation of a depth.
    """
    first, second = pairs.pairs.unbind(dim=1)
    scale = cameras.log_scale.exp().float()
    rotation, shift = (part.float() for part in cameras.other_from_own(pairs.pairs))
    other = pairs.points_j.float().flatten(1, 2) @ rotation[:, 2, :, None]
    other = (other[..., 0] + shift[:, 2:]) * scale[:, None]
    own = pairs.points_i[..., 2].float().flatten(1) * scale[:, None]
    depths, confidences = [], []
    for frame in range(cameras.position.shape[0]):
        i, j = (torch.nonzero(side == frame).flatten() for side in (first, second))
        depth = torch.cat([own[i], other[j]])
        confidence = torch.cat([pairs.confidence_i[i], pairs.confidence_j[j]]).float().flatten(1)
        weight = confidence - 1.0
        if masks is not None:
            weight = weight * masks[frame].flatten()
        depths.append(_mean(depth, weight, noise).unflatten(0, pairs.size))
        confidences.append(confidence.mean(dim=0).unflatten(0, pairs.size))
    return torch.stack(depths), torch.stack(confidences)


def _mean(depth: Tensor, weight: Tensor, noise: float) -> Tensor:
    """Return the mean (N) of depths (M, N)."""
    if len(depth) == 1:
        return depth[0].clamp(min=0)
    front = depth > 0
    weight = torch.where(weight.sum(dim=0) > 0, weight, 1.0) * front
    total = weight.sum(dim=0)
    log_depth = torch.where(front, depth, 1.0).log()
    mean = (weight * log_depth).sum(dim=0) / total.clamp(min=1e-30)
    for _ in range(ROUNDS if len(depth) > 2 else 0):
        robust = weight * cauchy_weight((log_depth - mean).square(), noise)
        mean = (robust * log_depth).sum(dim=0) / robust.sum(dim=0).clamp(min=1e-30)
    return torch.where(total > 0, mean.exp(), 0.0)

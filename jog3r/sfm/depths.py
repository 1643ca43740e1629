"""Depth of frames from the points of a sparse model: dense maps rescaled, or the points alone."""

import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.sfm.sparse import SparseModel

MIN_FRAME_POINTS = 5
"""A frame with fewer points on its depth map takes the factor that is typical of the video."""


def depth_factors(model: SparseModel, depth: Float[Tensor, "t h w"]) -> Float[Tensor, " t"] | None:
    """Return what brings each frame's depth map to the model's cameras: one factor per frame.

    A factor is the median ratio of the points' depth to the map's at the pixels that see them.

    Args:
        model: at its own scale.
        depth: 0 = no value.

    Returns:
        None if no point of any frame meets a depth.
    """
    ratio = torch.full((len(model.frame),), torch.nan, dtype=torch.float64)
    row, column = pixel_of(model, depth.shape[1:])
    seen = depth[model.frame, row, column].double()
    usable = (seen > 0) & (model.depth > 0)
    ratio[usable] = model.depth[usable] / seen[usable]
    factors = [_median(ratio[usable & (model.frame == t)]) for t in range(len(depth))]
    found = torch.tensor(factors, dtype=torch.float64)
    typical = found[found > 0]
    if not len(typical):
        return None
    return torch.where(found > 0, found, typical.median())


def _median(ratio: Tensor) -> float:
    return float(ratio.median()) if len(ratio) >= MIN_FRAME_POINTS else 0.0


def sparse_depth(
    model: SparseModel, size: tuple[int, int]
) -> tuple[Float[Tensor, "t h w"], Float[Tensor, "t h w"]]:
    """Return depth and confidence at the pixels that see a point; 0 and 1 elsewhere.

    Confidence is 1 + (track length - 1) / (1 + error [px]): points that many frames see, and see
    exactly, are surer. Where two points share a pixel, the surer one stands.
    """
    frames = len(model.registered)
    depth, confidence = torch.zeros(frames, *size), torch.ones(frames, *size)
    sure = (1 + (model.track_length - 1) / (1 + model.error))[model.point]
    row, column = pixel_of(model, size)
    place = (model.frame * size[0] + row) * size[1] + column
    order = torch.argsort(sure, descending=True, stable=True)
    order = order[model.depth[order] > 0]
    # Stable sorts: the surest of each place comes first in its group.
    order = order[torch.argsort(place[order], stable=True)]
    _, count = place[order].unique_consecutive(return_counts=True)
    order = order[count.cumsum(0) - count]
    depth.view(-1)[place[order]] = model.depth[order].float()
    confidence.view(-1)[place[order]] = sure[order].float()
    return depth, confidence


def pixel_of(model: SparseModel, size: torch.Size | tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return row and column of the pixel that each observation lies in."""
    column, row = model.pixel.floor().long().unbind(dim=1)
    return row.clamp(0, size[0] - 1), column.clamp(0, size[1] - 1)

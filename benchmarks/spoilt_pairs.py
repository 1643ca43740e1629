"""Pairwise pointmaps of true depth and cameras, spoilt as a network spoils them.

Per frame an error that all its pairs share, per pointmap one of its own, half of both varying over
a sixth of the image; each whole second pointmap turned and shifted a little; free scales;
outliers, most of which look unsure. Confidence falls with the local noise.
"""

from dataclasses import dataclass

import roma
import torch
from torch import Tensor
from torch.nn import functional as F

from jog3r.alignment import PairPointmaps
from jog3r.geometry import invert, transform_points, unproject

COMMON, ACROSS, UNSURE = 0.7, 0.3, 0.67
SHIFT_PER_DEGREE = 0.025  # of the median distance
OUTLIERS, OUTLIER_NOISE = 0.05, 10.0
SKY = 10.0  # median depths; nothing is known there


@dataclass(frozen=True)
class Truth:
    """Depth `(T, h, w)`, 0 where there is none, K and world_from_camera of a clip."""

    depth: Tensor
    K: Tensor
    world_from_camera: Tensor


def spoilt_pairs(truth: Truth, graph: Tensor, noise: float, seed: int) -> PairPointmaps:
    """Return the pairs of a graph; `noise` is relative to the distance, along the ray.

    Each second pointmap is turned by 10 * noise degrees per axis.
    """
    generator = torch.Generator().manual_seed(seed)
    seen = truth.depth > 0
    depth = torch.where(seen, truth.depth, SKY * truth.depth[seen].median())
    exact, level = unproject(depth, truth.K), _level(depth, noise, generator)
    shared = COMMON * _errors(exact, level, generator)
    first, second = graph.unbind(dim=1)
    points_i, confidence_i = _side(first, exact, shared, level, seen, generator)
    points_j, confidence_j = _side(second, exact, shared, level, seen, generator)
    i_from_j = invert(truth.world_from_camera)[first] @ truth.world_from_camera[second]
    points_j = _jolted(transform_points(i_from_j, points_j), 10 * noise, generator)
    scale = torch.exp(0.25 * torch.randn(len(graph), 1, 1, 1, generator=generator))
    return PairPointmaps(graph, scale * points_i, scale * points_j, confidence_i, confidence_j)


def _level(depth: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    return noise * torch.exp(0.5 * _slow(depth.shape, 1, generator)[..., 0])


def _side(
    frame: Tensor,
    exact: Tensor,
    shared: Tensor,
    level: Tensor,
    seen: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    own = (1 - COMMON**2) ** 0.5 * _errors(exact[frame], level[frame], generator)
    points = exact[frame] + shared[frame] + own
    wild = torch.rand(points.shape[:-1], generator=generator) < OUTLIERS
    wrong = exact[frame] + _errors(exact[frame], OUTLIER_NOISE * level[frame], generator)
    confidence = 1 + 0.1 / level[frame]
    unsure = wild & (torch.rand(wild.shape, generator=generator) < UNSURE)
    confidence = torch.where(unsure, 1 + 0.1 * (confidence - 1), confidence)
    confidence = torch.where(seen[frame], confidence, 1.0)
    return torch.where(wild[..., None], wrong, points), confidence


def _errors(points: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
    white = torch.randn((*points.shape[:-1], 4), generator=generator)
    draw = level[..., None] * (white + _slow(points.shape[:-1], 4, generator)) / 2**0.5
    distance = points.norm(dim=-1, keepdim=True)
    return points * (draw[..., :1].exp() - 1) + ACROSS * distance * draw[..., 1:]


def _slow(shape: torch.Size, channels: int, generator: torch.Generator) -> Tensor:
    coarse = torch.randn(shape[0], channels, 6, 6, generator=generator)
    fine = F.interpolate(coarse, size=shape[1:], mode="bicubic", align_corners=True)
    return (fine / fine.std()).movedim(1, -1)


def _jolted(points: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    count = len(points)
    vector = torch.randn(count, 3, generator=generator) * degrees * torch.pi / 180
    flat = points.flatten(1, 2)
    centre, distance = (
        flat.median(dim=1, keepdim=True).values,
        flat.norm(dim=-1).median(dim=1).values,
    )
    move = (
        SHIFT_PER_DEGREE * degrees * distance[:, None] * torch.randn(count, 3, generator=generator)
    )
    turned = (flat - centre) @ roma.rotvec_to_rotmat(vector).mT + centre + move[:, None]
    return turned.view_as(points)

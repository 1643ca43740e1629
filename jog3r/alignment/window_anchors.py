"""Cameras that are known: where they put a window in the world of the known cameras."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from jog3r.alignment.pose_graph import Edge
from jog3r.alignment.similarities import compose, identity, nearest_rotation
from jog3r.alignment.stitching import Views
from jog3r.geometry import Similarity, relative

CERTAIN = 1e4
"""One over the standard deviation of where known cameras put a window: far surer than a stitch."""
POSITION_NOISE = 0.02
"""Standard deviation of a window's positions, in typical depths: known cameras that are not far
apart compared with it say little about the window's scale."""
MIN_PATH = 1e-3
"""Smallest extent of known positions, in typical depths, that says anything about the scale."""
HELD_SPAN = 0.5
"""Share of a window that its known cameras have to span to be held while it is aligned."""


def holds(known: Mapping[int, Tensor], frames: int) -> bool:
    """Say whether the known cameras of a window are to be held while it is aligned.

    Held cameras give the window its scale. Two that are close to each other would give it a wrong
    one: they are better fitted afterwards, when its neighbours have a say in the scale.

    Args:
        known: by number within the window.
        frames: of the window.
    """
    return len(known) > 1 and max(known) - min(known) >= HELD_SPAN * (frames - 1)


def anchor(k: int, views: Views, known: Mapping[int, Tensor]) -> Edge | None:
    """Return where known cameras put window k, None where the window has none.

    Args:
        k: number of the window.
        views: its frames.
        known: world_from_camera (4, 4) by number within the window.
    """
    if not known:
        return None
    length, weights = views.typical_depth(), torch.full((7,), CERTAIN, dtype=torch.float64)
    solved, wanted = views.world_from_camera[list(known)], torch.stack([*known.values()]).double()
    if not holds(known, len(views.depth)):
        weights[6] = _extent(solved, length) / POSITION_NOISE
    return Edge(None, k, _fit(solved, wanted, length), length, weights)


def first_window(length: float) -> Edge:
    """Return the anchor of a video without known cameras: its first window is the world."""
    return Edge(None, 0, identity(), length, torch.full((7,), CERTAIN, dtype=torch.float64))


def in_given_world(
    placed: Similarity, path: Tensor, known: Mapping[int, Tensor], length: float
) -> Similarity:
    """Move a chain of windows as a whole to where all known cameras put it.

    Args:
        placed: world_from_window, batched.
        path: world_from_camera of all frames of the chain.
        known: by number of the frame.
        length: typical depth in the chain.
    """
    wanted = torch.stack([*known.values()]).double()
    return compose(_fit(path[list(known)], wanted, length), placed)


def say_scale(path: Tensor, known: Sequence[int], length: float) -> bool:
    """Say whether known cameras are far enough apart to tell the unit of length."""
    return len(known) > 1 and _extent(path[list(known)], length) > 0


def centred(views: Views, known: Mapping[int, Tensor]) -> Views:
    """Make the first known camera of a window its world.

    A window with a single known camera may then still take any scale without moving that camera.
    """
    if not known:
        return views
    world_from_camera = views.world_from_camera
    origin = world_from_camera[min(known)].expand_as(world_from_camera)
    return replace(views, world_from_camera=relative(origin, world_from_camera))


def _extent(cameras: Tensor, length: float) -> float:
    """Return the spread of positions in typical depths, 0 where they tell no scale."""
    positions = cameras[:, :3, 3]
    extent = float((positions - positions.mean(dim=0)).square().sum(dim=1).mean().sqrt()) / length
    return extent if extent > MIN_PATH else 0.0


def _fit(solved: Tensor, wanted: Tensor, length: float) -> Similarity:
    """Fit a similarity to cameras (n, 4, 4): the mean of the turns, the scale of the positions."""
    turns = wanted[:, :3, :3] @ solved[:, :3, :3].transpose(1, 2)
    rotation = nearest_rotation(turns.sum(dim=0))
    source, target = solved[:, :3, 3] @ rotation.T, wanted[:, :3, 3]
    away, meant = source - source.mean(dim=0), target - target.mean(dim=0)
    scale = torch.ones((), dtype=torch.float64)
    # The solved positions are the noisy ones: to divide by their extent would lessen the scale.
    along = (away * meant).sum()
    if _extent(solved, length) > 0 and float(along) > 0:
        scale = meant.square().sum() / along
    return Similarity(rotation, target.mean(dim=0) - scale * source.mean(dim=0), scale)

"""Cameras that are known: where they put a window in the world of the known cameras."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from jog3r.alignment.pose_graph import Edge
from jog3r.alignment.similarities import compose, identity, inverse, member, nearest_rotation
from jog3r.alignment.stitching import Views
from jog3r.geometry import Similarity, relative

CERTAIN = 1e4
"""One over the standard deviation of what known cameras say: far surer than any stitch."""
MIN_PATH = 1e-3
"""Smallest extent of the known positions, relative to the typical depth, that tells a scale."""


def anchor(k: int, views: Views, known: Mapping[int, Tensor]) -> Edge | None:
    """Return where known cameras put window k, None where the window has none.

    The turn is the mean of the cameras' turns, the scale that of their positions about the mean
    position; the scale of a window with a single known camera, or with all in one place, is left
    to its neighbours.

    Args:
        k: number of the window.
        views: its frames.
        known: world_from_camera (4, 4) by number within the window.
    """
    if not known:
        return None
    length = views.typical_depth()
    solved = views.world_from_camera[list(known)]
    wanted = torch.stack([camera.double() for camera in known.values()])
    turns = wanted[:, :3, :3] @ solved[:, :3, :3].transpose(1, 2)
    rotation = nearest_rotation(turns.sum(dim=0))
    source, target = solved[:, :3, 3] @ rotation.T, wanted[:, :3, 3]
    centre, aim = source.mean(dim=0), target.mean(dim=0)
    away, meant = source - centre, target - aim
    spread = float(away.square().sum(dim=1).mean().sqrt())
    weights = torch.full((7,), CERTAIN, dtype=torch.float64)
    scale = torch.ones((), dtype=torch.float64)
    if spread > MIN_PATH * length:
        scale = (away * meant).sum() / away.square().sum()
    if spread <= MIN_PATH * length or float(scale) <= 0:
        scale, weights[6] = torch.ones_like(scale), 0.0
    return Edge(None, k, Similarity(rotation, aim - scale * centre, scale), length, weights)


def first_window(length: float) -> Edge:
    """Return the anchor of a video without known cameras: its first window is the world."""
    return Edge(None, 0, identity(), length, torch.full((7,), CERTAIN, dtype=torch.float64))


def in_given_world(placed: Similarity, anchors: list[Edge]) -> Similarity:
    """Move a chain of windows as a whole to where its first anchor, best with a scale, puts it."""
    best = max(anchors, key=lambda edge: (float(edge.weights[6]), -edge.b))
    there = member(placed, best.b)
    aim = best.a_from_b
    if float(best.weights[6]) == 0:  # the chain's own unit of length stays
        aim = Similarity(aim.rotation, aim.translation, there.scale)
    return compose(compose(aim, inverse(there)), placed)


def centred(views: Views, known: Mapping[int, Tensor]) -> Views:
    """Make the first known camera of a window its world.

    A window with a single known camera may then still take any scale without moving that camera.
    """
    if not known:
        return views
    world_from_camera = views.world_from_camera
    origin = world_from_camera[min(known)].expand_as(world_from_camera)
    return replace(views, world_from_camera=relative(origin, world_from_camera))

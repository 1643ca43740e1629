"""Where a camera comes back: which frames may see the same place, and what their pointmaps say."""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from jog3r.alignment.pairs import PairPointmaps
from jog3r.alignment.similarities import compose, inverse, to_vector
from jog3r.alignment.stitching import Views, robust_fit
from jog3r.geometry import Similarity, invert, project, transform_points

GRID = 12
"""A keyframe is remembered by about GRID x GRID of its points: enough to tell what two share."""
MIN_SHARED = 0.3
"""Share of a keyframe's points that has to fall into the other's image, both ways."""
MAX_TURN_DEG = 60.0
"""Largest angle between the viewing directions; networks match little beyond it."""
NEAREST = 16
"""Keyframes that one is compared with: a camera that stands still is near all it ever was at."""
LOOPS_PER_WINDOW = 2
"""So the number of loops grows as the number of windows."""
AGREES = 0.1
"""Two pointmaps agree on a point if their depths differ by less than this share."""
MIN_AGREEMENT = 0.5
"""Share of the points seen by both that has to agree."""
MAX_CONTRADICTION = 0.1
"""Turn [rad], shift [typical depths] and logarithm of the scale by which what the two directions of
a pair say of the way between the cameras may differ."""


@dataclass(frozen=True)
class Keyframe:
    """What the loop check remembers of a frame, float64.

    Args:
        frame: its number.
        window: number of the window it belongs to.
        world_from_camera: (4, 4), as the chain of windows has it.
        K: (3, 3).
        size: (height, width) [px].
        points: (n, 3) in its camera.
    """

    frame: int
    window: int
    world_from_camera: Tensor
    K: Tensor
    size: tuple[int, int]
    points: Tensor

    @property
    def reach(self) -> float:
        """Median depth."""
        return float(self.points[:, 2].median())


def keyframe(frame: int, window: int, seen: Views) -> Keyframe:
    """Remember the one frame that `seen` holds."""
    points = seen.camera_points()[0]
    height, width = points.shape[:2]
    rows, columns = max(1, height // GRID), max(1, width // GRID)
    thin = points[rows // 2 :: rows, columns // 2 :: columns].reshape(-1, 3)
    thin = thin[thin[:, 2] > 0]
    return Keyframe(frame, window, seen.world_from_camera[0], seen.K[0], (height, width), thin)


def shared_views(keyframes: list[Keyframe]) -> list[tuple[Keyframe, Keyframe]]:
    """Return pairs of keyframes that should see the same place, the best of each pair of windows.

    Neighbouring windows are left out: they are joined already. The earlier keyframe comes first.
    """
    keyframes = [each for each in keyframes if len(each.points)]
    if not keyframes:
        return []
    poses = torch.stack([each.world_from_camera for each in keyframes])
    windows = torch.tensor([each.window for each in keyframes])
    best: dict[tuple[int, int], tuple[float, Keyframe, Keyframe]] = {}
    for k, late in enumerate(keyframes):
        apart = torch.nonzero(windows[:k] < late.window - 1).flatten()
        for early in (keyframes[int(apart[n])] for n in _near(poses[apart], poses[k], late.reach)):
            between = (early.window, late.window)
            shared = min(_share_seen(early, late), _share_seen(late, early))
            if shared >= max(MIN_SHARED, best.get(between, (0.0,))[0]):
                best[between] = (shared, early, late)
    return _few_each(list(best.values()))


def _near(poses: Tensor, pose: Tensor, reach: float) -> list[int]:
    """Name the poses closer than the typical depth that look about the same way, nearest first."""
    away = (poses[:, :3, 3] - pose[:3, 3]).norm(dim=1)
    cosine = poses[:, :3, 2] @ pose[:3, 2]
    limit = float(torch.tensor(MAX_TURN_DEG).deg2rad().cos())
    order = away.argsort()
    near = (away < reach) & (cosine > limit)
    return order[near[order]][:NEAREST].tolist()


def _share_seen(one: Keyframe, by: Keyframe) -> float:
    """Return the share of a keyframe's points that fall into another's image."""
    points = transform_points(invert(by.world_from_camera) @ one.world_from_camera, one.points)
    return float(_inside(points, by.K, by.size)[1].double().mean())


def _inside(points: Tensor, K: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the pixels (n, 2), [column, row], of points (n, 3), and which lie in the image."""
    height, width = size
    front = points[:, 2] > 0
    pixel, _ = project(torch.where(front[:, None], points, 1.0), K)
    inside = (pixel >= 0) & (pixel < pixel.new_tensor([width, height]))
    return pixel.floor().long(), front & inside.all(dim=1)


def _few_each(
    found: list[tuple[float, Keyframe, Keyframe]],
) -> list[tuple[Keyframe, Keyframe]]:
    kept, count = [], Counter[int]()
    for _, early, late in sorted(found, key=lambda each: -each[0]):
        if max(count[early.window], count[late.window]) < LOOPS_PER_WINDOW:
            count.update((early.window, late.window))
            kept.append((early, late))
    return sorted(kept, key=lambda each: (each[0].frame, each[1].frame))


def is_same_place(pairs: PairPointmaps, K: Tensor) -> bool:
    """Say whether pointmaps of two frames, both ways, bear out that these see the same place.

    In both directions most points seen by both frames have to agree, and both directions have to
    lead to the same way from one camera to the other: a network that is asked about two places
    answers too, but not twice the same.

    Args:
        pairs: (0, 1) and (1, 0).
        K: intrinsics of both frames (2, 3, 3).
    """
    own, other = pairs.points_i.double().cpu(), pairs.points_j.double().cpu()
    sure_own = pairs.confidence_i.double().cpu() - 1
    sure_other = pairs.confidence_j.double().cpu() - 1
    if min(_agreement(own[e], other[e], sure_other[e], K[e]) for e in (0, 1)) < MIN_AGREEMENT:
        return False
    # The same surface, seen by one frame, in the camera of either.
    by_late = _fit(own[1], other[0], torch.minimum(sure_own[1], sure_other[0]))
    by_early = _fit(other[1], own[0], torch.minimum(sure_other[1], sure_own[0]))
    return _contradiction(by_late, by_early, float(own[1][..., 2].median())) < MAX_CONTRADICTION


def _agreement(own: Tensor, other: Tensor, sure: Tensor, K: Tensor) -> float:
    """Return the share of the other image's points, of those in view, that lie on one's own."""
    points = other.reshape(-1, 3)
    pixel, inside = _inside(points, K, (own.shape[0], own.shape[1]))
    inside &= sure.flatten() > 0
    if float(inside.double().mean()) < MIN_SHARED / 2:
        return 0.0
    column, row = pixel[inside].unbind(dim=1)
    surface = own[row, column, 2].clamp(min=1e-12)
    return float(((points[inside, 2] / surface).log().abs() < AGREES).double().mean())


def _fit(source: Tensor, target: Tensor, weights: Tensor) -> Similarity:
    distance = target.norm(dim=-1).clamp(min=1e-12)
    weights = (weights + 1e-9) / distance.square()
    similarity, _ = robust_fit(
        source.flatten(0, 1),
        target.flatten(0, 1),
        weights.flatten(),
        distance.flatten(),
        torch.ones_like(weights).flatten(),
    )
    return similarity


def _contradiction(one: Similarity, two: Similarity, reach: float) -> float:
    """Return the largest of turn [rad], shift [`reach`] and log scale between two similarities."""
    change = to_vector(compose(inverse(one), two))
    return max(float(change[:3].norm()), float(change[3:6].norm()) / reach, float(change[6].abs()))

"""The similarity between two alignments of the same frames, from their points and cameras."""

from dataclasses import dataclass

import torch
from torch import Tensor

from jog3r.errors import AlignmentError
from jog3r.geometry import Similarity, fit_similarity, pointmap_from_depth, unproject

SAMPLES = 4096
"""Pixels per frame that take part, on a regular grid: more lower the error no further."""
MIN_PIXELS = 16
"""Fewest common confident pixels: fewer could not tell a similarity from noise."""
ROUNDS = 6
CUT = 3.0
"""Errors above this many times the typical one count less."""
AGREES = 0.1
"""Points agree if they lie within this share of their distance from the camera."""
CAMERA_SHARE = 0.5
"""Weight of all cameras together, relative to all points together."""


@dataclass(frozen=True)
class Views:
    """Some frames as one alignment sees them, float64.

    Args:
        world_from_camera: (n, 4, 4).
        K: (n, 3, 3).
        depth: (n, h, w), 0 = no value.
        weights: (n, h, w), confidence - 1; 0 = nothing known.
    """

    world_from_camera: Tensor
    K: Tensor
    depth: Tensor
    weights: Tensor

    def __getitem__(self, frames: slice) -> "Views":
        return Views(
            self.world_from_camera[frames],
            self.K[frames],
            self.depth[frames],
            self.weights[frames],
        )

    def camera_points(self) -> Tensor:
        """Return each frame's points in its own camera, (n, h, w, 3)."""
        return unproject(self.depth.double(), self.K)

    def points(self) -> Tensor:
        """Return the world points (n, h, w, 3)."""
        return pointmap_from_depth(self.depth.double(), self.K, self.world_from_camera)

    def typical_depth(self) -> float:
        """Return the median depth of what is known."""
        return float(self.depth[(self.depth > 0) & (self.weights > 0)].median())


@dataclass(frozen=True)
class Stitch:
    """How one alignment continues another.

    Args:
        a_from_b: moves the world of b into that of a.
        agreement: share of the confident pixels whose points then agree within `AGREES`.
        length: typical depth, in the unit of b.
    """

    a_from_b: Similarity
    agreement: float
    length: float


def stitch(a: Views, b: Views, names: str) -> Stitch:
    """Fit the similarity that moves the frames as b sees them onto those as a sees them.

    In closed form, repeated with less weight on what disagrees. Each pixel that both know is a pair
    of points, weighted by the confidence of the less confident over the squared distance, for that
    is how errors grow. Each camera is four more pairs, its centre and the ends of its axes at the
    typical depth: on a straight path the centres alone would leave the roll free.

    Args:
        a: the common frames.
        b: the same ones.
        names: of both, for the error text.

    Raises:
        AlignmentError: fewer than `MIN_PIXELS` pixels that both are confident of.
    """
    a, b = _thinned(a), _thinned(b)
    weights = torch.minimum(a.weights, b.weights).double()
    weights = torch.where((a.depth > 0) & (b.depth > 0), weights, 0.0)
    known = weights > 0
    if int(known.sum()) < MIN_PIXELS:
        raise AlignmentError(
            f"{names}: expected at least {MIN_PIXELS} pixels that both are confident of, got"
            f" {int(known.sum())}; take a larger overlap, or cut the video where nothing is common"
        )
    ratio = float((a.depth[known].double() / b.depth[known].double()).log().median().exp())
    reach = b.typical_depth()
    source = torch.cat([_frusta(b.world_from_camera, reach), b.points()[known]])
    target = torch.cat([_frusta(a.world_from_camera, ratio * reach), a.points()[known]])
    distance = torch.where(known, a.depth, 1.0).double()[known]
    weights = weights[known] / distance.square()
    cameras = 4 * len(a.depth)
    share = CAMERA_SHARE * weights.sum() / cameras
    weights = torch.cat([share.expand(cameras), weights])
    distance = torch.cat([distance.new_full((cameras,), ratio * reach), distance])
    # The cameras, at the middle ratio of depths, are a start that wild depths do not pull away.
    start = torch.cat([weights.new_ones(cameras), torch.zeros_like(weights[cameras:])])
    similarity, error = robust_fit(source, target, weights, distance, start)
    agreement = float((error[cameras:] < AGREES).double().mean())
    return Stitch(similarity, agreement, reach)


def robust_fit(
    source: Tensor, target: Tensor, weights: Tensor, distance: Tensor, trust: Tensor
) -> tuple[Similarity, Tensor]:
    """Fit a similarity to points (n, 3), with less weight on what disagrees.

    Args:
        source: points.
        target: where they should go.
        weights: of each.
        distance: what each error is divided by.
        trust: factors of the weights to begin with.

    Returns:
        The fit, and each point's error relative to its distance.
    """
    similarity = fit_similarity(source, target, trust * weights)
    for _ in range(ROUNDS):
        error = (similarity.points(source) - target).norm(dim=-1) / distance
        typical = error.median().clamp(min=1e-9)
        trust = 1 / (1 + (error / (CUT * typical)).square())
        similarity = fit_similarity(source, target, trust * weights)
    error = (similarity.points(source) - target).norm(dim=-1) / distance
    return similarity, error


def _thinned(views: Views) -> Views:
    """Keep about `SAMPLES` pixels of each frame; K goes along."""
    height, width = views.depth.shape[1:]
    stride = max(1, round((height * width / SAMPLES) ** 0.5))
    first = stride // 2
    K = views.K.clone()
    # Pixel (first + stride u) + 0.5 becomes u + 0.5.
    K[:, 0, 2] -= first + 0.5 - stride / 2
    K[:, 1, 2] -= first + 0.5 - stride / 2
    K[:, :2] /= stride
    return Views(
        views.world_from_camera,
        K,
        views.depth[:, first::stride, first::stride],
        views.weights[:, first::stride, first::stride],
    )


def _frusta(world_from_camera: Tensor, reach: float) -> Tensor:
    centre, axes = world_from_camera[:, :3, 3], world_from_camera[:, :3, :3].transpose(1, 2)
    return torch.cat([centre, (centre[:, None] + reach * axes).flatten(0, 1)])

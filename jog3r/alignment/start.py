"""Closed-form cameras: along the most confident spanning tree, pixel rays against points."""

from dataclasses import dataclass

import torch
from torch import Tensor

from jog3r.alignment.observations import Observations
from jog3r.alignment.resection import resect
from jog3r.alignment.robust import noise_level
from jog3r.alignment.unknowns import Cameras, FocalMode
from jog3r.geometry.pointmaps import check_focal, inverse_focal, weighted_median

ZOOMS = (0.5, 0.64, 0.8, 1.0, 1.25, 1.56, 1.95)
"""Focal lengths that are tried where a frame tells none of its own, relative to the others'."""


@dataclass(frozen=True)
class Branch:
    """A pair of the tree, walked from a frame that is known to a new one."""

    pair: int
    known: int
    new: int
    forward: bool
    """Whether the known frame is the pair's first."""


def closed_form(observed: Observations, focal: FocalMode) -> Cameras:
    """Return cameras to begin with; the first one is the world.

    1. Focal length from every pair's own pointmap, the confident ones counting more.
    2. The spanning tree of the most confident pairs; along it the pose of each new camera from its
       pixels and points.
    3. Scale of each pair of the tree from the depths of the frame that is known by then, and of all
       other pairs from those of their first frame.

    Raises:
        InputError: own pointmaps without a positive focal length.
    """
    inverse = _inverse_focals(observed, focal)
    tree = spanning_tree(observed)
    if focal == "each":
        inverse = _without_own(observed, tree, inverse)
    camera_j_from_i = _resected(observed, tree, inverse)
    rotation, position, log_scale = _walk(observed, tree, *camera_j_from_i)
    cameras = Cameras(rotation, position, inverse, log_scale)
    return cameras.scaled((-log_scale.mean()).exp())


def _inverse_focals(observed: Observations, focal: FocalMode) -> Tensor:
    """Return one inverse focal length per frame; frames that tell none take the others'."""
    ones = torch.ones_like(observed.offset[:, 0, 0])
    if focal == "known":
        return ones
    first = observed.pairs[:, 0]
    found, trust = focals(observed.points_own, observed.offset[first], observed.weights_own)
    best = trust.argmax()
    check_focal(found[best], observed.weights_own[best] * (observed.points_own[best, 2] > 0))
    log_found = torch.where(trust > 0, found, 1.0).log()
    middle = weighted_median(log_found, trust)
    if focal == "shared":
        return middle.exp() * ones
    total = torch.zeros_like(ones).index_add_(0, first, trust)
    own = torch.zeros_like(ones).index_add_(0, first, trust * log_found)
    return torch.where(total > 0, own / total.clamp(min=1e-300), middle).exp()


def focals(points: Tensor, offset: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inverse focal length of each pointmap, and its weight; 0 where it has none.

    Args:
        points: (E, 3, S) in the frame of the camera that sees them.
        offset: (E, 2, S) of their pixels.
        weights: (E, S).
    """
    front = points[:, 2] > 0
    weights = torch.where(front, weights, 0.0)
    tangent = points[:, :2] / torch.where(front, points[:, 2], 1.0)[:, None]
    found = inverse_focal(tangent.mT, offset.mT, weights)
    return found, torch.where(found > 0, weights.sum(dim=1), 0.0)


def _without_own(observed: Observations, tree: list[Branch], inverse: Tensor) -> Tensor:
    """Try focal lengths for frames without own pointmaps; the smallest error in pixels wins.

    Refinement alone could not find them: to zoom and to step back look much the same.
    """
    chosen = _pairs_of(tree, inverse)
    second = observed.pairs[chosen, 1]
    lonely = ~torch.isin(second, observed.pairs[:, 0])
    chosen, second = chosen[lonely], second[lonely]
    if not chosen.numel():
        return inverse
    errors = []
    for zoom in ZOOMS:
        rays = _rays(observed.offset[second], inverse[second] / zoom)
        found = resect(observed.points_other[chosen], rays, observed.weights_other[chosen])
        moved = found[:, :3, :3] @ observed.points_other[chosen] + found[:, :3, 3:]
        along = (rays * moved).sum(dim=1) / moved.square().sum(dim=1).sqrt().clamp(min=1e-300)
        error = torch.where(along > 0, (1 - along.square()).clamp(min=0).sqrt(), 1.0)
        errors.append(zoom * noise_level(error, observed.weights_other[chosen]))
    best = torch.stack(errors).argmin(dim=0)
    inverse = inverse.clone()
    inverse[second] /= inverse.new_tensor(ZOOMS)[best]
    return inverse


def _pairs_of(tree: list[Branch], like: Tensor) -> Tensor:
    return torch.tensor([branch.pair for branch in tree], device=like.device, dtype=torch.long)


def _rays(offset: Tensor, inverse: Tensor) -> Tensor:
    """Return unit rays (F, 3, S) through pixels (F, 2, S)."""
    tangent = inverse[:, None, None] * offset
    rays = torch.cat([tangent, torch.ones_like(tangent[:, :1])], dim=1)
    return rays * rays.square().sum(dim=1, keepdim=True).rsqrt()


def spanning_tree(observed: Observations) -> list[Branch]:
    """Return the tree of the most confident pairs, from the first frame outwards.

    The confidence of a pair is the product of its pointmaps' mean weights.
    """
    score = observed.weights_own.mean(dim=1) * observed.weights_other.mean(dim=1)
    pairs = observed.pairs.tolist()
    group = list(range(observed.frames))
    neighbours: list[list[tuple[int, int]]] = [[] for _ in group]
    for pair in score.argsort(descending=True, stable=True).tolist():
        i, j = pairs[pair]
        if _root(group, i) != _root(group, j):
            group[_root(group, i)] = _root(group, j)
            neighbours[i].append((pair, j))
            neighbours[j].append((pair, i))
    tree, reached = [], [0]
    for known in reached:
        for pair, new in neighbours[known]:
            if new not in reached:
                reached.append(new)
                tree.append(Branch(pair, known, new, forward=pairs[pair][0] == known))
    return tree


def _root(group: list[int], member: int) -> int:
    while group[member] != member:
        group[member] = group[group[member]]
        member = group[member]
    return member


def _resected(observed: Observations, tree: list[Branch], inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Return camera_j_from_i of the tree's pairs (i, j): rotations and translations."""
    chosen = _pairs_of(tree, inverse)
    second = observed.pairs[chosen, 1]
    found = resect(
        observed.points_other[chosen],
        _rays(observed.offset[second], inverse[second]),
        observed.weights_other[chosen],
    )
    return found[:, :3, :3], found[:, :3, 3]


def _walk(
    observed: Observations, tree: list[Branch], rotation_ji: Tensor, translation_ji: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Chain the tree's pairs; returns rotation and position of the cameras, and log scales."""
    chosen = _pairs_of(tree, rotation_ji)
    own, weight_own = _log_depth(observed.points_own, observed.weights_own)
    moved = rotation_ji[:, 2:] @ observed.points_other[chosen] + translation_ji[:, 2, None, None]
    other, weight_other = _log_depth(moved, observed.weights_other[chosen], row=0)
    rotations, positions = (
        [torch.eye(3).to(own)] * observed.frames,
        [own.new_zeros(3)] * (observed.frames),
    )
    depths: dict[int, tuple[Tensor, Tensor]] = {}
    log_scale, known_scale = own.new_zeros(len(own)), torch.zeros_like(own[:, 0], dtype=torch.bool)
    for k, branch in enumerate(tree):
        maps = (own[branch.pair], weight_own[branch.pair]), (other[k], weight_other[k])
        of_known, of_new = maps if branch.forward else maps[::-1]
        log_scale[branch.pair] = scale = _offset(
            depths.setdefault(branch.known, of_known), of_known
        )
        depths[branch.new] = of_new[0] + scale, of_new[1]
        turn, shift = rotation_ji[k], scale.exp() * translation_ji[k]
        if branch.forward:  # world_from_i is known, and camera j from it
            turn, shift = turn.T, -(turn.T @ shift)
        rotations[branch.new] = rotations[branch.known] @ turn
        positions[branch.new] = rotations[branch.known] @ shift + positions[branch.known]
    known_scale[chosen] = True
    if depths:
        rest = torch.nonzero(~known_scale).flatten()
        first = observed.pairs[rest, 0].tolist()
        log_depth, weight = (
            torch.stack(x) for x in zip(*(depths[f] for f in range(observed.frames)), strict=True)
        )
        log_scale[rest] = _offset((log_depth[first], weight[first]), (own[rest], weight_own[rest]))
    return torch.stack(rotations), torch.stack(positions), log_scale


def _log_depth(points: Tensor, weights: Tensor, *, row: int = 2) -> tuple[Tensor, Tensor]:
    depth = points[:, row]
    front = depth > 0
    return torch.where(front, depth, 1.0).log(), torch.where(front, weights, 0.0)


def _offset(target: tuple[Tensor, Tensor], source: tuple[Tensor, Tensor]) -> Tensor:
    """Return the median of target - source, by the product of their weights' roots."""
    return weighted_median(target[0] - source[0], (target[1] * source[1]).sqrt())

"""The group of similarities: chains, inverses, what one does to a small change, and mixing."""

from collections.abc import Sequence

import roma
import torch
from torch import Tensor

from jog3r.geometry import Similarity


def compose(a_from_b: Similarity, b_from_c: Similarity) -> Similarity:
    """Return a_from_c."""
    turned = (a_from_b.rotation @ b_from_c.translation[..., None])[..., 0]
    return Similarity(
        a_from_b.rotation @ b_from_c.rotation,
        a_from_b.scale[..., None] * turned + a_from_b.translation,
        a_from_b.scale * b_from_c.scale,
    )


def inverse(a_from_b: Similarity) -> Similarity:
    """Return b_from_a."""
    rotation = a_from_b.rotation.transpose(-1, -2)
    moved = (rotation @ a_from_b.translation[..., None])[..., 0]
    return Similarity(rotation, -moved / a_from_b.scale[..., None], 1.0 / a_from_b.scale)


def identity() -> Similarity:
    """Return the similarity that changes nothing, in float64."""
    return Similarity(
        torch.eye(3, dtype=torch.float64),
        torch.zeros(3, dtype=torch.float64),
        torch.ones((), dtype=torch.float64),
    )


def member(similarities: Similarity, k: int) -> Similarity:
    """Return one of a batch (W)."""
    return Similarity(similarities.rotation[k], similarities.translation[k], similarities.scale[k])


def stacked(similarities: Sequence[Similarity]) -> Similarity:
    """Return a batch (W)."""
    return Similarity(
        torch.stack([each.rotation for each in similarities]),
        torch.stack([each.translation for each in similarities]),
        torch.stack([each.scale for each in similarities]),
    )


def from_vector(vector: Tensor) -> Similarity:
    """Return the similarity of a change (*b, 7): rotation vector, shift, logarithm of the scale."""
    return Similarity(
        roma.rotvec_to_rotmat(vector[..., :3]), vector[..., 3:6], vector[..., 6].exp()
    )


def to_vector(similarity: Similarity) -> Tensor:
    """Return (*b, 7), the inverse of `from_vector`."""
    turn = roma.rotmat_to_rotvec(similarity.rotation)
    log_scale = similarity.scale.log()[..., None]
    return torch.cat([turn, similarity.translation, log_scale], dim=-1)


def adjoint(similarity: Similarity) -> Tensor:
    """Return A (*b, 7, 7) with S exp(x) = exp(A x) S to first order in x."""
    rotation, shift, scale = similarity.rotation, similarity.translation, similarity.scale
    made = rotation.new_zeros(*rotation.shape[:-2], 7, 7)
    made[..., :3, :3] = rotation
    made[..., 3:6, :3] = _cross(shift) @ rotation
    made[..., 3:6, 3:6] = scale[..., None, None] * rotation
    made[..., 3:6, 6] = -shift
    made[..., 6, 6] = 1.0
    return made


def mix_transforms(a: Tensor, b: Tensor, share_of_b: Tensor) -> Tensor:
    """Return rigid transforms (n, 4, 4) on the way from a to b.

    Args:
        a: (n, 4, 4).
        b: (n, 4, 4).
        share_of_b: (n), 0 gives a and 1 gives b.
    """
    share = share_of_b.to(a)[:, None, None]
    mixed = (1 - share) * a + share * b
    mixed[:, :3, :3] = nearest_rotation(mixed[:, :3, :3])
    return mixed


def nearest_rotation(matrix: Tensor) -> Tensor:
    """Return the rotations nearest to matrices (*b, 3, 3): of a sum of rotations, their mean."""
    rotation = roma.special_procrustes(matrix)
    assert isinstance(rotation, Tensor)
    return rotation


def _cross(vector: Tensor) -> Tensor:
    x, y, z = vector.unbind(dim=-1)
    zero = torch.zeros_like(x)
    rows = [torch.stack(row, dim=-1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return torch.stack(rows, dim=-2)

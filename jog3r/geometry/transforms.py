"""Rigid transforms as 4x4 matrices, named as they read: `world_from_camera`.

Every function takes any number of leading batch dimensions. Where a transform meets points, its
batch dimensions are matched with the points' dimensions **from the left**: a transform `(T, 4, 4)`
moves points `(T, H, W, 3)`, one transform per frame.
"""

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry.checks import check_finite, check_leading, check_tensor
from jog3r.geometry.precision import full_precision

TOLERANCE = 1e-3
"""Largest deviation from a rotation that `check_transforms` lets pass: poses read from text files
carry about four digits."""


@full_precision
def to_homogeneous(transform: Float[Tensor, "*b 3 4"]) -> Float[Tensor, "*b 4 4"]:
    """Append the row (0, 0, 0, 1) to 3x4 transforms.

    Raises:
        InputError: not (..., 3, 4).

    Example:
        >>> to_homogeneous(torch.eye(3, 4))[3]
        tensor([0., 0., 0., 1.])
    """
    check_tensor("transform", transform, (3, 4))
    row = transform.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*transform.shape[:-2], 1, 4)
    return torch.cat([transform, row], dim=-2)


@full_precision
def rigid(
    rotation: Float[Tensor, "*b 3 3"], translation: Float[Tensor, "*b 3"]
) -> Float[Tensor, "*b 4 4"]:
    """Build a transform from its rotation and translation.

    Raises:
        InputError: wrong shapes.

    Example:
        >>> rigid(torch.eye(3), torch.tensor([1.0, 2.0, 3.0]))[:3, 3]
        tensor([1., 2., 3.])
    """
    check_tensor("rotation", rotation, (3, 3))
    check_tensor("translation", translation, (3,))
    return to_homogeneous(torch.cat([rotation, translation[..., None]], dim=-1))


@full_precision
def invert(transform: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """Invert rigid transforms, a_from_b -> b_from_a, by transposing the rotation.

    Raises:
        InputError: not (..., 4, 4).

    Example:
        >>> world_from_camera = rigid(torch.eye(3), torch.tensor([1.0, 2.0, 3.0]))
        >>> invert(world_from_camera)[:3, 3]
        tensor([-1., -2., -3.])
    """
    check_tensor("transform", transform, (4, 4), hint="use to_homogeneous()")
    rotation = transform[..., :3, :3].transpose(-1, -2)
    translation = -(rotation @ transform[..., :3, 3:])
    return to_homogeneous(torch.cat([rotation, translation], dim=-1))


@full_precision
def relative(
    world_from_a: Float[Tensor, "*#b 4 4"], world_from_b: Float[Tensor, "*#b 4 4"]
) -> Float[Tensor, "*b 4 4"]:
    """Return a_from_b of two frames given in the same world.

    Raises:
        InputError: not (..., 4, 4).

    Example:
        >>> world_from_a = rigid(torch.eye(3), torch.tensor([1.0, 0.0, 0.0]))
        >>> world_from_b = rigid(torch.eye(3), torch.tensor([1.0, 0.0, 5.0]))
        >>> relative(world_from_a, world_from_b)[:3, 3]
        tensor([0., 0., 5.])
    """
    check_tensor("world_from_b", world_from_b, (4, 4), hint="use to_homogeneous()")
    return invert(world_from_a) @ world_from_b


@full_precision
def transform_points(
    transform: Float[Tensor, "... 4 4"], points: Float[Tensor, "*p 3"]
) -> Float[Tensor, "*p 3"]:
    """Move points by rigid transforms, points_a = a_from_b applied to points_b.

    Args:
        transform: a_from_b; its batch dimensions are matched with the points' from the left.
        points: in frame b, with any number of point dimensions after the batch dimensions.

    Returns:
        The points in frame a.

    Raises:
        InputError: wrong shapes, or batch dimensions that do not fit.

    Example:
        >>> positions = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
        >>> world_from_camera = rigid(torch.eye(3).expand(2, 3, 3), positions)
        >>> transform_points(world_from_camera, torch.zeros(2, 5, 5, 3))[:, 0, 0, 0]
        tensor([0., 1.])
    """
    check_tensor("transform", transform, (4, 4), hint="use to_homogeneous()")
    check_tensor("points", points, (3,))
    check_leading("transform", transform, 2, "points", points.shape[:-1])
    flat, shape = flatten_points(points, transform.ndim - 2)
    rotation, translation = transform[..., :3, :3], transform[..., None, :3, 3]
    return (flat @ rotation.transpose(-1, -2) + translation).reshape(shape)


def flatten_points(points: Tensor, batch_dims: int) -> tuple[Tensor, torch.Size]:
    """Flatten the point dimensions, so that batched matrices apply: (*b, *p, c) -> (*b, n, c)."""
    flat = points.reshape(*points.shape[:batch_dims], -1, points.shape[-1])
    return flat, points.shape


@full_precision
def check_transforms(
    transform: Float[Tensor, "... 4 4"],
    *,
    name: str = "world_from_camera",
    tolerance: float = TOLERANCE,
) -> None:
    """Check that transforms are rigid: a proper rotation, a translation and the row (0, 0, 0, 1).

    Args:
        transform: what to check.
        name: of the argument, for the error text.
        tolerance: largest entry allowed in `R^T R - I` and in the last row's deviation.

    Raises:
        InputError: wrong shape, NaN, last row not (0, 0, 0, 1), scaled or sheared, or mirrored.

    Example:
        >>> check_transforms(torch.eye(4))
        >>> check_transforms(torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0])))
        Traceback (most recent call last):
        ...
        jog3r.errors.InputError: world_from_camera: expected rotations, got 1 of 1 mirrored \
(determinant -1); flip an axis or check the file's convention
    """
    check_tensor(name, transform, (4, 4), hint="use to_homogeneous()")
    check_finite(name, transform)
    last = transform.new_tensor([0.0, 0.0, 0.0, 1.0])
    wrong = ((transform[..., 3, :] - last).abs() > tolerance).any(dim=-1)
    if bool(wrong.any()):
        raise InputError(
            f"{name}: expected the last row (0, 0, 0, 1), got {transform[wrong][0, 3].tolist()};"
            " is the matrix transposed?"
        )
    rotation = transform[..., :3, :3]
    if roma.is_orthonormal_matrix(rotation, epsilon=tolerance):
        mirrored = int((torch.linalg.det(rotation) < 0).sum())
        if not mirrored:
            return
        count = rotation.shape[:-2].numel()
        raise InputError(
            f"{name}: expected rotations, got {mirrored} of {count} mirrored (determinant -1);"
            " flip an axis or check the file's convention"
        )
    gram = rotation.transpose(-1, -2) @ rotation
    deviation = float((gram - torch.eye(3).to(rotation)).abs().max())
    raise InputError(
        f"{name}: expected rotations, got R^T R - I of up to {deviation:.3g} (allowed"
        f" {tolerance:g}); remove the scale or re-orthonormalise with roma.special_procrustes()"
    )

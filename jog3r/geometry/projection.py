"""The pinhole camera: pixels <-> rays <-> points.

Pixel coordinates are (x, y) = (column, row) and the centre of the first pixel lies at (0.5, 0.5).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.geometry.checks import check_leading, check_size, check_tensor
from jog3r.geometry.precision import full_precision
from jog3r.geometry.transforms import flatten_points

MIN_DEPTH = 1e-8
"""Depths closer to zero than this are treated as this when dividing, so pixels stay finite."""


def pixel_centres(
    size: tuple[int, int],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Float[Tensor, "h w 2"]:
    """Return the (x, y) position of every pixel centre [px].

    A 2x2 image spans [0, 2] x [0, 2]; its four pixels are unit squares, so their centres are

    ======  ===========  ===========
            column 0     column 1
    ======  ===========  ===========
    row 0   (0.5, 0.5)   (1.5, 0.5)
    row 1   (0.5, 1.5)   (1.5, 1.5)
    ======  ===========  ===========

    The image's own centre is (1, 1), the corner where the four meet: no pixel sits on the optical
    axis, and with a focal length of 1 px the four rays are (-0.5, -0.5, 1) ... (0.5, 0.5, 1).

    Args:
        size: (height, width) of the image [px].
        dtype: of the result.
        device: of the result.

    Raises:
        InputError: a malformed size.

    Example:
        >>> pixel_centres((2, 2)).tolist()
        [[[0.5, 0.5], [1.5, 0.5]], [[0.5, 1.5], [1.5, 1.5]]]
        >>> K = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
        >>> rays_camera(K, (2, 2))[0, 0].tolist()
        [-0.5, -0.5, 1.0]
    """
    height, width = check_size("size", size)
    x = torch.arange(width, dtype=dtype, device=device) + 0.5
    y = torch.arange(height, dtype=dtype, device=device) + 0.5
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


@full_precision
def project(
    points_camera: Float[Tensor, "*p 3"], K: Float[Tensor, "... 3 3"]
) -> tuple[Float[Tensor, "*p 2"], Float[Tensor, "*p"]]:
    """Project points into the image of their camera.

    Args:
        points_camera: in the camera's frame (x right, y down, z forward).
        K: its batch dimensions are matched with the points' from the left.

    Returns:
        The (x, y) pixel position, and the depth z. A point behind the camera has a negative depth
        and the pixel of its mirror image: test the depth before using the pixel.

    Raises:
        InputError: wrong shapes, or batch dimensions that do not fit.

    Example:
        >>> K = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
        >>> project(torch.tensor([1.0, 0.0, 2.0]), K)
        (tensor([1.5000, 1.0000]), tensor(2.))
    """
    check_tensor("points_camera", points_camera, (3,))
    check_tensor("K", K, (3, 3))
    check_leading("K", K, 2, "points_camera", points_camera.shape[:-1])
    flat, shape = flatten_points(points_camera, K.ndim - 2)
    depth = flat[..., 2:]
    safe = torch.where(depth < 0, depth.clamp(max=-MIN_DEPTH), depth.clamp(min=MIN_DEPTH))
    pixels = (flat / safe) @ K[..., :2, :].transpose(-1, -2)
    return pixels.reshape(*shape[:-1], 2), points_camera[..., 2]


@full_precision
def rays_camera(K: Float[Tensor, "*b 3 3"], size: tuple[int, int]) -> Float[Tensor, "*b h w 3"]:
    """Return the ray through every pixel centre, scaled to z = 1, so that point = depth * ray.

    Args:
        K: intrinsics (skew allowed).
        size: (height, width) of the image [px].

    Raises:
        InputError: wrong shape or size.

    Example:
        >>> K = torch.tensor([[2.0, 0.0, 1.0], [0.0, 2.0, 1.0], [0.0, 0.0, 1.0]])
        >>> rays_camera(K, (2, 2))[0, 1].tolist()
        [0.25, -0.25, 1.0]
    """
    check_tensor("K", K, (3, 3))
    centred = pixel_centres(size, dtype=K.dtype, device=K.device) - K[..., None, None, :2, 2]
    y = centred[..., 1] / K[..., None, None, 1, 1]
    x = (centred[..., 0] - K[..., None, None, 0, 1] * y) / K[..., None, None, 0, 0]
    return torch.stack([x, y, torch.ones_like(x)], dim=-1)


@full_precision
def unproject(
    depth: Float[Tensor, "*b h w"], K: Float[Tensor, "... 3 3"]
) -> Float[Tensor, "*b h w 3"]:
    """Lift a depth map to points in the camera's frame.

    Args:
        depth: z-depth of every pixel (not the distance along its ray).
        K: intrinsics; its batch dimensions are matched with the depth's from the left.

    Raises:
        InputError: wrong shapes, or batch dimensions that do not fit.

    Example:
        >>> K = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
        >>> unproject(torch.full((2, 2), 4.0), K)[1, 0].tolist()
        [-2.0, 2.0, 4.0]
    """
    check_tensor("depth", depth, ("h", "w"))
    check_tensor("K", K, (3, 3))
    check_leading("K", K, 2, "depth", depth.shape[:-2])
    missing = depth.ndim - K.ndim
    K = K.reshape(*K.shape[:-2], *([1] * missing), 3, 3)
    height, width = depth.shape[-2:]
    return depth[..., None] * rays_camera(K, (height, width))

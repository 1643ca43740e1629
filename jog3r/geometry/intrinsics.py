"""Intrinsics K (3x3) in pixels of the image they travel with; pixel centres lie at +0.5.

With centres at +0.5 the image spans [0, width] x [0, height] whatever its resolution, so a resize
only multiplies the rows of K and the principal point of a centred camera is exactly (w/2, h/2).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry.checks import check_finite, check_size, check_tensor
from jog3r.geometry.precision import full_precision


@full_precision
def intrinsics_from_focal(
    focal_px: Float[Tensor, "*b"], size: tuple[int, int]
) -> Float[Tensor, "*b 3 3"]:
    """Build K of a camera with square pixels and a centred principal point.

    Args:
        focal_px: focal length [px].
        size: (height, width) of the image [px].

    Raises:
        InputError: a focal length that is not positive and finite, or a malformed size.

    Example:
        >>> intrinsics_from_focal(torch.tensor(50.0), (48, 64))
        tensor([[50.,  0., 32.],
                [ 0., 50., 24.],
                [ 0.,  0.,  1.]])
    """
    check_tensor("focal_px", focal_px, ())
    height, width = check_size("size", size)
    if not bool(((focal_px > 0) & torch.isfinite(focal_px)).all()):
        raise InputError(f"focal_px: expected positive and finite, got {focal_px.tolist()}")
    K = focal_px.new_zeros(*focal_px.shape, 3, 3)
    K[..., 0, 0] = K[..., 1, 1] = focal_px
    K[..., 0, 2], K[..., 1, 2], K[..., 2, 2] = width / 2, height / 2, 1.0
    return K


@full_precision
def intrinsics_from_fov(
    fov_y_deg: float | Float[Tensor, "*b"], size: tuple[int, int]
) -> Float[Tensor, "*b 3 3"]:
    """Build K of a camera with square pixels and a centred principal point from its field of view.

    Args:
        fov_y_deg: vertical field of view, from upper to lower image border [deg], in (0, 180).
        size: (height, width) of the image [px].

    Raises:
        InputError: a field of view outside (0, 180), or a malformed size.

    Example:
        >>> intrinsics_from_fov(90.0, (48, 64))[0]
        tensor([24.,  0., 32.])
    """
    fov = torch.as_tensor(fov_y_deg, dtype=None if isinstance(fov_y_deg, Tensor) else torch.float32)
    check_tensor("fov_y_deg", fov, ())
    if not bool(((fov > 0) & (fov < 180)).all()):
        raise InputError(f"fov_y_deg: expected degrees in (0, 180), got {fov.tolist()}")
    height, _ = check_size("size", size)
    return intrinsics_from_focal(height / 2 / torch.tan(fov * (math.pi / 360)), size)


@full_precision
def resize_intrinsics(
    K: Float[Tensor, "*b 3 3"], from_size: tuple[int, int], to_size: tuple[int, int]
) -> Float[Tensor, "*b 3 3"]:
    """Return K after its image was resized.

    Args:
        K: intrinsics of the image before.
        from_size: (height, width) before [px].
        to_size: (height, width) after [px].

    Raises:
        InputError: wrong shapes or sizes.

    Example:
        >>> K = intrinsics_from_focal(torch.tensor(50.0), (48, 64))
        >>> resize_intrinsics(K, (48, 64), (24, 16))
        tensor([[12.5000,  0.0000,  8.0000],
                [ 0.0000, 25.0000, 12.0000],
                [ 0.0000,  0.0000,  1.0000]])
    """
    check_tensor("K", K, (3, 3))
    (h0, w0), (h1, w1) = check_size("from_size", from_size), check_size("to_size", to_size)
    return K * K.new_tensor([w1 / w0, h1 / h0, 1.0])[:, None]


@full_precision
def crop_intrinsics(K: Float[Tensor, "*b 3 3"], top: float, left: float) -> Float[Tensor, "*b 3 3"]:
    """Return K after rows above `top` and columns left of `left` were cut off.

    Args:
        K: intrinsics of the image before.
        top: rows removed above [px]; negative for padding.
        left: columns removed at the left [px]; negative for padding.

    Raises:
        InputError: wrong shape.

    Example:
        >>> crop_intrinsics(intrinsics_from_focal(torch.tensor(50.0), (48, 64)), 4, 10)[:2, 2]
        tensor([22., 20.])
    """
    check_tensor("K", K, (3, 3))
    shift = K.new_zeros(3, 3)
    shift[0, 2], shift[1, 2] = left, top
    return K - shift


@full_precision
def focal(K: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b"]:
    """Return one focal length per camera [px]: the geometric mean of fx and fy.

    Raises:
        InputError: wrong shape.

    Example:
        >>> focal(intrinsics_from_focal(torch.tensor([50.0, 60.0]), (48, 64)))
        tensor([50., 60.])
    """
    check_tensor("K", K, (3, 3))
    return (K[..., 0, 0] * K[..., 1, 1]).sqrt()


@full_precision
def check_intrinsics(
    K: Float[Tensor, "... 3 3"], size: tuple[int, int], *, name: str = "K"
) -> None:
    """Check that K is an upper-triangular pinhole matrix in pixels of an image of the given size.

    Args:
        K: what to check.
        size: (height, width) of the image it is said to belong to [px].
        name: of the argument, for the error text.

    Raises:
        InputError: wrong shape, NaN, focal length not positive, last row not (0, 0, 1), non-zero
            lower triangle, or a principal point outside the image (K of another resolution, or
            normalised).

    Example:
        >>> check_intrinsics(intrinsics_from_fov(60.0, (48, 64)), (48, 64))
    """
    check_tensor(name, K, (3, 3))
    check_finite(name, K)
    height, width = check_size("size", size)
    lower = torch.stack([K[..., 1, 0], K[..., 2, 0], K[..., 2, 1], K[..., 2, 2] - 1.0])
    wrong = (lower.abs() > 1e-6).any(dim=0) | (K[..., 0, 0] <= 0) | (K[..., 1, 1] <= 0)
    if bool(wrong.any()):
        raise InputError(
            f"{name}: expected [[fx, s, cx], [0, fy, cy], [0, 0, 1]] with fx, fy > 0, got"
            f" {K[wrong][0].tolist()}"
        )
    cx, cy, fx = K[..., 0, 2], K[..., 1, 2], K[..., 0, 0]
    inside = (cx > 0) & (cx < width) & (cy > 0) & (cy < height)
    if not bool(inside.all()) or bool((fx < 2.0).any()):
        raise InputError(
            f"{name}: expected pixels of a {width}x{height} image, got principal point"
            f" ({float(cx.flatten()[0]):g}, {float(cy.flatten()[0]):g}) and focal length"
            f" {float(fx.flatten()[0]):g}; use resize_intrinsics()"
        )

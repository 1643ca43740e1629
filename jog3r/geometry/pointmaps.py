"""Pointmaps: one 3D point per pixel. Building them, their normals, and the focal length in them."""

import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry.checks import check_finite, check_tensor
from jog3r.geometry.precision import full_precision
from jog3r.geometry.projection import pixel_centres, unproject
from jog3r.geometry.transforms import transform_points

WEISZFELD_STEPS = 10
RESIDUAL_FLOOR = 1e-6
"""Smallest residual [tangent of an angle] by which a Weiszfeld weight is divided."""


@full_precision
def pointmap_from_depth(
    depth: Float[Tensor, "*b h w"],
    K: Float[Tensor, "... 3 3"],
    world_from_camera: Float[Tensor, "... 4 4"],
) -> Float[Tensor, "*b h w 3"]:
    """Lift a depth map to points in the world.

    Args:
        depth: z-depth of every pixel.
        K: intrinsics; batch dimensions are matched with the depth's from the left.
        world_from_camera: likewise.

    Returns:
        One world point per pixel.

    Raises:
        InputError: wrong shapes, or batch dimensions that do not fit.

    Example:
        >>> K = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
        >>> pointmap_from_depth(torch.full((2, 2), 4.0), K, torch.eye(4))[0, 0].tolist()
        [-2.0, -2.0, 4.0]
    """
    return transform_points(world_from_camera, unproject(depth, K))


@full_precision
def normals_from_pointmap(points_camera: Float[Tensor, "*b h w 3"]) -> Float[Tensor, "*b h w 3"]:
    """Return the unit surface normal of every pixel, facing the camera.

    Central differences inside, one-sided ones at the border. Across a depth edge the normal is that
    of the surface spanned between both sides.

    Args:
        points_camera: in the frame of the camera that sees them, which sits at the origin.

    Returns:
        Unit vectors; zero where neighbouring points coincide, so that there is no surface.

    Raises:
        InputError: wrong shape, or an image smaller than 2x2.

    Example:
        >>> K = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
        >>> normals_from_pointmap(unproject(torch.full((2, 2), 4.0), K))[0, 0].tolist()
        [0.0, 0.0, -1.0]
    """
    check_tensor("points_camera", points_camera, ("h", "w", 3))
    if min(points_camera.shape[-3:-1]) < 2:
        raise InputError(f"points_camera: expected at least 2x2, got {tuple(points_camera.shape)}")
    normal = torch.linalg.cross(_difference(points_camera, -3), _difference(points_camera, -2))
    normal = torch.nn.functional.normalize(normal, dim=-1, eps=torch.finfo(normal.dtype).tiny)
    away = (normal * points_camera).sum(dim=-1, keepdim=True) > 0
    return torch.where(away, -normal, normal) + 0.0  # + 0.0 turns -0.0 into 0.0


def _difference(values: Tensor, dim: int) -> Tensor:
    last = values.shape[dim] - 1
    index = torch.arange(last + 1, device=values.device)
    ahead, behind = (index + 1).clamp(max=last), (index - 1).clamp(min=0)
    return values.index_select(dim, ahead) - values.index_select(dim, behind)


@full_precision
def focal_from_pointmap(
    points_camera: Float[Tensor, "*b h w 3"], confidence: Float[Tensor, "*b h w"] | None = None
) -> Float[Tensor, "*b"]:
    """Estimate the focal length [px] that explains a pointmap, principal point at the image centre.

    With offset d [px] from the centre and q = (x, y) / z, a pinhole has q = d / focal. Minimises
    sum w ||q - d / focal|| over 1 / focal: the pixel grid is exact and the points are noisy, so the
    pixels are the regressor (regressing the other way round would shrink the focal length with the
    noise). Starts from the weighted median of the per-pixel answers, then Weiszfeld's iteration.

    Args:
        points_camera: in the frame of the camera that sees them.
        confidence: weight per pixel, not negative; None for equal weights. Points at or behind the
            camera's plane get none.

    Raises:
        InputError: wrong shapes, NaN, or an image without a single weighted point in front.

    Source: own derivation; Weiszfeld's iteration for this task is DUSt3R (arXiv 2312.14132) 3.3.

    Example:
        >>> K = torch.tensor([[50.0, 0.0, 8.0], [0.0, 50.0, 6.0], [0.0, 0.0, 1.0]])
        >>> round(float(focal_from_pointmap(unproject(torch.full((12, 16), 3.0), K))), 3)
        50.0
    """
    check_tensor("points_camera", points_camera, ("h", "w", 3))
    check_finite("points_camera", points_camera)
    weight = torch.ones_like(points_camera[..., 0]) if confidence is None else confidence
    if weight.shape != points_camera.shape[:-1]:
        expected = tuple(points_camera.shape[:-1])
        raise InputError(f"confidence: expected {expected}, got {tuple(weight.shape)}")
    check_finite("confidence", weight)
    height, width = points_camera.shape[-3:-1]
    offset = pixel_centres((height, width), dtype=points_camera.dtype, device=points_camera.device)
    offset = (offset - offset.new_tensor([width / 2, height / 2])).reshape(-1, 2)
    points, weight = points_camera.flatten(-3, -2), weight.flatten(-2, -1).clamp(min=0)
    front = (points[..., 2] > 0) & (offset.square().sum(dim=-1) > 0)
    weight = torch.where(front, weight, torch.zeros_like(weight))
    tangent = points[..., :2] / points[..., 2:].where(front[..., None], points.new_ones(()))
    inverse = inverse_focal(tangent, offset, weight)
    check_focal(inverse, weight)
    return 1.0 / inverse


def inverse_focal(tangent: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """Minimise sum w ||tangent - g * offset|| over the inverse focal length g [1/px].

    Args:
        tangent: (*b, n, 2) x/z and y/z.
        offset: (n, 2) pixel offset from the principal point.
        weight: (*b, n).

    Returns:
        (*b), not positive or NaN where the points do not determine a focal length.
    """
    length2 = offset.square().sum(dim=-1)
    each = (tangent * offset).sum(dim=-1) / length2.clamp(min=1e-12)
    across2 = (tangent - each[..., None] * offset).square().sum(dim=-1)
    inverse = weighted_median(each, weight * length2.sqrt())
    for _ in range(WEISZFELD_STEPS):
        along2 = length2 * (each - inverse[..., None]).square()
        residual = (across2 + along2).sqrt().clamp(min=RESIDUAL_FLOOR)
        reweighted = weight * length2 / residual
        inverse = (reweighted * each).sum(dim=-1) / reweighted.sum(dim=-1)
    return inverse


def check_focal(inverse: Tensor, weight: Tensor) -> None:
    """Check what `inverse_focal` found.

    Raises:
        InputError: no weighted point, or points that call for a focal length that is not positive.
    """
    if bool((weight.sum(dim=-1) <= 0).any()):
        raise InputError(
            "points_camera: expected confident points in front of the camera, got none"
        )
    if not bool((inverse > 0).all()):
        raise InputError(
            "points_camera: expected points that spread as their pixels do, got a mirrored or"
            " collapsed pointmap without a positive focal length"
        )


def weighted_median(
    values: Float[Tensor, "*b n"], weights: Float[Tensor, "*b n"]
) -> Float[Tensor, "*b"]:
    """Return the value at which half of the weight lies below.

    Args:
        values: finite.
        weights: not negative, some positive.

    Example:
        >>> weighted_median(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([1.0, 1.0, 1.0]))
        tensor(2.)
    """
    ordered, order = values.sort(dim=-1)
    below = weights.gather(-1, order).cumsum(dim=-1)
    middle = torch.searchsorted(below, below[..., -1:] / 2).clamp(max=values.shape[-1] - 1)
    return ordered.gather(-1, middle)[..., 0]

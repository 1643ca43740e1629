"""Surface normals of points that come without a grid."""

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry.checks import check_finite, check_tensor
from jog3r.geometry.open3d_package import require_open3d


def cloud_normals(
    points: Float[Tensor, "n 3"], facing: Float[Tensor, "n 3"], *, neighbours: int = 30
) -> Float32[Tensor, "n 3"]:
    """Return unit normals: of the plane through a point's neighbours, on the side of `facing`.

    Args:
        points: of one set, in any unit.
        facing: a direction on the outer side of each point, of any length; towards the camera that
            saw it, for example.
        neighbours: how many of the nearest points, itself included, span the plane; at least 3.

    Raises:
        InputError: wrong shapes, NaN, or fewer points than neighbours.
        MissingPackageError: open3d does not load.

    Example:
        >>> points = torch.tensor([[0.0, 0, 5], [1.0, 0, 5], [0.0, 1, 5], [1.0, 1, 5]])
        >>> cloud_normals(points, -points, neighbours=4)[0].abs().tolist()
        [0.0, 0.0, 1.0]
    """
    for name, value in (("points", points), ("facing", facing)):
        check_tensor(name, value, (3,))
        check_finite(name, value)
    if facing.shape != points.shape:
        raise InputError(f"facing: expected {tuple(points.shape)}, got {tuple(facing.shape)}")
    if not 3 <= neighbours <= len(points):
        raise InputError(
            f"neighbours: expected 3 to {len(points)}, as many as there are points, got"
            f" {neighbours}"
        )
    open3d = require_open3d("estimate normals")
    array = points.detach().float().cpu().contiguous().numpy()
    cloud = open3d.t.geometry.PointCloud(open3d.core.Tensor.from_numpy(array))
    cloud.estimate_normals(neighbours)
    normals = torch.from_numpy(cloud.point.normals.numpy()).to(points.device)
    outside = (normals * facing).sum(dim=-1, keepdim=True) >= 0
    return torch.nn.functional.normalize(torch.where(outside, normals, -normals), dim=-1)

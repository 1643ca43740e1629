"""Camera frusta as lines, for everything that draws cameras."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.geometry import transform_points
from jog3r.results import Cameras

EDGES = ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1))
"""Which corners of `frustum_corners` a frustum's eight lines join."""

TOP_EDGE = (1, 2)
"""The line that bounds the image above: drawn bolder, it shows which way is up."""

FRUSTUM_SHARE = 0.05
"""Depth of a drawn frustum, as a share of the extent of the scene."""


def frustum_corners(cameras: Cameras, depth: float) -> Float[Tensor, "t 5 3"]:
    """Return each camera's position and the four corners of its image at the given depth.

    Args:
        cameras: to draw.
        depth: distance of the image plane, in the unit of the cameras' positions.

    Returns:
        World frame: position, then the upper left, upper right, lower right, lower left corner.
    """
    height, width = cameras.image_size
    pixels = torch.tensor(
        [[0.0, 0.0, 1.0], [width, 0.0, 1.0], [width, height, 1.0], [0.0, height, 1.0]]
    )
    corners = pixels @ torch.linalg.inv(cameras.K).transpose(-1, -2) * depth
    apex = corners.new_zeros(len(cameras), 1, 3)
    return transform_points(cameras.world_from_camera, torch.cat([apex, corners], dim=1))


def near_points(points: Float[Tensor, "n 3"], cameras: Cameras) -> Bool[Tensor, " n"]:
    """Tell which points a picture of the scene should be framed on.

    Under an open sky a few points at the horizon would make everything else tiny: those farther
    from the mean camera than three times the median distance do not count.
    """
    # float64: the square of a length that float32 holds may be beyond float32.
    centre = cameras.world_from_camera[:, :3, 3].double().mean(dim=0)
    distance = (points.double() - centre).norm(dim=-1)
    return distance <= 3 * distance.median() if len(points) else distance > 0


def scene_extent(points: Float[Tensor, "n 3"], cameras: Cameras) -> float:
    """Return the diagonal of the box around the cameras and the near points.

    A scene without any extent, one camera and no point, counts as 1.
    """
    near = points[near_points(points, cameras)]
    shown = torch.cat([cameras.world_from_camera[:, :3, 3], near]).double()
    return float((shown.amax(dim=0) - shown.amin(dim=0)).norm()) or 1.0

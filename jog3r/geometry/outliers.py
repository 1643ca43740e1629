"""Points that stand alone, far from all others."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.errors import InputError, MissingPackageError
from jog3r.geometry.checks import check_finite, check_tensor


def inlier_mask(
    points: Float[Tensor, "n 3"], *, neighbours: int = 20, std_ratio: float = 2.0
) -> Bool[Tensor, " n"]:
    """Return which points have their neighbours about as near as most points of the set have.

    The mean distance of a point to its nearest neighbours is compared with the same number of all
    points: what exceeds their mean by more than `std_ratio` standard deviations is an outlier.
    Neither rotating nor moving nor scaling the set changes the answer.

    Args:
        points: of one set, in any unit; compared in float32.
        neighbours: how many of the nearest other points count.
        std_ratio: above 0; smaller leaves out more.

    Raises:
        InputError: wrong shape, NaN, fewer points than neighbours, or values out of range.
        MissingPackageError: open3d does not load.

    Source: statistical outlier removal, Rusu et al. 2008, through open3d.

    Example:
        >>> line = torch.zeros(9, 3)
        >>> line[:, 0] = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 30])
        >>> inlier_mask(line, neighbours=2).tolist()
        [True, True, True, True, True, True, True, True, False]
    """
    if neighbours < 1 or not std_ratio > 0:
        raise InputError(
            "neighbours, std_ratio: expected at least 1 and more than 0,"
            f" got {neighbours} and {std_ratio}"
        )
    check_tensor("points", points, (3,))
    check_finite("points", points)
    if points.ndim != 2 or len(points) <= neighbours:
        raise InputError(
            f"points: expected (n, 3) with n above {neighbours}, got {tuple(points.shape)};"
            " fewer neighbours need fewer points"
        )
    try:
        import open3d
    except (ImportError, OSError) as error:  # OSError: a system library is missing
        raise MissingPackageError(
            f"open3d: expected it to find outliers, got '{error}'; pip install open3d, on Debian"
            " and Ubuntu also apt-get install libusb-1.0-0"
        ) from error

    array = points.detach().float().cpu().numpy()
    cloud = open3d.t.geometry.PointCloud(open3d.core.Tensor.from_numpy(array))
    # open3d counts the point itself among its neighbours.
    _, mask = cloud.remove_statistical_outliers(neighbours + 1, std_ratio)
    return torch.from_numpy(mask.numpy()).to(points.device)

"""Points that stand alone, far from all others."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry.checks import check_finite, check_tensor
from jog3r.geometry.open3d_package import require_open3d

CHUNK = 1 << 18
"""Points whose neighbours are held at the same time: memory does not grow with the set."""


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

    Source: statistical outlier removal, Rusu et al. 2008; neighbours through open3d.

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
    distance = _mean_distance(points.detach().float().cpu().contiguous(), neighbours)
    limit = distance.mean() + std_ratio * distance.std()
    return (distance <= limit).to(points.device)


def _mean_distance(points: Float[Tensor, "n 3"], neighbours: int) -> Float[Tensor, " n"]:
    """Return each point's mean distance to its nearest others, in float64."""
    open3d = require_open3d("find outliers")
    search = open3d.core.nns.NearestNeighborSearch(open3d.core.Tensor.from_numpy(points.numpy()))
    search.knn_index()
    means = []
    for part in points.split(CHUNK):
        # The point itself is found among its neighbours, at distance 0.
        _, squares = search.knn_search(open3d.core.Tensor.from_numpy(part.numpy()), neighbours + 1)
        distance = torch.from_numpy(squares.numpy()).double().sqrt()
        means.append(distance.sum(dim=1) / neighbours)
    return torch.cat(means)

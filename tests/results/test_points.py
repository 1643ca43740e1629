"""Clouds: their normals, extent, down-sampling and thinning, and what is refused."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from jog3r import InputError, PointCloud


def grid(side: int = 12, height: float = 3.0) -> PointCloud:
    """A square of points facing a camera at the origin, which sees it at some distance."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    middle = (side - 1) / 2
    points = torch.stack([columns - middle, rows - middle, height + 0 * rows], dim=-1).float()
    points = points.flatten(0, 1)
    count = len(points)
    colors = torch.arange(count, dtype=torch.uint8)[:, None].expand(count, 3).contiguous()
    return PointCloud(points, colors, 1 + torch.arange(float(count)))


def empty() -> PointCloud:
    return PointCloud(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.uint8), torch.zeros(0))


def test_a_cube_becomes_its_mean_weighted_by_confidence() -> None:
    points = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [5.0, 0, 0]])
    colors = torch.tensor([[0, 0, 0], [100, 200, 0], [7, 8, 9]], dtype=torch.uint8)
    normals = torch.tensor([[0.0, 0, -1], [1.0, 0, 0], [0.0, 1, 0]])
    cloud = PointCloud(points, colors, torch.tensor([1.0, 3.0, 2.0]), normals)
    small = cloud.voxel_downsampled(2.0)
    small = small._subset(small.points[:, 0].argsort())
    assert small.points.tolist() == [[0.75, 0, 0], [5, 0, 0]]
    assert small.colors.tolist() == [[75, 150, 0], [7, 8, 9]]
    assert small.confidence.tolist() == [2.5, 2.0]
    assert small.normals is not None
    expected = torch.nn.functional.normalize(torch.tensor([3.0, 0, -1]), dim=0)
    torch.testing.assert_close(small.normals, torch.stack([expected, normals[2]]))


def test_small_cubes_keep_every_point_and_large_ones_leave_one() -> None:
    cloud = grid()
    assert len(cloud.voxel_downsampled(0.5)) == len(cloud)
    assert len(cloud.voxel_downsampled(100.0)) == 1
    assert cloud.voxel_downsampled(3.0) == cloud.voxel_downsampled(3.0)
    assert cloud.voxel_downsampled(3.0).normals is None
    assert len(empty().voxel_downsampled(1.0)) == 0


@pytest.mark.parametrize("size", [0.0, -1.0, math.nan, math.inf])
def test_sizes_that_are_none_are_refused(size: float) -> None:
    with pytest.raises(InputError, match="voxel_size: expected a length above 0, got"):
        grid().voxel_downsampled(size)


def test_points_without_confidence_have_no_weighted_mean() -> None:
    unsure = replace(grid(), confidence=torch.zeros(144))
    with pytest.raises(InputError, match="confidence: expected above 0 to weigh points, got 0"):
        unsure.voxel_downsampled(1.0)


def test_normals_face_the_camera_or_the_side_they_had() -> None:
    cloud = grid()
    towards = cloud.with_normals(-cloud.points, neighbours=9)
    back = torch.tensor([0.0, 0.0, -1.0]).expand(len(cloud), 3)
    assert towards.normals is not None
    torch.testing.assert_close(towards.normals, back)
    torch.testing.assert_close(towards.with_normals(neighbours=4).normals, back)
    torch.testing.assert_close(cloud.with_normals(cloud.points, neighbours=9).normals, -back)
    assert replace(towards, normals=None) == cloud != towards


def test_normals_travel_with_their_points() -> None:
    cloud = grid().with_normals(-grid().points, neighbours=9)
    points = cloud.points.clone()
    points[0, 2] = 60.0
    kept = replace(cloud, points=points).without_outliers()
    assert cloud.normals is not None
    rest = [part[1:] for part in (cloud.points, cloud.colors, cloud.confidence, cloud.normals)]
    assert kept == PointCloud(*rest)
    assert cloud.thinned(5).normals is not None


@pytest.mark.usefixtures("as_a_user")
def test_normals_are_refused() -> None:
    cloud = grid()
    with pytest.raises(InputError, match="facing: expected directions, got None and no normals"):
        cloud.with_normals()
    with pytest.raises(InputError, match=r"neighbours: expected 3 to 144, .* got 145"):
        cloud.with_normals(-cloud.points, neighbours=145)
    with pytest.raises(InputError, match="neighbours: expected 3 to 0"):
        empty().with_normals(torch.zeros(0, 3))
    with pytest.raises(InputError, match=r"normals: expected \(144, 3\), got \(143, 3\)"):
        replace(cloud, normals=torch.zeros(143, 3))
    with pytest.raises(InputError, match=r"normals: expected length 1, .* got 144 others of 144"):
        replace(cloud, normals=torch.ones(144, 3))
    with pytest.raises(InputError, match="normals: expected finite values, got 432"):
        replace(cloud, normals=torch.full((144, 3), math.nan))
    replace(cloud, normals=torch.zeros(144, 3))  # no surface there


def test_thinning_takes_the_same_points_each_time_in_their_order() -> None:
    cloud = grid()
    few = cloud.thinned(50)
    assert len(few) == 50
    assert few == cloud.thinned(50)
    assert bool((few.confidence.diff() > 0).all())
    assert few.points[:, 0].unique().numel() > 8  # from everywhere
    assert cloud.thinned(144) == cloud.thinned(1000) == cloud


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("count", [0, -5, 1.5, True, None])
def test_thinning_refuses(count: Any) -> None:
    with pytest.raises(InputError, match="max_points: expected"):
        grid().thinned(count)


def test_extent_is_a_diagonal_that_ignores_the_horizon() -> None:
    cloud = grid(side=101)
    assert cloud.extent == pytest.approx(math.sqrt(2) * 98, abs=0.1)
    points = cloud.points.clone()
    points[:3000] *= 1e5
    assert replace(cloud, points=points).extent == pytest.approx(cloud.extent, rel=0.2)
    moved = replace(cloud, points=2 * cloud.points + 50)
    assert moved.extent == pytest.approx(2 * cloud.extent)
    with pytest.raises(InputError, match="points: expected some to measure their extent"):
        _ = empty().extent


def test_few_points_have_no_outliers_to_find() -> None:
    with pytest.raises(InputError, match=r"n above 20, got \(0, 3\)"):
        empty().without_outliers()

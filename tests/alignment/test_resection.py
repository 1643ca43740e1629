"""Pose of a camera from pixels and points: exact from any side, flat scenes, outliers."""

import pytest
import roma
import torch
from torch import Tensor

from jog3r.alignment.resection import noise_level, resect
from jog3r.geometry import rigid


def views(seed: int, cameras: int, *, flat: bool = False, count: int = 120) -> tuple[Tensor, ...]:
    """Return points (F, 3, N), rays through their pixels and camera_from_world, of any rotation."""
    generator = torch.Generator().manual_seed(seed)
    inside = torch.randn(cameras, 3, count, generator=generator, dtype=torch.float64)
    if flat:
        inside[:, 2] = 0.4 * inside[:, 0]
    inside[:, 2] += 5.0
    quaternion = torch.randn(cameras, 4, generator=generator, dtype=torch.float64)
    rotation = roma.unitquat_to_rotmat(torch.nn.functional.normalize(quaternion, dim=1))
    translation = torch.randn(cameras, 3, generator=generator, dtype=torch.float64)
    points = rotation.transpose(1, 2) @ (inside - translation[..., None])
    return points, torch.nn.functional.normalize(inside, dim=1), rigid(rotation, translation)


@pytest.mark.parametrize("flat", [False, True])
def test_poses_are_exact_whatever_the_rotation(flat: bool) -> None:
    points, rays, truth = views(0, 60, flat=flat)
    found = resect(points, rays, torch.ones_like(points[:, 0]))
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-9)


def test_a_fifth_of_wild_points_hardly_changes_the_start() -> None:
    points, rays, truth = views(1, 20)
    points[..., :24] += (
        3 * torch.randn(20, 3, 24, generator=torch.Generator().manual_seed(0)).double()
    )
    found = resect(points, rays, torch.ones_like(points[:, 0]))
    torch.testing.assert_close(found, truth, rtol=0, atol=0.03)


def test_points_without_weight_do_not_count() -> None:
    points, rays, truth = views(2, 10)
    weights = torch.ones_like(points[:, 0])
    points[..., :80], weights[:, :80] = 1.0, 0.0
    torch.testing.assert_close(resect(points, rays, weights), truth, rtol=0, atol=1e-9)


def test_more_pixels_give_a_better_pose() -> None:
    def error(count: int) -> float:
        points, rays, truth = views(3, 40, count=count)
        noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(1)).double()
        found = resect(points + 0.05 * noise, rays, torch.ones_like(points[:, 0]))
        return float((found - truth).square().mean().sqrt())

    assert error(1600) < 0.4 * error(100)  # a quarter, if efficiency were perfect


def test_noise_level_is_the_standard_deviation_per_axis() -> None:
    generator = torch.Generator().manual_seed(0)
    error = 0.3 * torch.randn(2, 5000, 2, generator=generator, dtype=torch.float64)
    level = noise_level(error.norm(dim=-1), torch.ones(2, 5000, dtype=torch.float64))
    torch.testing.assert_close(level, torch.full_like(level, 0.3), rtol=0.08, atol=0)


def test_noise_level_finds_the_few_weighted_pixels() -> None:
    error, weights = torch.ones(1, 5000).double(), torch.zeros(1, 5000).double()
    error[0, 7:10], weights[0, 7:10] = 1e-3, 1.0
    assert float(noise_level(error, weights)) == pytest.approx(1e-3, rel=0.2)

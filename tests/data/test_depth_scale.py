"""The factor between depth and cameras, on exact truth."""

import pytest
import torch
from torch import Tensor

from jog3r.data.depth_scale import compared_frames, depth_scale
from jog3r.data.world import World, WorldConfig


@pytest.fixture(scope="module")
def truth() -> tuple[Tensor, Tensor, Tensor]:
    clip = World(WorldConfig(size=64, samples=1, shadows=False)).clip(5, 8)
    names = ("depth", "K", "world_from_camera")
    depth, K, poses = (torch.from_numpy(getattr(clip, name)) for name in names)
    return depth, K, poses


def factor_of(depth: Tensor, K: Tensor, poses: Tensor) -> float | None:
    scale = depth_scale(depth, K, poses)
    return None if scale is None else scale.factor


@pytest.mark.parametrize("factor", [1.0, 1000.0, 0.0254, 3.7])
def test_it_undoes_a_factor(truth: tuple[Tensor, Tensor, Tensor], factor: float) -> None:
    depth, K, poses = truth
    assert factor_of(depth / factor, K, poses) == pytest.approx(factor, rel=0.05)


def test_unknown_depth_and_noise_do_not_matter(truth: tuple[Tensor, Tensor, Tensor]) -> None:
    depth, K, poses = truth
    drawn = torch.Generator().manual_seed(0)
    noisy = depth * (1.0 + 0.02 * torch.randn(len(depth), 1, 1, generator=drawn))
    holes = torch.rand(depth.shape, generator=drawn) < 0.3
    found = factor_of(noisy.masked_fill(holes, 0.0) / 10.0, K, poses)
    assert found == pytest.approx(10.0, rel=0.15)


def test_large_pictures_are_thinned_out(truth: tuple[Tensor, Tensor, Tensor]) -> None:
    depth, K, poses = truth
    large = depth.repeat_interleave(3, dim=1).repeat_interleave(3, dim=2)
    wide = torch.diag(torch.tensor([3.0, 3.0, 1.0])) @ K
    assert factor_of(large / 20.0, wide, poses) == pytest.approx(20.0, rel=0.1)


def test_how_well_the_factor_fits(truth: tuple[Tensor, Tensor, Tensor]) -> None:
    depth, K, poses = truth
    scale = depth_scale(depth * 1000.0, K, poses)
    assert scale is not None
    assert scale.error < 0.03
    assert scale.stored > 10 * scale.error


def test_where_it_cannot_be_told(truth: tuple[Tensor, Tensor, Tensor]) -> None:
    depth, K, poses = truth
    still = poses[:1].expand_as(poses)
    assert factor_of(depth[:1].expand_as(depth), K, still) is None
    turning = poses.clone()
    turning[:, :3, 3] = 0.0
    assert factor_of(depth, K, turning) is None
    sparse = torch.where(torch.arange(64) % 8 == 0, depth, 0.0)
    for silent in ((depth[:1], K[:1], poses[:1]), (sparse, K, poses), (depth * 0.0, K, poses)):
        assert depth_scale(*silent) is None


def test_a_camera_that_hardly_moves_tells_nothing(truth: tuple[Tensor, Tensor, Tensor]) -> None:
    depth, K, poses = truth
    drawn = torch.Generator().manual_seed(0)
    trembling = poses[:1].repeat(8, 1, 1)
    trembling[:, :3, 3] += 1e-3 * torch.randn(8, 3, generator=drawn)
    noise = 1.0 + 0.02 * torch.randn(depth.shape, generator=drawn)
    assert factor_of(depth[:1] * noise, K, trembling) is None


@pytest.mark.parametrize("length", [1, 2, 10, 11, 129, 5000])
def test_frames_are_chosen_once_and_for_all(length: int) -> None:
    chosen = compared_frames(length)
    assert chosen == sorted({*chosen})
    assert compared_frames(len(chosen)) == list(range(len(chosen)))

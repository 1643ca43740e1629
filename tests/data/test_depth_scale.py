"""The factor between depth and cameras, on exact truth."""

import pytest
import torch
from torch import Tensor

from jog3r.data.depth_scale import depth_scale, wrong_unit
from jog3r.data.world import World, WorldConfig


@pytest.fixture(scope="module")
def truth() -> tuple[Tensor, Tensor, Tensor]:
    clip = World(WorldConfig(size=64, samples=1, shadows=False)).clip(5, 8)
    names = ("depth", "K", "world_from_camera")
    depth, K, poses = (torch.from_numpy(getattr(clip, name)) for name in names)
    return depth, K, poses


@pytest.mark.parametrize("factor", [1.0, 1000.0, 0.0254, 3.7])
def test_it_undoes_a_factor(truth: tuple[Tensor, Tensor, Tensor], factor: float) -> None:
    depth, K, poses = truth
    found = depth_scale(depth / factor, K, poses)
    assert found == pytest.approx(factor, rel=0.05)


def test_unknown_depth_and_noise_do_not_matter(truth: tuple[Tensor, Tensor, Tensor]) -> None:
    depth, K, poses = truth
    drawn = torch.Generator().manual_seed(0)
    noisy = depth * (1.0 + 0.02 * torch.randn(len(depth), 1, 1, generator=drawn))
    holes = torch.rand(depth.shape, generator=drawn) < 0.3
    found = depth_scale(noisy.masked_fill(holes, 0.0) / 10.0, K, poses)
    assert found == pytest.approx(10.0, rel=0.15)


@pytest.mark.parametrize(
    ("factor", "wrong"), [(1.0, False), (0.5, False), (3.28, True), (1e-3, True)]
)
def test_depth_in_a_wrong_unit(
    truth: tuple[Tensor, Tensor, Tensor], factor: float, wrong: bool
) -> None:
    depth, K, poses = truth
    found = wrong_unit(depth / factor, K, poses)
    assert found == (pytest.approx(factor, rel=0.05) if wrong else None)


@pytest.mark.parametrize("size", [16, 32])
def test_true_depth_is_never_called_wrong(size: int) -> None:
    world = World(WorldConfig(size=size, samples=1, shadows=False))
    for seed in range(25):
        clip = world.clip(seed, 4)
        names = ("depth", "K", "world_from_camera")
        parts = [torch.from_numpy(getattr(clip, name)) for name in names]
        assert wrong_unit(*parts) is None, seed


def test_where_it_cannot_be_told(truth: tuple[Tensor, Tensor, Tensor]) -> None:
    depth, K, poses = truth
    still = poses[:1].expand_as(poses)
    assert depth_scale(depth[:1].expand_as(depth), K, still) is None
    turning = poses.clone()
    turning[:, :3, 3] = 0.0
    assert depth_scale(depth, K, turning) is None
    assert depth_scale(depth[:1], K[:1], poses[:1]) is None
    sparse = torch.where(torch.arange(64) % 8 == 0, depth, 0.0)
    assert depth_scale(sparse, K, poses) is None

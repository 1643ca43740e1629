"""Voxel means: the definition as reference, chunks, weights, and what is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry import voxels
from jog3r.geometry.voxels import voxel_means


def draw(seed: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    points = 3 * torch.randn(count, 3, generator=generator)
    values = torch.randint(0, 256, (count, 3), generator=generator, dtype=torch.uint8)
    return points, values, 1 + 9 * torch.rand(count, generator=generator)


def by_definition(points: Tensor, values: Tensor, weights: Tensor, size: float) -> Tensor:
    cells: dict[tuple[int, ...], list[int]] = {}
    cell = ((points - points.amin(dim=0)).double() / size).long()
    for index, place in enumerate(cell.tolist()):
        cells.setdefault(tuple(reversed(place)), []).append(index)
    rows = torch.cat([points, values], dim=1).double()
    means = []
    for _, members in sorted(cells.items()):
        share = weights[members, None].double()
        means.append((share * rows[members]).sum(dim=0) / share.sum())
    return torch.stack(means)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), count=st.integers(1, 200), size=st.floats(0.05, 20))
def test_it_is_the_weighted_mean_of_each_cube(seed: int, count: int, size: float) -> None:
    points, values, weights = draw(seed, count)
    expected = by_definition(points, values, weights, size)
    means, (carried,) = voxel_means(points, [values], weights, size)
    assert abs(len(means) - len(expected)) <= 1
    if len(means) == len(expected):  # else a point lies on a wall, where either side is right
        found = torch.cat([means, carried], dim=1).double()
        order, other = found[:, 0].argsort(), expected[:, 0].argsort()
        torch.testing.assert_close(found[order], expected[other])


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    points, values, weights = draw(0, 500)
    whole = voxel_means(points, [values], weights, 1.0)
    monkeypatch.setattr(voxels, "CHUNK", 7)
    parts = voxel_means(points, [values], weights, 1.0)
    torch.testing.assert_close(parts[0], whole[0])
    torch.testing.assert_close(parts[1][0], whole[1][0])
    assert 100 < len(whole[0]) < 450


def test_far_from_the_origin_no_digit_is_lost() -> None:
    points = torch.tensor([[1e6, 0, 0], [1e6 + 0.5, 0, 0], [1e6 + 8, 0, 0]])
    means, _ = voxel_means(points, [], torch.ones(3), 1.0)
    assert sorted(means[:, 0].tolist()) == [1e6 + 0.25, 1e6 + 8]


def test_a_speck_at_the_horizon_changes_nothing_else() -> None:
    points, values, weights = draw(0, 500)
    means, _ = voxel_means(points, [values], weights, 0.5)
    speck = torch.cat([points, torch.tensor([[1e9, 2e9, 3e9]])])
    more, _ = voxel_means(speck, [], torch.cat([weights, torch.ones(1)]), 0.5)
    assert len(more) == len(means) + 1
    near = more[more[:, 0] < 1e8]
    torch.testing.assert_close(near[near[:, 0].argsort()], means[means[:, 0].argsort()])


def test_nothing_stays_nothing() -> None:
    means, (values,) = voxel_means(torch.zeros(0, 3), [torch.zeros(0, 2)], torch.zeros(0), 1.0)
    assert means.shape == (0, 3)
    assert values.shape == (0, 2)


def test_too_fine_a_grid_is_refused() -> None:
    points = torch.tensor([[0.0, 0, 0], [0.0, 0, 1e30]])
    with pytest.raises(InputError, match=r"at most 9e\+15 voxels along each axis, got 1e\+31"):
        voxel_means(points, [], torch.ones(2), 0.1)

"""Outliers: the rule itself as reference, invariances, and what is refused."""

import math
import sys
from typing import Any

import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jog3r.errors import InputError, MissingPackageError
from jog3r.geometry.outliers import inlier_mask


def draw(seed: int, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, 3, generator=generator)
    points[::10] *= 5  # some far out
    return points


def by_definition(points: Tensor, neighbours: int) -> Tensor:
    """Mean distance to the neighbours, in standard deviations above the mean of all points."""
    distances = torch.cdist(points.double(), points.double()).sort(dim=1).values
    mean = distances[:, 1 : neighbours + 1].mean(dim=1)
    return (mean - mean.mean()) / mean.std()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31 - 1), count=st.integers(21, 200), neighbours=st.integers(1, 20))
def test_it_is_the_rule(seed: int, count: int, neighbours: int) -> None:
    points = draw(seed, count)
    above = by_definition(points, neighbours)
    for std_ratio in (0.5, 2.0):
        mask = inlier_mask(points, neighbours=neighbours, std_ratio=std_ratio)
        clear = (above - std_ratio).abs() > 1e-4  # float32 may decide the others either way
        assert torch.equal(mask[clear], (above < std_ratio)[clear])


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31 - 1), scale=st.floats(0.01, 100))
def test_order_frame_and_scale_do_not_matter(seed: int, scale: float) -> None:
    points = draw(seed, 100)
    clear = (by_definition(points, 20) - 2).abs() > 1e-3
    mask = inlier_mask(points)
    assert mask.any()
    assert not mask.all()
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(100, generator=generator)
    assert torch.equal(inlier_mask(points[order])[clear[order]], mask[order][clear[order]])
    rotation = roma.random_rotmat(generator=generator)
    moved = scale * (points @ rotation.T + torch.tensor([1.0, -2.0, 3.0]))
    assert torch.equal(inlier_mask(moved)[clear], mask[clear])


def test_a_stray_point_is_found_and_equal_points_are_kept() -> None:
    points = torch.zeros(50, 3)
    assert inlier_mask(points).all()
    points[7] = torch.tensor([0.0, 0.0, 1.0])
    assert (~inlier_mask(points)).nonzero().tolist() == [[7]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_dtypes_and_gradients_are_taken(dtype: torch.dtype) -> None:
    points = draw(0, 100).to(dtype)
    expected = inlier_mask(points.float())
    assert torch.equal(inlier_mask(points.requires_grad_()), expected)


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (torch.zeros(20, 3), {}, r"points: expected \(n, 3\) with n above 20, got \(20, 3\)"),
        (torch.zeros(0, 3), {"neighbours": 1}, "points: expected"),
        (torch.full((30, 3), math.nan), {}, "points: expected finite values, got 90 NaN"),
        (torch.zeros(30, 3, dtype=torch.int64), {}, "points: expected floating point"),
        (torch.zeros(30, 3), {"neighbours": 0}, "expected at least 1 and more than 0, got 0 and"),
        (torch.zeros(30, 3), {"std_ratio": 0.0}, "and 0.0"),
        (torch.zeros(30, 3), {"std_ratio": math.nan}, "and nan"),
        (torch.zeros(2, 30, 3), {}, r"points: expected \(n, 3\)"),
        (torch.zeros(30, 2), {}, r"points: expected \(\.\.\., 3\), got \(30, 2\)"),
    ],
)
def test_refused(
    monkeypatch: pytest.MonkeyPatch, points: Tensor, options: dict[str, Any], message: str
) -> None:
    # As for a user: without the tests' runtime type checks, which would refuse shapes first.
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(InputError, match=message):
        inlier_mask(points, **options)


def test_without_open3d_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(MissingPackageError, match=r"open3d: expected it .* pip install open3d"):
        inlier_mask(torch.zeros(30, 3))

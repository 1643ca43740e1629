"""Normals of a cloud: a ball as truth, the side they face, and what is refused."""

import math
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from jog3r.errors import InputError, MissingPackageError
from jog3r.geometry.cloud_normals import cloud_normals


def ball(count: int = 2000) -> Tensor:
    points = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(points, dim=1)


def test_normals_of_a_ball_are_its_radii() -> None:
    points = ball()
    normals = cloud_normals(points + torch.tensor([0.0, 0.0, 5.0]), points, neighbours=12)
    assert (normals * points).sum(dim=1).min() > math.cos(math.radians(10))
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(2000))


def test_they_face_the_given_side() -> None:
    points = ball()
    inward = cloud_normals(points, -3 * points, neighbours=12)
    torch.testing.assert_close(inward, -cloud_normals(points, points, neighbours=12))


@pytest.mark.parametrize(
    ("points", "facing", "neighbours", "message"),
    [
        (torch.zeros(10, 3), torch.zeros(9, 3), 5, r"facing: expected \(10, 3\), got \(9, 3\)"),
        (torch.zeros(10, 2), torch.zeros(10, 2), 5, r"points: expected \(\.\.\., 3\)"),
        (torch.full((9, 3), math.nan), torch.zeros(9, 3), 5, "points: expected finite values"),
        (torch.zeros(9, 3), torch.full((9, 3), math.inf), 5, "facing: expected finite values"),
        (torch.zeros(9, 3), torch.zeros(9, 3), 10, "neighbours: expected 3 to 9, .* got 10"),
        (torch.zeros(9, 3), torch.zeros(9, 3), 2, "neighbours: expected 3 to 9"),
        (torch.zeros(0, 3), torch.zeros(0, 3), 3, "neighbours: expected 3 to 0"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_refused(points: Tensor, facing: Tensor, neighbours: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cloud_normals(points, facing, neighbours=neighbours)


def test_without_open3d_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(MissingPackageError, match="expected it to estimate normals, got"):
        cloud_normals(torch.rand(30, 3), torch.rand(30, 3))

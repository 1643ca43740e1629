"""Pointmaps: from depth, their normals, and the focal length inside them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jog3r.errors import InputError
from jog3r.geometry import (
    focal_from_pointmap,
    intrinsics_from_focal,
    intrinsics_from_fov,
    invert,
    normals_from_pointmap,
    pointmap_from_depth,
    transform_points,
    unproject,
)
from tests.scenes import PLANES, scene

SIZE = (14, 18)


def wavy(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2.0 + torch.rand(SIZE, generator=generator, dtype=torch.float64)


def test_pointmaps_of_all_frames_lie_on_the_scene() -> None:
    truth = scene("handheld", frames=3, size=SIZE)
    points = pointmap_from_depth(truth.depth, truth.K, truth.world_from_camera)
    back = transform_points(invert(truth.world_from_camera), points)
    torch.testing.assert_close(back, unproject(truth.depth, truth.K))
    # No point of the room lies outside of its six planes.
    assert float((points @ PLANES[:, :3].T - PLANES[:, 3]).max()) < 1e-9


def test_normals_of_a_plane_are_its_normal() -> None:
    # plane n . x = 3 seen from the origin: depth = 3 / (n . ray)
    normal = torch.nn.functional.normalize(torch.tensor([0.2, -0.3, 1.0]).double(), dim=0)
    rays = unproject(
        torch.ones(SIZE, dtype=torch.float64), intrinsics_from_fov(50.0, SIZE).double()
    )
    points = 3.0 / (rays @ normal)[..., None] * rays
    torch.testing.assert_close(normals_from_pointmap(points), -normal.expand(*SIZE, 3))


def test_normals_face_the_camera_and_have_unit_length() -> None:
    points = scene("forward", frames=2, size=SIZE).points_camera
    normals = normals_from_pointmap(points)
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(2, *SIZE, dtype=torch.float64))
    assert float((normals * points).sum(dim=-1).max()) <= 0


def test_coinciding_points_have_no_normal() -> None:
    assert torch.equal(normals_from_pointmap(torch.ones(3, 3, 3)), torch.zeros(3, 3, 3))


@settings(deadline=None, max_examples=30)
@given(focal=st.floats(4.0, 200.0), seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e3))
def test_focal_is_exact_on_perfect_pointmaps(focal: float, seed: int, scale: float) -> None:
    K = intrinsics_from_focal(torch.tensor(focal, dtype=torch.float64), SIZE)
    found = focal_from_pointmap(scale * unproject(wavy(seed), K))
    assert float(found) == pytest.approx(focal, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_focal_withstands_a_fifth_of_outliers(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = unproject(wavy(seed), intrinsics_from_focal(torch.tensor(16.0).double(), SIZE))
    wild = torch.rand(SIZE, generator=generator) < 0.2
    points[wild] = 5 * torch.randn(int(wild.sum()), 3, generator=generator, dtype=torch.float64)
    assert float(focal_from_pointmap(points)) == pytest.approx(16.0, rel=0.01)


def test_focal_is_unbiased_under_noise_across_the_rays() -> None:
    generator = torch.Generator().manual_seed(0)
    points = unproject(wavy(0), intrinsics_from_focal(torch.tensor(16.0).double(), SIZE))
    noise = 0.1 * torch.randn(64, *SIZE, 3, generator=generator, dtype=torch.float64)
    found = focal_from_pointmap(points + noise)
    # 4 % of noise per point; regressing pixels on points instead would lose about 2 %.
    assert float(found.mean()) == pytest.approx(16.0, rel=0.005)


def test_focal_ignores_pixels_without_confidence_and_points_behind() -> None:
    points = unproject(wavy(1), intrinsics_from_focal(torch.tensor(16.0).double(), SIZE))
    confidence = torch.ones(SIZE, dtype=torch.float64)
    points[:5], confidence[:5] = 7.0, 0.0
    points[5:7] *= -1
    assert float(focal_from_pointmap(points, confidence)) == pytest.approx(16.0, rel=1e-9)


def test_focal_of_a_batch_is_that_of_each() -> None:
    K = intrinsics_from_focal(torch.tensor([10.0, 30.0]).double(), SIZE)
    points = unproject(torch.stack([wavy(2), wavy(3)]), K)
    torch.testing.assert_close(focal_from_pointmap(points), torch.tensor([10.0, 30.0]).double())


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: focal_from_pointmap(torch.zeros(4, 3)), "points_camera: expected"),
        (lambda: focal_from_pointmap(torch.full((4, 4, 3), float("nan"))), "expected finite"),
        (lambda: focal_from_pointmap(-torch.ones(4, 4, 3)), "in front of the camera, got none"),
        (lambda: focal_from_pointmap(torch.ones(4, 4, 3), torch.zeros(4, 4)), "got none"),
        (lambda: focal_from_pointmap(torch.ones(4, 4, 3), torch.ones(4)), "confidence: expected"),
        (
            lambda: focal_from_pointmap(
                unproject(torch.ones(4, 4), intrinsics_from_fov(50.0, (4, 4))).flip(0, 1)
            ),
            "mirrored or collapsed",
        ),
        (lambda: normals_from_pointmap(torch.zeros(1, 4, 3)), "at least 2x2"),
        (lambda: normals_from_pointmap(torch.zeros(4, 3)), "points_camera: expected"),
    ],
)
def test_wrong_arguments_give_one_clear_error(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()

"""Intrinsics travel with their image: resizing and cropping K equals resizing and cropping rays."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jog3r.errors import InputError
from jog3r.geometry import (
    check_intrinsics,
    crop_intrinsics,
    focal,
    intrinsics_from_focal,
    intrinsics_from_fov,
    rays_camera,
    resize_intrinsics,
)

SIDES = st.integers(2, 12)


@st.composite
def cameras(draw) -> tuple[torch.Tensor, tuple[int, int]]:
    """Draw a K with free focal lengths, principal point and skew, and its image's size."""
    height, width = draw(SIDES), draw(SIDES)
    fx, fy = (draw(st.floats(3.0, 40.0)) for _ in range(2))
    cx, cy = draw(st.floats(0.5, width - 0.5)), draw(st.floats(0.5, height - 0.5))
    skew = draw(st.floats(-1.0, 1.0))
    rows = [[fx, skew, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]
    return torch.tensor(rows, dtype=torch.float64), (height, width)


@settings(deadline=None, max_examples=30)
@given(camera=cameras(), factor=st.integers(1, 4))
def test_a_resized_image_sees_the_mean_of_the_rays_it_merges(camera, factor: int) -> None:
    # Rays are linear in the pixel, so the ray of a merged pixel is the mean of the merged rays.
    K, (height, width) = camera
    fine = (height * factor, width * factor)
    rays = rays_camera(resize_intrinsics(K, (height, width), fine), fine)
    merged = rays.unflatten(0, (height, factor)).unflatten(2, (width, factor)).mean(dim=(1, 3))
    torch.testing.assert_close(merged, rays_camera(K, (height, width)))


@settings(deadline=None, max_examples=30)
@given(camera=cameras(), data=st.data())
def test_a_cropped_image_keeps_its_rays(camera, data) -> None:
    K, (height, width) = camera
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    rays = rays_camera(crop_intrinsics(K, top, left), (height - top, width - left))
    torch.testing.assert_close(rays, rays_camera(K, (height, width))[top:, left:])


@settings(deadline=None, max_examples=30)
@given(camera=cameras(), other=st.tuples(SIDES, SIDES))
def test_resizing_there_and_back_changes_nothing(camera, other: tuple[int, int]) -> None:
    K, size = camera
    back = resize_intrinsics(resize_intrinsics(K, size, other), other, size)
    torch.testing.assert_close(back, K)


@pytest.mark.parametrize("fov", [20.0, 60.0, 110.0])
def test_the_field_of_view_reaches_from_border_to_border(fov: float) -> None:
    K = intrinsics_from_fov(fov, (30, 50))
    # Half a pixel beyond the outermost centres lie the borders.
    rays = rays_camera(K, (30, 50))
    half_pixel = 0.5 / float(focal(K))
    tangent = float(rays[-1, 0, 1]) + half_pixel
    assert math.degrees(2 * math.atan(tangent)) == pytest.approx(fov, rel=1e-5)


def test_one_camera_per_field_of_view() -> None:
    K = intrinsics_from_fov(torch.tensor([40.0, 70.0]), (20, 20))
    torch.testing.assert_close(K[1], intrinsics_from_fov(70.0, (20, 20)))


def test_focal_is_the_geometric_mean() -> None:
    K = intrinsics_from_focal(torch.tensor(10.0), (4, 4))
    K[0, 0], K[1, 1] = 8.0, 18.0
    assert float(focal(K)) == pytest.approx(12.0)


def test_valid_intrinsics_pass_the_check() -> None:
    check_intrinsics(intrinsics_from_fov(torch.tensor([40.0, 70.0]), (20, 30)), (20, 30))


@pytest.mark.parametrize(
    ("K", "message"),
    [
        (intrinsics_from_fov(60.0, (480, 640)), "expected pixels of a 64x48 image"),
        (
            torch.tensor([[0.8, 0.0, 0.5], [0.0, 0.8, 0.5], [0.0, 0.0, 1.0]]),
            "use resize_intrinsics",
        ),
        (intrinsics_from_fov(60.0, (48, 64)).T.contiguous(), "expected \\[\\[fx"),
        (torch.full((3, 3), float("nan")), "expected finite"),
        (torch.diag(torch.tensor([-50.0, 50.0, 1.0])), "expected \\[\\[fx"),
    ],
)
def test_intrinsics_of_another_image_are_refused(K: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_intrinsics(K, (48, 64), name="intrinsics")


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: intrinsics_from_fov(180.0, (4, 4)), r"degrees in \(0, 180\)"),
        (lambda: intrinsics_from_fov(60.0, (0, 4)), r"expected \(height, width\)"),
        (lambda: intrinsics_from_fov(60.0, (4.0, 4)), r"expected \(height, width\)"),  # type: ignore[arg-type]
        (lambda: intrinsics_from_focal(torch.tensor(-1.0), (4, 4)), "positive and finite"),
        (lambda: resize_intrinsics(torch.eye(4), (4, 4), (8, 8)), "K: expected"),
        (lambda: resize_intrinsics(torch.eye(3), (4, 4), (8,)), "to_size: expected"),  # type: ignore[arg-type]
        (lambda: crop_intrinsics(torch.eye(2), 0, 0), "K: expected"),
        (lambda: focal(torch.eye(2)), "K: expected"),
    ],
)
def test_wrong_arguments_give_one_clear_error(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_of_many_lenses_the_error_shows_the_wrong_one() -> None:
    many = intrinsics_from_fov(60.0, (48, 64)).repeat(100, 1, 1)
    many[7] = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    with pytest.raises(InputError, match=r"got \[\[-1\.0, 0\.0, 0\.0\], [^,]+(, [^,]+){5}$"):
        check_intrinsics(many, (48, 64))

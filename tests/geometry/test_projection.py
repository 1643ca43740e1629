"""The pinhole: projecting and unprojecting undo each other."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jog3r.errors import InputError
from jog3r.geometry import intrinsics_from_fov, pixel_centres, project, rays_camera, unproject
from jog3r.geometry.projection import MIN_DEPTH

SIZE = (5, 7)
SKEWED = torch.tensor([[9.0, 0.7, 3.1], [0.0, 8.0, 2.2], [0.0, 0.0, 1.0]])


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31 - 1), fov=st.floats(10.0, 140.0))
def test_project_undoes_unproject(seed: int, fov: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    K = torch.stack([intrinsics_from_fov(fov, SIZE), SKEWED]).double()
    depth = 0.1 + 10 * torch.rand(2, *SIZE, generator=generator, dtype=torch.float64)
    pixels, back = project(unproject(depth, K), K)
    torch.testing.assert_close(
        pixels, pixel_centres(SIZE, dtype=torch.float64).expand(2, -1, -1, -1)
    )
    torch.testing.assert_close(back, depth)


def test_a_point_on_the_axis_lands_on_the_principal_point() -> None:
    pixel, depth = project(torch.tensor([0.0, 0.0, 3.0]), SKEWED)
    torch.testing.assert_close(pixel, SKEWED[:2, 2])
    assert float(depth) == 3.0


def test_axes_are_right_down_forward() -> None:
    K = intrinsics_from_fov(60.0, SIZE)
    centre, _ = project(torch.tensor([0.0, 0.0, 1.0]), K)
    right, _ = project(torch.tensor([0.1, 0.0, 1.0]), K)
    down, _ = project(torch.tensor([0.0, 0.1, 1.0]), K)
    assert right[0] > centre[0]
    assert right[1] == centre[1]
    assert down[1] > centre[1]


def test_one_camera_serves_a_batch_and_one_per_frame_is_matched_from_the_left() -> None:
    depth = 1 + torch.rand(3, 2, *SIZE)
    K = torch.stack([intrinsics_from_fov(f, SIZE) for f in (40.0, 50.0, 60.0)])
    points = unproject(depth, K)
    torch.testing.assert_close(points[1], unproject(depth[1], K[1]))
    torch.testing.assert_close(project(points, K)[0][2], project(points[2], K[2])[0])
    torch.testing.assert_close(unproject(depth, K[0])[0], points[0])


def test_depth_is_measured_along_the_axis_not_along_the_ray() -> None:
    points = unproject(torch.full(SIZE, 2.0), SKEWED)
    torch.testing.assert_close(points[..., 2], torch.full(SIZE, 2.0))
    torch.testing.assert_close(points, 2.0 * rays_camera(SKEWED, SIZE))


@pytest.mark.parametrize("depth", [0.0, MIN_DEPTH / 2, -MIN_DEPTH / 2])
def test_pixels_stay_finite_at_zero_depth(depth: float) -> None:
    pixels, back = project(torch.tensor([1e-3, 1e-3, depth]), SKEWED)
    assert torch.isfinite(pixels).all()
    assert float(back) == pytest.approx(depth)


def test_a_point_behind_the_camera_has_negative_depth() -> None:
    _, depth = project(torch.tensor([0.2, 0.1, -4.0]), SKEWED)
    assert float(depth) == -4.0


def test_gradients_flow_through_a_projection() -> None:
    depth = (1 + torch.rand(2, 3, dtype=torch.float64)).requires_grad_()
    K = SKEWED.double().requires_grad_()
    point = torch.tensor([[0.3, -0.2, 2.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unproject, (depth, K))
    assert torch.autograd.gradcheck(lambda p, k: project(p, k)[0], (point, K))


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pixel_centres((2, -1)), "expected \\(height, width\\)"),
        (lambda: project(torch.zeros(4, 2), torch.eye(3)), "points_camera: expected"),
        (lambda: project(torch.zeros(4, 3), torch.eye(3).expand(3, 3, 3)), "from the left"),
        (lambda: unproject(torch.zeros(4), torch.eye(3)), "depth: expected"),
        (lambda: unproject(torch.zeros(2, 4, 4), torch.eye(3).expand(3, 3, 3)), "from the left"),
        (lambda: unproject(torch.zeros(0, 4), torch.eye(3)), "depth: expected"),
        (lambda: rays_camera(torch.eye(4), (2, 2)), "K: expected"),
    ],
)
def test_wrong_arguments_give_one_clear_error(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()

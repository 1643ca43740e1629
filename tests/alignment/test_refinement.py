"""Derivatives against finite differences, and the promise never to be worse than the start."""

import pytest
import roma
import torch

from jog3r.alignment import Regularisers
from jog3r.alignment.refinement import FocalMode, PinholeFit, Pinholes, _objective, refine
from jog3r.alignment.regularisers import Temporal

FRAMES, PIXELS = 4, 60


def problem(seed: int = 0, noise: float = 0.02) -> tuple[PinholeFit, Pinholes]:
    """Return a fit to points with noise, and the true cameras."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(FRAMES, 3, PIXELS, generator=generator, dtype=torch.float64)
    points[:, 2] += 5.0
    time = torch.arange(FRAMES, dtype=torch.float64)
    rotvec = 0.1 * torch.randn(FRAMES, 3, generator=generator, dtype=torch.float64)
    position = 0.2 * time[:, None] * torch.tensor([1.0, 0.2, 0.5], dtype=torch.float64)
    truth = Pinholes(
        roma.rotvec_to_rotmat(rotvec * (time[:, None] > 0)),
        position,
        torch.full((FRAMES,), 1 / 30, dtype=torch.float64),
    )
    inside = truth.rotation.transpose(1, 2) @ (points - position[..., None])
    offset = 30 * inside[:, :2] / inside[:, 2:]
    offset[..., 0] = 0.0  # a pixel on the optical axis, where the radius has no direction
    points[..., 0] = (truth.rotation @ torch.tensor([0, 0, 5.0]).double()) + position
    radius = offset.norm(dim=1)
    points = points + noise * torch.randn(points.shape, generator=generator, dtype=torch.float64)
    fit = PinholeFit(
        points=points,
        direction=torch.where(radius[:, None] > 0, offset / radius[:, None], 1.0).clone(),
        radius=radius,
        inverse_distance=1 / inside.norm(dim=1),
        weights=torch.rand(FRAMES, PIXELS, generator=generator, dtype=torch.float64) / PIXELS,
        noise=torch.full((FRAMES,), 0.01, dtype=torch.float64),
    )
    fit.direction[..., 0] = torch.tensor([1.0, 0.0], dtype=torch.float64)
    return fit, truth


def steps() -> torch.Tensor:
    return torch.eye(7 * FRAMES, dtype=torch.float64).reshape(-1, FRAMES, 7)


def test_gradient_of_the_fit_equals_finite_differences() -> None:
    fit, cameras = problem()
    _, gradient = fit.normal_equations(cameras)
    h = 1e-6
    numeric = [fit.cost(cameras.moved(h * s)) - fit.cost(cameras.moved(-h * s)) for s in steps()]
    numeric = torch.tensor(numeric, dtype=torch.float64) / (2 * h)
    torch.testing.assert_close(2 * gradient.flatten(), numeric, rtol=1e-5, atol=1e-4)


def test_hessian_is_that_of_a_small_error() -> None:
    # Without noise Gauss-Newton is exact.
    fit, cameras = problem(noise=0.0)
    hessian, _ = fit.normal_equations(cameras)
    step = torch.randn(FRAMES, 7, generator=torch.Generator().manual_seed(1)).double()
    h = 1e-5
    curvature = (fit.cost(cameras.moved(h * step)) + fit.cost(cameras.moved(-h * step))) / h**2
    expected = 2 * torch.einsum("ti,tij,tj->", step, hessian, step)
    assert curvature == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize(
    "name",
    [
        "focal_smoothness",
        "static_camera",
        "constant_velocity",
        "rotation_smoothness",
        "constant_turn",
    ],
)
def test_derivatives_of_each_regulariser_equal_finite_differences(name: str) -> None:
    _, cameras = problem(3)
    weights = Regularisers(**{**vars(Regularisers.off()), name: 0.7})
    temporal = Temporal(weights, step_length=0.3)

    def residual(step: torch.Tensor) -> torch.Tensor:
        moved = cameras.moved(step)
        return temporal.terms(moved.rotation, moved.position, -moved.inverse_focal.log())[0]

    _, jacobian = temporal.terms(cameras.rotation, cameras.position, -cameras.inverse_focal.log())
    h = 1e-6
    numeric = torch.stack([(residual(h * s) - residual(-h * s)) / (2 * h) for s in steps()], dim=1)
    torch.testing.assert_close(jacobian, numeric, rtol=1e-6, atol=1e-8)
    assert float(jacobian.abs().max()) > 0.1


def test_regularisers_are_the_formulas_of_the_papers() -> None:
    _, cameras = problem(4)
    rotation, position = cameras.rotation, cameras.position + torch.rand(FRAMES, 3).double()
    log_focal = torch.tensor([3.0, 3.1, 2.9, 3.4], dtype=torch.float64)
    velocity, relative = position.diff(dim=0), rotation[:-1].transpose(1, 2) @ rotation[1:]
    eye = torch.eye(3, dtype=torch.float64)
    expected = {
        "focal_smoothness": log_focal.diff().square().sum(),
        "static_camera": velocity.square().sum() / 0.3**2,
        "constant_velocity": velocity.diff(dim=0).square().sum() / 0.3**2,
        "rotation_smoothness": torch.linalg.matrix_norm(relative - eye).square().sum(),
    }
    for name, value in expected.items():
        temporal = Temporal(Regularisers(**{**vars(Regularisers.off()), name: 2.0}), 0.3)
        residual, _ = temporal.terms(rotation, position, log_focal)
        torch.testing.assert_close(residual.square().sum(), 2.0 * value)


def test_an_even_turn_costs_no_constant_turn() -> None:
    turn = roma.rotvec_to_rotmat(torch.tensor([0.1, 0.2, -0.1], dtype=torch.float64))
    rotation = torch.stack([torch.linalg.matrix_power(turn, k) for k in range(5)])
    temporal = Temporal(Regularisers(**{**vars(Regularisers.off()), "constant_turn": 1.0}), 1.0)
    residual, _ = temporal.terms(rotation, torch.zeros(5, 3).double(), torch.zeros(5).double())
    assert float(residual.abs().max()) < 1e-12


@pytest.mark.parametrize("focal", ["known", "shared", "each"])
def test_refinement_lowers_the_objective_and_holds_what_is_fixed(focal: FocalMode) -> None:
    fit, truth = problem(5)
    jolt = 0.05 * torch.randn(FRAMES, 7, generator=torch.Generator().manual_seed(2)).double()
    jolt[0, :6] = 0.0
    jolt[:, 6] = 0.05
    start, temporal = truth.moved(jolt), Temporal(Regularisers(), 0.2)
    found = refine(fit, temporal, start, focal)
    assert _objective(fit, temporal, found) < 0.5 * _objective(fit, temporal, start)
    assert torch.equal(found.position[0], start.position[0])
    torch.testing.assert_close(found.rotation[0], start.rotation[0])
    change = (found.inverse_focal / start.inverse_focal).log()
    if focal == "known":
        assert float(change.abs().max()) == 0
    elif focal == "shared":
        torch.testing.assert_close(change, change[:1].expand(FRAMES))
        assert float(change.abs().min()) > 0.01
    else:
        assert float(change.std()) > 1e-4


def test_at_the_optimum_the_start_is_kept() -> None:
    fit, truth = problem(6)
    temporal = Temporal(Regularisers(), 0.2)
    once = truth
    for _ in range(4):
        once = refine(fit, temporal, once, "shared")
    again = refine(fit, temporal, once, "shared")
    assert _objective(fit, temporal, again) <= _objective(fit, temporal, once)
    torch.testing.assert_close(again.position, once.position, rtol=0, atol=1e-4)


def test_the_result_does_not_depend_on_the_unit_of_length() -> None:
    fit, truth = problem(7)
    large = PinholeFit(
        **{**vars(fit), "points": 1e4 * fit.points, "inverse_distance": 1e-4 * fit.inverse_distance}
    )
    found = refine(fit, Temporal(Regularisers(), 0.2), truth, "shared")
    scaled = Pinholes(truth.rotation, 1e4 * truth.position, truth.inverse_focal)
    found_large = refine(large, Temporal(Regularisers(), 0.2 * 1e4), scaled, "shared")
    torch.testing.assert_close(found_large.position / 1e4, found.position, rtol=1e-5, atol=1e-7)

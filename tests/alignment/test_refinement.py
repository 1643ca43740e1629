"""Derivatives against finite differences, and the promise never to be worse than the start."""

from dataclasses import replace

import pytest
import roma
import torch
from torch import Tensor

from jog3r.alignment import Regularisers, complete, star
from jog3r.alignment.objective import Objective, objective
from jog3r.alignment.observations import observe
from jog3r.alignment.refinement import refine
from jog3r.alignment.regularisers import Temporal
from jog3r.alignment.start import closed_form
from jog3r.alignment.system import system
from jog3r.alignment.unknowns import Cameras, FocalMode, Layout, layout
from tests.scenes import graph_pairs, scene

FRAMES = 4


def some_cameras(seed: int) -> Cameras:
    """Return cameras in motion, without pairs."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(FRAMES, dtype=torch.float64)
    rotvec = 0.1 * torch.randn(FRAMES, 3, generator=generator, dtype=torch.float64)
    position = 0.2 * time[:, None] * torch.tensor([1.0, 0.2, 0.5], dtype=torch.float64)
    inverse = torch.full((FRAMES,), 1 / 30, dtype=torch.float64)
    return Cameras(roma.rotvec_to_rotmat(rotvec), position, inverse, torch.zeros(0).double())


def steps() -> Tensor:
    return torch.eye(7 * FRAMES, dtype=torch.float64).reshape(-1, FRAMES, 7)


def problem(
    focal: FocalMode, *, graph: str = "complete", noise: float = 0.03, temporal: bool = True
) -> tuple[Objective, Cameras, Layout]:
    """Return terms of a noisy graph, the start, and the unknowns."""
    pairs = complete(FRAMES) if graph == "complete" else star(FRAMES)
    truth = scene("handheld", frames=FRAMES)
    noisy = graph_pairs(truth, pairs, torch.Generator().manual_seed(0), noise=noise)
    observed = observe(noisy, FRAMES, truth.K if focal == "known" else None, None)
    start = closed_form(observed, focal)
    held = torch.tensor([True] + [False] * (FRAMES - 1))
    terms = objective(
        observed,
        start,
        Temporal(Regularisers(), 0.2) if temporal else None,
        focal_known=focal == "known",
    )
    return terms, start, layout(focal, held, len(pairs), hold_scale=True)


@pytest.mark.parametrize("focal", ["known", "shared", "each"])
def test_the_gradient_equals_finite_differences(focal: FocalMode) -> None:
    terms, start, at = problem(focal)
    # The common depth is that of given weights: with it fixed, cost and gradient belong together.
    here = system(terms, start, at, terms.agreement.weights)
    weights, h = here.depth_weights, 1e-6
    here = system(terms, start, at, weights)
    for _ in range(60):  # until the weights are those that they lead to
        here = system(terms, start, at, here.depth_weights)
    weights = here.depth_weights
    numeric = []
    for unit in torch.eye(at.free, dtype=torch.float64):
        ahead, back = (start.moved(*at.split(sign * h * unit)) for sign in (1, -1))
        costs = [system(terms, cameras, at, weights).cost for cameras in (ahead, back)]
        numeric.append((costs[0] - costs[1]) / (2 * h))
    scale = float(here.gradient.abs().max())
    torch.testing.assert_close(
        2 * here.gradient, torch.tensor(numeric).double(), rtol=1e-4, atol=2e-4 * scale
    )


def test_without_error_the_hessian_is_the_curvature_or_above() -> None:
    terms, start, at = problem("shared", noise=1e-5, temporal=False)
    assert terms.own is not None
    parts = {name: getattr(terms, name) for name in ("other", "own", "agreement")}
    level = {name: torch.full_like(part.noise, 1e-2) for name, part in parts.items()}
    terms = replace(
        terms, **{name: replace(part, noise=level[name]) for name, part in parts.items()}
    )
    found = refine(terms, start, at)
    generator, h = torch.Generator().manual_seed(1), 1e-4
    for _ in range(5):
        step = torch.randn(at.free, generator=generator, dtype=torch.float64)
        costs = [
            system(
                terms, found.cameras.moved(*at.split(k * h * step)), at, found.system.depth_weights
            ).cost
            for k in (-1, 0, 1)
        ]
        curvature = (costs[0] - 2 * costs[1] + costs[2]) / h**2
        expected = 2 * float(step @ found.system.hessian @ step)
        assert 0.98 * curvature < expected < 1.1 * curvature


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
    cameras = some_cameras(3)
    weights = Regularisers(**{**vars(Regularisers.off()), name: 0.7})
    temporal = Temporal(weights, step_length=0.3)

    def residual(step: torch.Tensor) -> torch.Tensor:
        moved = cameras.moved(step, torch.zeros(0))
        return temporal.terms(moved.rotation, moved.position, -moved.inverse_focal.log())[0]

    _, jacobian = temporal.terms(cameras.rotation, cameras.position, -cameras.inverse_focal.log())
    h = 1e-6
    numeric = torch.stack([(residual(h * s) - residual(-h * s)) / (2 * h) for s in steps()], dim=1)
    torch.testing.assert_close(jacobian, numeric, rtol=1e-6, atol=1e-8)
    assert float(jacobian.abs().max()) > 0.1


def test_regularisers_are_the_formulas_of_the_papers() -> None:
    cameras = some_cameras(4)
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


@pytest.mark.parametrize("graph", ["complete", "star"])
@pytest.mark.parametrize("focal", ["known", "shared", "each"])
def test_refinement_lowers_the_objective_and_holds_what_is_fixed(
    focal: FocalMode, graph: str
) -> None:
    terms, start, at = problem(focal, graph=graph)
    jolt = 0.03 * torch.randn(at.free, generator=torch.Generator().manual_seed(2)).double()
    start = start.moved(*at.split(jolt))
    found = refine(terms, start, at)
    assert found.system.cost < system(terms, start, at, terms.agreement.weights).cost
    assert torch.equal(found.cameras.position[0], start.position[0])
    torch.testing.assert_close(found.cameras.rotation[0], start.rotation[0])
    assert float(found.cameras.log_scale[0]) == float(start.log_scale[0])
    change = (found.cameras.inverse_focal / start.inverse_focal).log()
    if focal == "known":
        assert float(change.abs().max()) == 0
    elif focal == "shared":
        torch.testing.assert_close(change, change[:1].expand(FRAMES))
        assert float(change.abs().min()) > 1e-5
    else:
        assert float(change.std()) > 1e-4


def test_at_the_optimum_the_start_is_kept() -> None:
    terms, once, at = problem("shared")
    for _ in range(4):
        once = refine(terms, once, at).cameras
    again = refine(terms, once, at).cameras
    torch.testing.assert_close(again.position, once.position, rtol=0, atol=1e-4)


def test_cameras_of_another_unit_see_the_same() -> None:
    terms, start, at = problem("shared", temporal=False)
    cost = system(terms, start, at, terms.agreement.weights).cost
    moved = start.scaled(torch.tensor(3.0).double(), start.position[1])
    torch.testing.assert_close(moved.position[1], start.position[1])
    assert system(terms, moved, at, terms.agreement.weights).cost == pytest.approx(cost, rel=1e-9)

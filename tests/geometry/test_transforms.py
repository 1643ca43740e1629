"""Rigid transforms: group axioms, action on points, and what is refused."""

import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from jog3r.errors import InputError
from jog3r.geometry import (
    check_transforms,
    invert,
    relative,
    rigid,
    to_homogeneous,
    transform_points,
)

SEEDS = st.integers(0, 2**31 - 1)


def assert_equal(actual: torch.Tensor, expected: torch.Tensor) -> None:
    tolerance = 1e-10 if actual.dtype == torch.float64 else 1e-5
    torch.testing.assert_close(actual, expected, rtol=0.0, atol=tolerance)


def draw(seed: int, *batch: int, count: int = 1) -> list[torch.Tensor]:
    """Draw rigid transforms (*batch, 4, 4) in float64."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        rotvec = 2.0 * torch.randn(*batch, 3, generator=generator, dtype=torch.float64)
        position = 5.0 * torch.randn(*batch, 3, generator=generator, dtype=torch.float64)
        found.append(rigid(roma.rotvec_to_rotmat(rotvec), position))
    return found


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS)
def test_inverse_composes_to_identity_from_both_sides(seed: int) -> None:
    (a,) = draw(seed, 3)
    eye = torch.eye(4, dtype=a.dtype).expand(3, 4, 4)
    assert_equal(invert(a) @ a, eye)
    assert_equal(a @ invert(a), eye)
    assert_equal(invert(invert(a)), a)


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS)
def test_relative_chains(seed: int) -> None:
    a, b, c = draw(seed, 2, count=3)
    assert_equal(relative(a, b) @ relative(b, c), relative(a, c))
    assert_equal(relative(a, b), invert(relative(b, a)))
    assert_equal(a @ relative(a, b), b)


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS)
def test_action_of_a_composition_is_the_composition_of_actions(seed: int) -> None:
    a, b = draw(seed, 2, count=2)
    points = torch.randn(2, 4, 5, 3, generator=torch.Generator().manual_seed(seed)).double()
    together = transform_points(a @ b, points)
    assert_equal(together, transform_points(a, transform_points(b, points)))
    assert_equal(transform_points(invert(a), transform_points(a, points)), points)


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS)
def test_rigid_transforms_keep_distances(seed: int) -> None:
    (a,) = draw(seed)
    points = torch.randn(6, 3, generator=torch.Generator().manual_seed(seed)).double()
    assert_equal(torch.pdist(transform_points(a, points)), torch.pdist(points))


def test_batch_dimensions_match_from_the_left() -> None:
    (frames,) = draw(1, 3)
    points = torch.randn(3, 3, 2, 3, dtype=torch.float64)
    moved = transform_points(frames, points)
    one_by_one = torch.stack([transform_points(f, p) for f, p in zip(frames, points, strict=True)])
    assert_equal(moved, one_by_one)
    assert_equal(transform_points(frames[0], points)[0], moved[0])


def test_autocast_is_off_and_half_precision_is_widened() -> None:
    (a,) = draw(2)
    points = torch.randn(100, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        moved = transform_points(a.float(), points)
    assert moved.dtype == torch.float32
    assert_equal(moved, transform_points(a, points.double()).float())
    assert transform_points(a.float(), points.bfloat16()).dtype == torch.float32


def test_to_homogeneous_appends_the_row() -> None:
    (a,) = draw(3, 2)
    assert_equal(to_homogeneous(a[:, :3]), a)


def test_rotations_pass_the_check() -> None:
    check_transforms(draw(4, 5)[0])
    check_transforms(draw(5)[0].float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.fill_(float("nan")), "expected finite"),
        (lambda m: m[0, :3, 0].neg_(), "1 of 2 mirrored"),
        (lambda m: m[:, :3, :3].mul_(2.0), "expected rotations"),
        (lambda m: m.copy_(m.transpose(-1, -2).clone()), "transposed"),
    ],
)
def test_what_is_not_rigid_is_refused(change, message: str) -> None:
    (transforms,) = draw(6, 2)
    change(transforms)
    with pytest.raises(InputError, match=message):
        check_transforms(transforms)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: invert(torch.eye(4)[:3]), r"expected \(\.\.\., 4, 4\), got \(3, 4\); use to_hom"),
        (lambda: invert([[1.0]]), "expected a tensor"),  # type: ignore[arg-type]
        (lambda: invert(torch.eye(4).int()), "expected floating point"),
        (
            lambda: transform_points(torch.eye(4).expand(3, 4, 4), torch.zeros(2, 5, 3)),
            "from the left",
        ),
        (lambda: transform_points(torch.eye(4).expand(3, 4, 4), torch.zeros(3)), "from the left"),
        (lambda: transform_points(torch.eye(4), torch.zeros(5, 2)), "points: expected"),
        (lambda: to_homogeneous(torch.eye(4)), "transform: expected"),
        (lambda: rigid(torch.eye(2), torch.zeros(3)), "rotation: expected"),
        (lambda: check_transforms(torch.eye(3), name="cameras"), "cameras: expected"),
    ],
)
def test_wrong_arguments_give_one_clear_error(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_the_suite_checks_shapes_at_run_time() -> None:
    with pytest.raises(TypeCheckError):
        invert(torch.eye(3))


def test_of_many_transforms_the_error_shows_the_wrong_one() -> None:
    many = torch.eye(4).repeat(100, 1, 1)
    many[7, 3, 3] = 2
    with pytest.raises(InputError, match=r"got \[0\.0, 0\.0, 0\.0, 2\.0\]; is the matrix"):
        check_transforms(many)

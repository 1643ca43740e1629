"""Similarities: exact recovery, invariances, weights, and point sets that determine none."""

import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jog3r.errors import InputError
from jog3r.geometry import Similarity, check_transforms, fit_similarity, rigid


def draw(seed: int, flat: bool = False) -> tuple[torch.Tensor, Similarity]:
    generator = torch.Generator().manual_seed(seed)
    source = torch.randn(2, 20, 3, generator=generator, dtype=torch.float64)
    if flat:
        source[..., 2] = 0.5 * source[..., 0]
    rotvec = 2 * torch.randn(2, 3, generator=generator, dtype=torch.float64)
    translation = 3 * torch.randn(2, 3, generator=generator, dtype=torch.float64)
    scale = torch.exp(torch.randn(2, generator=generator, dtype=torch.float64))
    return source, Similarity(roma.rotvec_to_rotmat(rotvec), translation, scale)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31 - 1), flat=st.booleans())
def test_an_exact_similarity_is_found(seed: int, flat: bool) -> None:
    source, truth = draw(seed, flat)
    fit = fit_similarity(source, truth.points(source))
    torch.testing.assert_close(fit.rotation, truth.rotation)
    torch.testing.assert_close(fit.translation, truth.translation)
    torch.testing.assert_close(fit.scale, truth.scale)


def test_without_scale_the_scale_is_one_and_the_centroids_meet() -> None:
    source, truth = draw(1)
    target = truth.points(source)
    fit = fit_similarity(source, target, with_scale=False)
    torch.testing.assert_close(fit.rotation, truth.rotation)
    assert torch.equal(fit.scale, torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(fit.points(source).mean(dim=1), target.mean(dim=1))


def test_points_of_zero_weight_do_not_count() -> None:
    source, truth = draw(2)
    target, weights = truth.points(source), torch.ones(2, 20, dtype=torch.float64)
    target[:, :6], weights[:, :6] = 9.0, 0.0
    torch.testing.assert_close(fit_similarity(source, target, weights).scale, truth.scale)
    assert not torch.allclose(fit_similarity(source, target).scale, truth.scale)


def test_the_rotation_is_proper_even_for_a_mirrored_target() -> None:
    source, _ = draw(3)
    fit = fit_similarity(source, source * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    check_transforms(rigid(fit.rotation, fit.translation))


def test_cameras_move_with_the_points_they_see() -> None:
    source, similarity = draw(4)
    rotation = roma.random_rotmat(2, dtype=torch.float64)
    cameras = rigid(rotation, torch.randn(2, 3, dtype=torch.float64))
    moved = similarity.cameras(cameras)
    check_transforms(moved)
    # In camera axes, points are scaled and nothing else.
    inside = (source - cameras[:, None, :3, 3]) @ cameras[:, :3, :3]
    inside_moved = (similarity.points(source) - moved[:, None, :3, 3]) @ moved[:, :3, :3]
    torch.testing.assert_close(inside_moved, similarity.scale[:, None, None] * inside)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("source", "target", "weights", "message"),
    [
        (torch.zeros(5, 3), torch.zeros(5, 3), None, "on one line"),
        (torch.arange(15.0).reshape(5, 3), torch.rand(5, 3), None, "on one line"),
        (torch.rand(2, 3), torch.rand(2, 3), None, "at least three"),
        (torch.rand(5, 3), torch.rand(5, 3), torch.tensor([1.0, 1, 0, 0, 0]), "at least three"),
        (torch.rand(5, 3), torch.rand(5, 3), -torch.ones(5), "values >= 0"),
        (torch.rand(5, 3), torch.rand(4, 3), None, "target: expected"),
        (torch.rand(5, 3), torch.rand(5, 3), torch.ones(4), "weights: expected"),
        (torch.rand(5, 3), torch.full((5, 3), float("inf")), None, "target: expected finite"),
        (torch.rand(5, 2), torch.rand(5, 2), None, "source: expected"),
    ],
)
def test_what_determines_no_similarity_is_refused(source, target, weights, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_similarity(source, target, weights)

"""Two alignments of the same frames, moved apart by a known similarity, are brought together."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jog3r.alignment.similarities import from_vector, identity, member, stacked, to_vector
from jog3r.alignment.stitching import SAMPLES, Views, robust_fit, stitch
from jog3r.alignment.window_anchors import anchor, centred, holds, in_given_world, say_scale
from jog3r.errors import AlignmentError
from jog3r.geometry import Similarity
from tests.scenes import Path, Scene, scene


def views(truth: Scene) -> Views:
    return Views(truth.world_from_camera, truth.K, truth.depth, torch.full_like(truth.depth, 9.0))


def moved(seen: Views, a_from_b: Similarity) -> Views:
    """Return what b sees, if a sees `seen`."""
    b_from_a = inverse_of(a_from_b)
    return Views(
        b_from_a.cameras(seen.world_from_camera), seen.K, b_from_a.scale * seen.depth, seen.weights
    )


def inverse_of(fit: Similarity) -> Similarity:
    rotation = fit.rotation.T
    return Similarity(rotation, -(rotation @ fit.translation) / fit.scale, 1 / fit.scale)


def drawn(seed: int) -> Similarity:
    generator = torch.Generator().manual_seed(seed)
    return from_vector(torch.randn(7, generator=generator, dtype=torch.float64))


def apart(one: Similarity, two: Similarity) -> float:
    return float((to_vector(one) - to_vector(two)).abs().max())


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["forward", "arc", "pan", "static"]))
def test_exact_views_give_the_exact_similarity(seed: int, path: Path) -> None:
    seen, a_from_b = views(scene(path, frames=3, turn_deg=0.0)), drawn(seed)
    found = stitch(seen, moved(seen, a_from_b), "a and b")
    assert apart(found.a_from_b, a_from_b) < 1e-7
    assert found.agreement == 1.0
    median = float(seen.depth.median() / a_from_b.scale)
    assert found.length == pytest.approx(median, rel=0.1)


def test_a_single_common_frame_is_enough() -> None:
    seen, a_from_b = views(scene(frames=1)), drawn(4)
    assert apart(stitch(seen, moved(seen, a_from_b), "a and b").a_from_b, a_from_b) < 1e-7


def test_wild_depths_are_outvoted() -> None:
    seen, a_from_b = views(scene(frames=3)), drawn(2)
    other = moved(seen, a_from_b)
    wild = torch.rand(other.depth.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    other = Views(
        other.world_from_camera,
        other.K,
        torch.where(wild, 2 * other.depth, other.depth),
        other.weights,
    )
    found = stitch(seen, other, "a and b")
    assert apart(found.a_from_b, a_from_b) < 1e-3
    assert found.agreement == pytest.approx(0.7, abs=0.03)


def test_pixels_without_depth_or_confidence_do_not_count() -> None:
    seen, a_from_b = views(scene(frames=2)), drawn(3)
    other = moved(seen, a_from_b)
    depth, weights = other.depth.clone(), other.weights.clone()
    depth[:, :8], depth[:, 8:16], weights[:, 8:16] = 0.0, 99.0, 0.0
    found = stitch(seen, Views(other.world_from_camera, other.K, depth, weights), "a and b")
    assert apart(found.a_from_b, a_from_b) < 1e-7


def test_large_frames_are_thinned_on_their_rays() -> None:
    seen, a_from_b = views(scene(frames=1, size=(131, 200))), drawn(5)
    assert seen.depth.numel() > 4 * SAMPLES
    assert apart(stitch(seen, moved(seen, a_from_b), "a and b").a_from_b, a_from_b) < 1e-7


def test_nothing_in_common_names_the_windows() -> None:
    seen = views(scene(frames=2))
    blind = Views(seen.world_from_camera, seen.K, seen.depth, torch.zeros_like(seen.weights))
    with pytest.raises(AlignmentError, match=r"window 1 and window 2: expected at least 16 pixels"):
        stitch(seen, blind, "window 1 and window 2")


def test_error_of_a_fit_is_relative_to_the_distance() -> None:
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = points.clone()
    target[7, 0] += 0.5
    ones = torch.ones(50).double()
    _, error = robust_fit(points, target, ones, 5 * ones, ones)
    assert float(error[7]) == pytest.approx(0.1, rel=0.01)


def known(truth: Scene, *frames: int) -> dict[int, Tensor]:
    return {frame: truth.world_from_camera[frame].float() for frame in frames}


def test_known_cameras_anchor_a_window() -> None:
    truth, world_from_window = scene("arc", frames=4), drawn(6)
    window = moved(views(truth), world_from_window)
    held = anchor(0, window, known(truth, 1, 3))
    assert held is not None
    assert apart(held.a_from_b, world_from_window) < 1e-5
    assert bool((held.weights > 0).all())


def test_one_known_camera_leaves_the_scale_open() -> None:
    truth = scene("arc", frames=4)
    window = centred(moved(views(truth), drawn(6)), known(truth, 2))
    torch.testing.assert_close(window.world_from_camera[2], torch.eye(4).double())
    held = anchor(0, window, known(truth, 2))
    assert held is not None
    assert float(held.weights[6]) == 0.0
    aim = held.a_from_b.cameras(window.world_from_camera[2])
    torch.testing.assert_close(aim, truth.world_from_camera[2], atol=1e-5, rtol=0)


def test_no_known_camera_is_no_anchor() -> None:
    seen = views(scene(frames=2))
    assert anchor(0, seen, {}) is None
    assert centred(seen, {}) is seen


def test_known_cameras_close_together_leave_the_scale_to_others() -> None:
    truth = scene("truck", frames=9, step=0.02)
    near, far = known(truth, 3, 4), known(truth, 0, 8)
    seen = views(truth)
    weak, strong = anchor(0, seen, near), anchor(0, seen, far)
    assert weak is not None
    assert strong is not None
    assert not holds(near, 9)
    assert holds(far, 9)
    assert 0 < float(weak.weights[6]) < 1 < float(strong.weights[6])


def test_chain_goes_where_all_known_cameras_put_it() -> None:
    truth, world_from_chain = scene("arc", frames=6), drawn(8)
    path = moved(views(truth), world_from_chain).world_from_camera
    there = in_given_world(stacked([identity()]), path, known(truth, 0, 5), 2.0)
    assert apart(member(there, 0), world_from_chain) < 1e-5
    assert say_scale(path, [0, 5], 2.0)
    assert not say_scale(path, [0], 2.0)
    kept = in_given_world(stacked([identity()]), path, known(truth, 2), 2.0)
    assert float(kept.scale[0]) == 1.0

"""Fitting frames to a size and results back: K must always describe the same rays."""

import math
from typing import Any

import jaxtyping
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jog3r import InputError
from jog3r.data.media import ResizeAndCrop, resize_and_crop
from jog3r.geometry import intrinsics_from_focal, intrinsics_from_fov, project, unproject

sides = st.integers(8, 90)
sizes = st.tuples(sides, sides)


def stripes(size: tuple[int, int]) -> torch.Tensor:
    """A picture whose colours are the pixel coordinates: red is x, green is y, in [-1, 1]."""
    height, width = size
    y = (torch.arange(height) + 0.5) / height * 2 - 1
    x = (torch.arange(width) + 0.5) / width * 2 - 1
    frame = torch.stack(
        [x.expand(height, width), y[:, None].expand(height, width), 0 * x + 0 * y[:, None]]
    )
    return frame[None]


@given(sizes, sizes)
def test_the_part_used_is_centred_and_as_large_as_can_be(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    mapping = ResizeAndCrop.fit(source, target)
    height, width = mapping.crop_size
    assert height == source[0] or width == source[1]
    assert 0 <= 2 * mapping.top - (source[0] - height) + 1 <= 1
    assert 0 <= 2 * mapping.left - (source[1] - width) + 1 <= 1
    # Square pixels stay square to half a pixel of the source.
    scale_y, scale_x = target[0] / height, target[1] / width
    assert abs(scale_x / scale_y - 1) <= 0.5 / (min(height, width) - 0.5) + 1e-6


@settings(max_examples=40, deadline=None)
@given(sizes, sizes, st.floats(20, 100))
def test_k_goes_there_and_back(
    source: tuple[int, int], target: tuple[int, int], fov_deg: float
) -> None:
    mapping = ResizeAndCrop.fit(source, target)
    K = intrinsics_from_fov(fov_deg, source).repeat(3, 1, 1)
    K[:, :2, 2] += torch.rand(3, 2)
    there = mapping.intrinsics_to_target(K)
    torch.testing.assert_close(mapping.intrinsics_to_source(there), K, rtol=1e-5, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(sizes, sizes)
def test_k_projects_the_same_point_to_the_same_place_of_the_picture(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    """The colours say where in the source a pixel came from; K must agree with them."""
    frames = stripes(source)
    K = intrinsics_from_fov(60.0, source)
    fitted, fitted_K, mapping = resize_and_crop(frames, K, target)
    assert fitted_K is not None
    assert fitted.shape == (1, 3, *target)
    assume(min(mapping.crop_size) > 1)  # a single row has one colour only, wherever it is seen
    # Lift the middle pixels with the new K, look at the points with the old one.
    points = unproject(torch.ones(target), fitted_K)
    pixels, _ = project(points, K)
    inner = (slice(target[0] // 4, 3 * target[0] // 4), slice(target[1] // 4, 3 * target[1] // 4))
    seen_x = (fitted[0, 0] + 1) / 2 * source[1]
    seen_y = (fitted[0, 1] + 1) / 2 * source[0]
    # The antialiasing filter itself moves a linear ramp by up to 0.06 px.
    torch.testing.assert_close(seen_x[inner], pixels[..., 0][inner], atol=0.1, rtol=0)
    torch.testing.assert_close(seen_y[inner], pixels[..., 1][inner], atol=0.1, rtol=0)
    assert mapping.source_size == source


def test_the_field_of_view_of_a_centre_crop() -> None:
    K = intrinsics_from_fov(60.0, (36, 64))
    _, fitted, _ = resize_and_crop(torch.zeros(1, 3, 36, 64), K, (18, 18))
    assert fitted is not None
    fov_deg = 2 * math.degrees(math.atan(9 / float(fitted[1, 1])))
    assert fov_deg == pytest.approx(60, abs=1e-3)
    assert fitted[:2, 2].tolist() == pytest.approx([9, 9], abs=1e-5)


def test_without_k_and_without_change() -> None:
    frames = torch.rand(2, 3, 20, 30) * 2 - 1
    fitted, K, mapping = resize_and_crop(frames, None, (20, 30))
    assert torch.equal(fitted, frames)
    assert K is None
    depth = torch.rand(2, 20, 30) + 1
    assert torch.equal(mapping.depth_to_source(depth), depth)
    assert torch.equal(mapping.confidence_to_source(depth), depth)


@settings(max_examples=25, deadline=None)
@given(sizes, sizes, st.integers(0, 1000))
def test_frames_stay_in_range(source: tuple[int, int], target: tuple[int, int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 2, (1, 3, *source), generator=generator).float() * 2 - 1
    fitted, _, _ = resize_and_crop(frames, None, target)
    assert fitted.abs().max() <= 1


def test_shrinking_averages_instead_of_picking() -> None:
    """A pattern finer than the target's pixels must turn grey, not into another pattern."""
    frames = torch.ones(1, 3, 64, 64)
    frames[..., ::2] = -1
    fitted, _, _ = resize_and_crop(frames, None, (16, 16))
    assert fitted[..., 2:-2].abs().max() < 0.1


# Results, back in the user's pixels


@settings(max_examples=30, deadline=None)
@given(sizes, sizes)
def test_a_plane_stays_a_plane(source: tuple[int, int], target: tuple[int, int]) -> None:
    mapping = ResizeAndCrop.fit(source, target)
    K = intrinsics_from_focal(torch.tensor(float(max(source))), source)
    to_target = mapping.intrinsics_to_target(K)
    # z = 2 + 0.2 x: depth along each ray in closed form, at both resolutions.
    slope_target = unproject(torch.ones(target), to_target)[..., 0]
    slope_source = unproject(torch.ones(source), K)[..., 0]
    back = mapping.depth_to_source((2 / (1 - 0.2 * slope_target))[None])[0]
    used = back > 0
    assert int(used.sum()) == mapping.crop_size[0] * mapping.crop_size[1]
    truth = 2 / (1 - 0.2 * slope_source)
    # Interpolation inside; at the border the outermost value is held for half a pixel.
    step = float((slope_target[:, 1:] - slope_target[:, :-1]).abs().max()) * 0.2 * 2 * 1.5
    assert ((back - truth)[used].abs() < step).all()


def test_depth_is_never_mixed_across_an_edge_or_a_hole() -> None:
    mapping = ResizeAndCrop.fit((40, 40), (8, 8))
    depth = torch.ones(1, 8, 8)
    depth[:, :, 4:] = 3.0
    depth[:, 2:4] = 0.0
    back = mapping.depth_to_source(depth)
    assert set(back.unique().tolist()) == {0.0, 1.0, 3.0}
    # Nearest: the edge lies where the pixels meet.
    assert back[0, 30, 19] == 1
    assert back[0, 30, 20] == 3
    assert (back[0, 10:20] == 0).all()
    assert (back[0, :10] > 0).all()


def test_depth_is_smooth_inside_a_surface() -> None:
    mapping = ResizeAndCrop.fit((32, 32), (8, 8))
    depth = (2 + 0.05 * torch.arange(8.0)).expand(1, 8, 8)
    back = mapping.depth_to_source(depth)[0, 0]
    steps = back[1:] - back[:-1]
    torch.testing.assert_close(steps[2:-2], torch.full((27,), 0.05 / 4))


def test_what_the_crop_cut_off_is_marked() -> None:
    mapping = ResizeAndCrop.fit((16, 40), (8, 8))
    depth = mapping.depth_to_source(torch.full((3, 8, 8), 2.0))
    confidence = mapping.confidence_to_source(torch.full((3, 8, 8), 5.0))
    assert depth.shape == confidence.shape == (3, 16, 40)
    inside = torch.zeros(16, 40, dtype=torch.bool)
    inside[:, 12:28] = True
    assert (depth[:, inside] == 2).all()
    assert (depth[:, ~inside] == 0).all()
    assert (confidence[:, inside] == 5).all()
    assert (confidence[:, ~inside] == 1).all()


@settings(max_examples=30, deadline=None)
@given(sizes, sizes, st.integers(0, 1000))
def test_results_keep_to_their_bounds(
    source: tuple[int, int], target: tuple[int, int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    mapping = ResizeAndCrop.fit(source, target)
    depth = 1 + torch.rand(1, *target, generator=generator)
    depth[torch.rand(1, *target, generator=generator) < 0.3] = 0
    back = mapping.depth_to_source(depth)
    valid = back > 0
    if valid.any():
        assert back[valid].min() >= depth[depth > 0].min() * (1 - 1e-6)
        assert back.max() <= depth.max() * (1 + 1e-6)
    confidence = mapping.confidence_to_source(1 + torch.rand(1, *target, generator=generator))
    assert confidence.min() >= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resize_and_crop(torch.zeros(1, 3, 8, 8) + 2, None, (8, 8)), r"\[-1, 1\]"),
        (
            lambda: resize_and_crop(torch.zeros(1, 8, 8, 3), None, (8, 8)),  # type: ignore[arg-type]
            r"expected \(T, 3, H, W\)",
        ),
        (lambda: resize_and_crop(torch.zeros(1, 3, 8, 8), None, (0, 8)), "at least 1 px"),
        (lambda: ResizeAndCrop.fit((8, 8), (4, 4)).depth_to_source(torch.ones(1, 8, 8)), "maps:"),
        (
            lambda: ResizeAndCrop.fit((8, 8), (4, 4)).frames_to_target(torch.zeros(1, 3, 9, 9)),
            r"frames: expected \(T, 3, 8, 8\)",
        ),
        (
            lambda: ResizeAndCrop.fit((8, 8), (4, 4)).intrinsics_to_target(torch.eye(4)),
            r"K: expected",
        ),
    ],
)
def test_unusable_arguments(call: Any, message: str) -> None:
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(InputError, match=message):
            call()
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)

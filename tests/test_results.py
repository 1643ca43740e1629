import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jog3r import Cameras, Generation, InputError, PointCloud, Reconstruction, Video
from jog3r.geometry import intrinsics_from_fov, invert, project, transform_points
from jog3r.results import PointSelection

T, H, W = 3, 12, 16


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Switch the runtime type checks off: what is left is what a user meets."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def parts() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (T, H, W, 3), dtype=torch.uint8, generator=generator)
    world_from_camera = torch.eye(4).repeat(T, 1, 1)
    world_from_camera[:, 0, 3] = torch.arange(T) * 0.5
    K = intrinsics_from_fov(60.0, (H, W)).repeat(T, 1, 1)
    return {
        "video": Video(frames, 8.0),
        "cameras": Cameras(world_from_camera, K, (H, W)),
        "depth": 1 + torch.rand(T, H, W, generator=generator),
        "confidence": 1 + torch.rand(T, H, W, generator=generator),
        "scale": "relative",
    }


def reconstruction(**changes: Any) -> Reconstruction:
    return Reconstruction(**(parts() | changes))


# Video


def test_every_8_bit_value_survives_the_inner_form() -> None:
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).repeat(1, 1, 1, 3)
    video = Video(values, 8)
    inner = video.tensor()
    assert inner.shape == (1, 3, 16, 16)
    assert inner.min() == -1
    assert inner.max() == 1
    assert Video.from_tensor(inner, 8) == video


def test_the_inner_form_puts_colours_second() -> None:
    frames = torch.zeros(1, 2, 3, 3, dtype=torch.uint8)
    frames[0, 1, 2, 0] = 255
    inner = Video(frames, 8).tensor()
    assert inner[0, 0, 1, 2] == 1
    assert inner.sum() == 2 - inner.numel()


def test_video_tells_its_size() -> None:
    video = parts()["video"]
    assert (len(video), video.height, video.width) == (T, H, W)
    assert repr(video) == "Video(3 frames, 16x12 px, 8 fps)"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("frames", "fps", "message"),
    [
        (torch.zeros(2, 8, 8, 3), 8, "frames: expected torch.uint8"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), 8, r"frames: expected \(T, H, W, 3\)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), 8, r"frames: expected \(T, H, W, 3\)"),
        (torch.zeros(0, 8, 8, 3, dtype=torch.uint8), 8, r"got \(0, 8, 8, 3\)"),
        ([[1]], 8, "expected a tensor"),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8), 0, "fps: expected"),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8), math.nan, "fps: expected"),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8), "8", "fps: expected"),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8), True, "fps: expected"),
    ],
)
def test_video_refuses(frames: Any, fps: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Video(frames, fps)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (torch.zeros(2, 8, 8, 3), r"expected \(T, 3, H, W\)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int64), "expected floating point"),
        (torch.full((2, 3, 8, 8), math.nan), "NaN or infinite of 384"),
        (torch.full((2, 3, 8, 8), 1.01), r"got 1.01 to 1.01; rescale or .clamp\(-1, 1\)"),
        (None, "expected a tensor"),
    ],
)
def test_from_tensor_refuses(frames: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Video.from_tensor(frames, 8)


def test_video_saves_as_mp4_only(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ending in .mp4, got .*clip.avi"):
        parts()["video"].save(tmp_path / "clip.avi")
    assert parts()["video"].save(tmp_path / "clip") == tmp_path / "clip.mp4"
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("path", ["", ".", "..", "/", "a\0b.mp4", 5, None])
def test_a_video_needs_a_name(path: Any) -> None:
    with pytest.raises(InputError, match="path: expected"):
        parts()["video"].save(path)


# Cameras and PointCloud


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"world_from_camera": torch.eye(4)}, "world_from_camera: expected"),
        ({"world_from_camera": torch.eye(4).repeat(3, 1, 1).double()}, "expected torch.float32"),
        ({"world_from_camera": torch.full((3, 4, 4), math.nan)}, "NaN"),
        (
            {"world_from_camera": torch.diag(torch.tensor([1.0, -1, 1, 1])).repeat(3, 1, 1)},
            "mirrored",
        ),
        ({"world_from_camera": torch.eye(4).repeat(3, 1, 1) * 2}, "world_from_camera: expected"),
        ({"world_from_camera": torch.eye(4).repeat(3, 1, 1).requires_grad_()}, "detach"),
        ({"K": torch.eye(3).repeat(2, 1, 1)}, r"K: expected \(3, 3, 3\)"),
        ({"K": torch.eye(3).repeat(3, 1, 1)}, "K: expected pixels of a 16x12 image"),
        ({"image_size": (120, 160)}, None),
        ({"image_size": (6, 8)}, "K: expected pixels of a 8x6 image"),
        ({"image_size": [12, 16]}, "image_size: expected a tuple"),
    ],
)
def test_cameras_refuse(changes: dict[str, Any], message: str | None) -> None:
    good = parts()["cameras"]
    fields = {name: getattr(good, name) for name in ("world_from_camera", "K", "image_size")}
    if message is None:  # a larger image could just be an off-centre crop
        Cameras(**(fields | changes))
        return
    with pytest.raises(InputError, match=message):
        Cameras(**(fields | changes))


@pytest.mark.usefixtures("unchecked")
def test_point_cloud_refuses() -> None:
    points, colors = torch.zeros(5, 3), torch.zeros(5, 3, dtype=torch.uint8)
    PointCloud(points, colors, torch.ones(5))
    with pytest.raises(InputError, match=r"colors: expected \(5, 3\), got \(4, 3\)"):
        PointCloud(points, colors[:4], torch.ones(5))
    with pytest.raises(InputError, match=r"confidence: expected \(5\)"):
        PointCloud(points, colors, torch.ones(5, 1))
    with pytest.raises(InputError, match="points: expected finite values, got 3"):
        PointCloud(points.index_fill(0, torch.tensor([2]), math.inf), colors, torch.ones(5))


def test_a_speck_in_the_air_is_left_out_with_its_color_and_confidence() -> None:
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
    points = torch.stack([rows, columns, 0 * rows], dim=-1).float().flatten(0, 1)
    points[5] = torch.tensor([0.0, 0.0, 20.0])
    colors = torch.arange(36, dtype=torch.uint8)[:, None].expand(36, 3)
    cloud = PointCloud(points, colors, 1 + torch.arange(36.0))
    rest = [n for n in range(36) if n != 5]
    expected = PointCloud(points[rest], colors[rest], cloud.confidence[rest])
    assert cloud.without_outliers() == expected
    assert cloud.without_outliers(std_ratio=100) == cloud
    with pytest.raises(InputError, match="n above 40, got"):
        cloud.without_outliers(neighbours=40)


def test_point_cloud_saves_as_ply_or_glb_only(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ending in .ply or .glb"):
        reconstruction().points.save(tmp_path / "cloud.obj")
    assert not list(tmp_path.iterdir())


# Reconstruction


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": torch.ones(T, W, H)}, r"depth: expected \(3, 12, 16\), got \(3, 16, 12\)"),
        ({"depth": torch.full((T, H, W), math.inf)}, "set pixels without value to 0"),
        ({"depth": -torch.ones(T, H, W)}, "depth: expected at least 0, got -1"),
        ({"confidence": torch.zeros(T, H, W)}, "confidence: expected at least 1, got 0"),
        ({"depth": torch.full((T, H, W), math.nan)}, "expected finite values, got 576 NaN"),
        ({"scale": "feet"}, "scale: expected one of"),
        ({"mask": torch.ones(T, H, W)}, "mask: expected torch.bool"),
        ({"mask": torch.ones(H, W, dtype=torch.bool)}, r"mask: expected \(3, 12, 16\)"),
        ({"flags": "no-parallax: the camera only turns"}, "flags: expected a tuple of texts"),
        ({"flags": ["no-parallax: the camera only turns"]}, "flags: expected a tuple of texts"),
        ({"flags": ("no-parallax",)}, "flags: expected a tuple of texts 'code: sentence', got"),
        ({"flags": ("No parallax: it only turns",)}, "flags: expected a tuple of texts"),
        ({"flags": (5,)}, "flags: expected a tuple of texts"),
        ({"video": Video(torch.zeros(2, H, W, 3, dtype=torch.uint8), 8)}, "cameras: expected"),
        ({"video": Video(torch.zeros(T, W, H, 3, dtype=torch.uint8), 8)}, "cameras: expected"),
    ],
)
def test_reconstruction_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        reconstruction(**changes)


def test_points_world_project_back_to_their_pixels() -> None:
    scene = reconstruction()
    points_camera = transform_points(invert(scene.cameras.world_from_camera), scene.points_world)
    pixels, depth = project(points_camera, scene.cameras.K)
    torch.testing.assert_close(depth, scene.depth)
    torch.testing.assert_close(pixels[1, 3, 5], torch.tensor([5.5, 3.5]))


def test_points_without_depth_lie_at_the_camera() -> None:
    depth = parts()["depth"]
    depth[1, 2, 3] = 0
    assert reconstruction(depth=depth).points_world[1, 2, 3].tolist() == [0.5, 0, 0]


def test_selection_drops_exactly_the_least_confident_fifth() -> None:
    order = torch.randperm(T * H * W, generator=torch.Generator().manual_seed(2))
    confidence = 1 + order.float().reshape(T, H, W)
    scene = reconstruction(confidence=confidence)
    assert T * H * W == 576
    kept = confidence > 1 + 115 - 0.5  # int(0.2 * 576) = 115 go
    assert torch.equal(scene.point_mask(), kept)
    cloud = scene.points
    assert torch.equal(cloud.confidence, confidence[kept])
    assert torch.equal(cloud.colors, scene.video.frames[kept])
    assert torch.equal(cloud.points, scene.points_world[kept])


def test_selection_keeps_all_of_equal_confidence() -> None:
    assert len(reconstruction(confidence=torch.ones(T, H, W)).points) == T * H * W


def test_selection_never_takes_pixels_without_depth() -> None:
    depth = parts()["depth"]
    depth[:, :6] = 0
    confidence = torch.ones(T, H, W)
    confidence[:, :6] = 100
    scene = reconstruction(depth=depth, confidence=confidence)
    everything = scene.select_points(PointSelection(drop_fraction=0))
    assert torch.equal(everything.colors, scene.video.frames[depth > 0])
    # Percentiles are those of valid pixels: the sky's confidence does not push others out.
    assert len(scene.points) == T * 6 * W


def test_selection_of_nothing_is_empty() -> None:
    assert len(reconstruction(depth=torch.zeros(T, H, W)).points) == 0


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 0.99), st.integers(0, 10_000))
def test_a_mask_does_not_shift_the_percentile_inside_it(fraction: float, seed: int) -> None:
    scene = reconstruction()
    mask = torch.rand(T, H, W, generator=torch.Generator().manual_seed(seed)) < 0.3
    kept = scene.point_mask(PointSelection(drop_fraction=fraction), mask=mask)
    assert not bool((kept & ~mask).any())
    inside, left = scene.confidence[mask], scene.confidence[mask & ~kept]
    assert len(left) == int(fraction * len(inside))
    assert len(left) == 0 or scene.confidence[kept].min() >= left.max()


def test_the_own_mask_keeps_pixels_out_of_cloud_and_percentile() -> None:
    mask = torch.rand(T, H, W, generator=torch.Generator().manual_seed(3)) < 0.4
    other = torch.rand(T, H, W, generator=torch.Generator().manual_seed(4)) < 0.4
    own = reconstruction(mask=mask)
    assert torch.equal(own.point_mask(), reconstruction().point_mask(mask=mask))
    both = reconstruction().point_mask(mask=mask & other)
    assert torch.equal(own.point_mask(mask=other), both)
    assert own.points == reconstruction().select_points(mask=mask) != reconstruction().points
    assert len(reconstruction(mask=torch.zeros(T, H, W, dtype=torch.bool)).points) == 0


@pytest.mark.usefixtures("unchecked")
def test_selection_refuses() -> None:
    with pytest.raises(InputError, match=r"mask: expected torch.bool"):
        reconstruction().select_points(mask=torch.ones(T, H, W))
    with pytest.raises(InputError, match=r"mask: expected \(3, 12, 16\)"):
        reconstruction().select_points(mask=torch.ones(H, W, dtype=torch.bool))


# Generation and equality


def test_generation_refuses_the_reconstruction_of_another_video() -> None:
    scene = reconstruction()
    Generation(scene.video, "a", 0, scene)
    other = Video(255 - scene.video.frames, scene.video.fps)
    with pytest.raises(InputError, match="got one of other frames"):
        Generation(other, "a", 0, scene)


@pytest.mark.usefixtures("unchecked")
def test_generation_checks_prompt_and_seed() -> None:
    video = parts()["video"]
    seed: Any = np.int64(3)
    assert type(Generation(video, "a", seed).seed) is int
    for prompt in (None, 5):
        with pytest.raises(InputError, match="prompt: expected text, got"):
            Generation(video, prompt, 0)  # type: ignore[arg-type]
    for seed in ("1", True, 1.0, None):
        with pytest.raises(InputError, match="seed: expected a whole number, got"):
            Generation(video, "a", seed)


def test_results_are_equal_when_all_their_numbers_are() -> None:
    assert reconstruction() == reconstruction()
    assert Generation(parts()["video"], "a", 0) == Generation(parts()["video"], "a", 0)
    assert Generation(parts()["video"], "a", 0) != Generation(parts()["video"], "b", 0)
    assert reconstruction() != reconstruction(scale="metric")
    mask = torch.ones(T, H, W, dtype=torch.bool)
    assert reconstruction(mask=mask) != reconstruction()
    assert reconstruction(mask=mask) == reconstruction(mask=mask.clone())
    assert reconstruction(flags=("a: b",)) != reconstruction()
    depth = parts()["depth"]
    depth[-1, -1, -1] = torch.nextafter(depth[-1, -1, -1], torch.tensor(9.0))
    assert reconstruction() != reconstruction(depth=depth)
    assert parts()["video"] != parts()["cameras"]
    assert parts()["video"] != 3


def test_results_cannot_be_changed_or_hashed() -> None:
    scene = reconstruction()
    with pytest.raises(AttributeError):
        scene.scale = "metric"  # type: ignore[misc]
    with pytest.raises(TypeError):
        hash(scene)


def test_results_print_in_one_line() -> None:
    scene = reconstruction()
    for value in (scene, scene.cameras, scene.points, Generation(scene.video, "a", 0, scene)):
        assert "\n" not in repr(value)
        assert len(repr(value)) < 120

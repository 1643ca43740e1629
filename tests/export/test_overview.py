from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jog3r import Cameras, Reconstruction, SaveError, Video
from jog3r.export.overview import DPI, WIDTH, write_overview

Make = Callable[..., Reconstruction]


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def share_of(pixels: np.ndarray, color: list[int]) -> float:
    return float((pixels == np.array(color)).all(axis=-1).mean())


def plain_frames(count: int, height: int = 16, width: int = 16) -> tuple[Video, list[list[int]]]:
    """Frames of one colour each, all different."""
    colors = [[250 - 10 * t, 20 + 5 * t, 128] for t in range(count)]
    frames = torch.tensor(colors, dtype=torch.uint8)[:, None, None].repeat(1, height, width, 1)
    return Video(frames, 8), colors


def test_up_to_eight_frames_are_shown_unchanged(tmp_path: Path) -> None:
    video, colors = plain_frames(15)
    write_overview(tmp_path / "a.png", video, title="a title")
    pixels = picture(tmp_path / "a.png")
    assert pixels.shape[1] == round(WIDTH * DPI)
    shown = [index for index, color in enumerate(colors) if share_of(pixels, color) > 0.01]
    assert shown == [0, 2, 4, 6, 8, 10, 12, 14]
    # From left to right in time.
    lefts = [(pixels == np.array(colors[i])).all(axis=-1).any(axis=0).argmax() for i in shown]
    assert lefts == sorted(lefts)


def test_tiny_frames_stay_crisp(tmp_path: Path) -> None:
    frames = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    frames[:, ::2, ::2] = frames[:, 1::2, 1::2] = torch.tensor([255, 0, 0], dtype=torch.uint8)
    write_overview(tmp_path / "a.png", Video(frames, 8), title="")
    pixels = picture(tmp_path / "a.png").astype(int)
    # Enlarging by interpolation would mix red and black.
    mixed = (pixels[..., 0] > 40) & (pixels[..., 0] < 215) & (pixels[..., 1] == 0)
    assert not mixed.any()
    assert share_of(pixels, [255, 0, 0]) > 0.01


def test_depth_maps_share_their_colours(make_reconstruction: Make, tmp_path: Path) -> None:
    scene = make_reconstruction(4, (16, 16))
    depth = torch.ones(4, 16, 16)
    depth[1:3] = 2.0
    depth[3, :, :8], depth[3, :, 8:] = 4.0, 0.0
    video, _ = plain_frames(4)
    scene = Reconstruction(video, scene.cameras, depth, torch.ones_like(depth), "metric")
    write_overview(tmp_path / "a.png", video, scene, title="depth")
    pixels = picture(tmp_path / "a.png")
    near, middle, far = [158, 1, 66], [254, 254, 190], [94, 79, 162]  # ends and middle of the map
    areas = [share_of(pixels, color) for color in (near, middle, far)]
    assert areas[0] > 0.008
    assert areas[2] == pytest.approx(areas[0] / 2, rel=0.2)
    assert share_of(pixels, [0xD5, 0xD8, 0xDC]) == pytest.approx(areas[0] / 2, rel=0.2)
    shown = np.abs(pixels.astype(int) - middle).max(axis=-1) < 3
    assert shown.mean() == pytest.approx(2 * areas[0], rel=0.2)


def test_the_scene_shows_points_and_cameras(make_reconstruction: Make, tmp_path: Path) -> None:
    scene = make_reconstruction(3, (16, 16))
    video = Video(torch.full((3, 16, 16, 3), 7, dtype=torch.uint8), 8)
    scene = Reconstruction(video, scene.cameras, scene.depth, scene.confidence, "relative")
    write_overview(tmp_path / "a.png", video, scene, title="x")
    lower = picture(tmp_path / "a.png")
    lower = lower[lower.shape[0] // 2 :].astype(int)
    assert share_of(lower, [7, 7, 7]) > 0.01
    assert (np.abs(lower - [0x3F, 0x7F, 0xE8]).max(axis=-1) < 12).any()  # first camera
    assert (np.abs(lower - [0xE8, 0x48, 0x3B]).max(axis=-1) < 12).any()  # last camera


@pytest.mark.parametrize(
    ("frames", "size", "depth"),
    [(1, (16, 16), None), (2, (8, 40), None), (40, (40, 8), None), (2, (16, 16), 0.0)],
)
def test_odd_clips_are_drawn(
    make_reconstruction: Make, tmp_path: Path, frames: int, size: tuple[int, int], depth: float
) -> None:
    scene = make_reconstruction(frames, size)
    if depth is not None:
        empty = torch.full_like(scene.depth, depth)
        scene = Reconstruction(scene.video, scene.cameras, empty, scene.confidence, "relative")
    write_overview(tmp_path / "a.png", scene.video, scene, title="x")
    pixels = picture(tmp_path / "a.png")
    assert pixels.shape[0] > 500
    assert pixels.std() > 10


@pytest.mark.parametrize(("depth", "focal"), [(1e30, 10.0), (1e-30, 10.0), (2.0, 1e30)])
def test_extreme_scenes_are_drawn(
    make_reconstruction: Make, tmp_path: Path, depth: float, focal: float
) -> None:
    scene = make_reconstruction(2, (16, 16))
    K = scene.cameras.K.clone()
    K[:, 0, 0] = K[:, 1, 1] = focal
    cameras = Cameras(scene.cameras.world_from_camera, K, (16, 16))
    flat = torch.full_like(scene.depth, depth)
    scene = Reconstruction(scene.video, cameras, flat, scene.confidence, "relative")
    write_overview(tmp_path / "a.png", scene.video, scene, title="x")
    assert picture(tmp_path / "a.png").std() > 10


@pytest.mark.parametrize(
    "title", ["", "not UTF-8: \udcff", "$x_{2", "一个红色的球", "long " * 200, "two\nlines"]
)
def test_any_prompt_can_be_the_title(tmp_path: Path, title: str) -> None:
    write_overview(tmp_path / "a.png", plain_frames(1)[0], title=title)
    assert picture(tmp_path / "a.png").shape[1] == round(WIDTH * DPI)


def test_writing_where_nothing_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SaveError, match=r"file/a\.png"):
        write_overview(tmp_path / "file" / "a.png", plain_frames(1)[0], title="x")

"""The pictures of the documentation can be made again."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

from jog3r import Cameras
from jog3r.data.media import read_video
from jog3r.data.world import HELD_OUT, World, WorldConfig

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
CLIP = DOCS.parent / "jog3r" / "assets" / "real_clip"


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_images", DOCS / "make_images.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_first_screen(pictures: ModuleType, tmp_path: Path) -> None:
    scene = pictures.true_scene(World(WorldConfig(size=32)).clip(HELD_OUT, 2))
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    pictures.first_screen(one, [("a scene", scene)])
    pictures.first_screen(two, [("a scene", scene), ("again", scene)])
    with Image.open(one) as first, Image.open(two) as second:
        assert first.width == second.width
        assert second.height > 1.6 * first.height
        assert len(second.convert("RGB").getcolors(1 << 20) or []) > 100


def test_world_sheet(pictures: ModuleType, tmp_path: Path) -> None:
    pictures.world_sheet(tmp_path / "world.png", size=16)
    with Image.open(tmp_path / "world.png") as sheet:
        assert len(sheet.convert("RGB").getcolors(1 << 20) or []) > 100


def test_curves(pictures: ModuleType, tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.csv"
    metrics.write_text(
        "step,train/gen,train/rec,val/gen,val/rec\n"
        "9,1.0,0.5,,\n19,0.9,,,\n29,,,0.8,0.4\n39,0.7,0.3,,\n"
    )
    pictures.curves(tmp_path / "curves.png", metrics)
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (900, 300)


def test_committed_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in (DOCS / "images").glob("*.png")}
    assert sizes["world.png"] <= 300_000
    assert all(size <= 600_000 for size in sizes.values())


def test_real_clip_fits_its_cameras() -> None:
    video, cameras = read_video(CLIP), Cameras.load(CLIP / "cameras.json", "json")
    assert len(video) == len(cameras)
    assert cameras.image_size == (video.height, video.width)
    assert torch.allclose(cameras.world_from_camera[0], torch.eye(4), atol=1e-6)
    assert sum(path.stat().st_size for path in CLIP.iterdir()) < 400_000

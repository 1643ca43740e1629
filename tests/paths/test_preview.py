"""The picture of a path shows its cameras, from the side that its title says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from PIL import Image

from jog3r.errors import SaveError
from jog3r.paths import Dolly, Move, Orbit, Pan, Pedestal, Truck, cameras_along, cameras_in_scene
from jog3r.paths.preview import write_preview
from tests.paths.test_sampling import scene


def drawn(folder: Path, move: Move) -> np.ndarray:
    """Return where the picture is not grey (saturated colours: the cameras), as (H, W)."""
    cameras = cameras_along(move, 9, image_size=(48, 64), fov_y_deg=40.0)
    write_preview(folder / "a.png", cameras, title="a $path$")
    pixels = np.asarray(Image.open(folder / "a.png").convert("RGB")).astype(int)
    return pixels.max(axis=-1) - pixels.min(axis=-1) > 60


def extent(mask: np.ndarray, left: float, right: float) -> tuple[int, int]:
    """Return height and width of what is drawn between two shares of the picture's width."""
    part = mask[:, int(left * mask.shape[1]) : int(right * mask.shape[1])]
    rows, columns = np.nonzero(part)
    return int(np.ptp(rows)), int(np.ptp(columns))


@pytest.mark.parametrize(
    ("move", "above", "side"),
    [
        (Dolly(distance_world=1.0), "tall", "wide"),  # forward runs up in one, to the right in one
        (Truck(distance_world=1.0), "wide", None),
        (Pedestal(distance_world=1.0), None, "tall"),
    ],
)
def test_views_are_from_where_they_say(tmp_path: Path, move: Move, above, side) -> None:
    mask = drawn(tmp_path, move)
    for wanted, (left, right) in ((above, (0.0, 0.36)), (side, (0.37, 0.71))):
        height, width = extent(mask, left, right)
        if wanted is not None:
            assert (height > 1.5 * width) == (wanted == "tall")
            assert (width > 1.5 * height) == (wanted == "wide")


def test_a_scene_is_drawn_behind_the_cameras(tmp_path: Path) -> None:
    here = scene()
    cameras = cameras_in_scene(Orbit(angle_deg=40.0, radius_world=3.0), 5, here)
    write_preview(tmp_path / "alone.png", cameras)
    write_preview(tmp_path / "scene.png", cameras, here)
    dark = [
        (np.asarray(Image.open(tmp_path / name).convert("L")) < 60).mean()
        for name in ("alone.png", "scene.png")
    ]
    assert dark[1] > 2 * dark[0]


def test_a_camera_that_stands_still_can_be_drawn(tmp_path: Path) -> None:
    cameras = cameras_along(Pan(angle_deg=0.0), 1, image_size=(48, 64), fov_y_deg=40.0)
    write_preview(tmp_path / "a.png", cameras)
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError):
        write_preview(tmp_path / "file" / "a.png", cameras)
    assert torch.equal(cameras.world_from_camera[0], torch.eye(4))


def test_a_curve_of_zeros_has_an_ordinary_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tops: list[float] = []
    keep = Axes.set_ylim

    def noted(axes: Axes, *limits: Any, **options: Any) -> tuple[float, float]:
        tops.append(limits[-1])
        return keep(axes, *limits, **options)

    monkeypatch.setattr(Axes, "set_ylim", noted)
    cameras = cameras_along(Pan(angle_deg=9.0), 4, image_size=(48, 64), fov_y_deg=40.0)
    write_preview(tmp_path / "a.png", cameras)
    assert 1.15 in tops  # of the steps, none of which goes anywhere

"""Videos in windows: the same pixels, bounded memory, nothing left behind."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from jog3r.errors import AlignmentError, InputError
from jog3r.model import JOG3R
from jog3r.routes import video_to_cameras as route

K = torch.tensor([[30.0, 0.0, 20.0], [0.0, 30.0, 12.0], [0.0, 0.0, 1.0]])


@pytest.fixture
def frames(generator: torch.Generator) -> Tensor:
    """Ten frames of 24x40 px that change slowly."""
    ends = torch.randint(0, 256, (2, 24, 40, 3), generator=generator).float()
    share = torch.linspace(0.0, 1.0, 10)[:, None, None, None]
    return ((1 - share) * ends[0] + share * ends[1]).byte()


def reconstruct(model: JOG3R, source: Any, **options: Any) -> Any:
    return model.reconstruct(source, **{"K": K, "progress": False, "window": 6} | options)


def test_it_is_in_the_pixels_of_the_input(
    tiny_model: JOG3R, frames: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    scene = reconstruct(tiny_model, frames)
    assert torch.equal(scene.video.frames, frames)
    assert scene.depth.shape == (10, 24, 40)
    assert (scene.depth[..., :8] == 0).all()
    assert (scene.depth[..., 8:32] > 0).any()
    torch.testing.assert_close(scene.cameras.K, K.expand(10, 3, 3), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(scene.cameras.world_from_camera[0], torch.eye(4))
    assert not list(tmp_path.iterdir())  # the files live as long as the result, without a name


def test_the_window_and_its_overlap_matter(tiny_model: JOG3R, frames: Tensor) -> None:
    scenes = [
        reconstruct(tiny_model, frames, window=window, overlap=overlap)
        for window, overlap in ((6, 2), (6, 4), (5, 2))
    ]
    cameras = [scene.cameras.world_from_camera for scene in scenes]
    assert not torch.equal(cameras[0], cameras[1])
    assert not torch.equal(cameras[0], cameras[2])


def test_long_videos_go_in_windows_by_themselves(
    tiny_model: JOG3R, frames: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = reconstruct(tiny_model, frames, window=None)
    monkeypatch.setattr(route, "LONGEST", 9)
    monkeypatch.setattr("jog3r.routes.long_video_to_cameras.WINDOW", 6)
    cut = reconstruct(tiny_model, frames, window=None)
    assert not torch.equal(whole.depth, cut.depth)
    assert cut == reconstruct(tiny_model, frames, window=6)


def test_what_is_known(tiny_model: JOG3R, frames: Tensor) -> None:
    cameras = torch.eye(4).repeat(10, 1, 1)
    cameras[:, 0, 3] = torch.arange(10.0)
    masks = torch.ones(10, 24, 40, dtype=torch.bool)
    masks[:, :6] = False
    scene = reconstruct(tiny_model, frames, cameras=cameras, masks=masks)
    torch.testing.assert_close(scene.cameras.world_from_camera, cameras)
    assert scene.scale == "given-poses"
    assert torch.equal(scene.mask, masks)


def test_every_window_is_refined(tiny_model: JOG3R, frames: Tensor) -> None:
    plain, refined = (reconstruct(tiny_model, frames, refine=r) for r in (None, "photometric"))
    moved = plain.cameras.world_from_camera - refined.cameras.world_from_camera
    windows = moved.abs().amax(dim=(1, 2)).split(5)
    assert all(window.max() > 1e-3 for window in windows)


def test_a_window_that_no_camera_explains(tiny_model: JOG3R, frames: Tensor) -> None:
    # Random weights give pointmaps that call for no focal length.
    with pytest.raises(AlignmentError, match=r"pointmaps that no camera explains \(window 0"):
        reconstruct(tiny_model, frames, K=None)


def test_an_overlap_that_leaves_no_step(tiny_model: JOG3R, frames: Tensor) -> None:
    with pytest.raises(InputError, match="overlap: expected from 1 to 5 frames"):
        reconstruct(tiny_model, frames, overlap=6)

import tempfile
from dataclasses import replace
from pathlib import Path

import pycolmap
import pytest
import torch

from jog3r.errors import AlignmentError, InputError
from jog3r.metrics.relative_pose import relative_pose_errors
from jog3r.results import Video
from jog3r.sfm import structure_from_motion
from tests.sfm.conftest import Clip


@pytest.mark.parametrize("known", [True, False])
def test_rendered_corner(corner: Clip, known: bool) -> None:
    scene = structure_from_motion(corner.video, K=corner.K[0] if known else None)
    errors = relative_pose_errors(scene.cameras.world_from_camera, corner.world_from_camera)
    assert float(errors.rotation_deg.max()) < 0.3
    assert errors.rta(1) == 1
    torch.testing.assert_close(scene.cameras.K, corner.K, rtol=0.02, atol=0.1)
    assert torch.equal(scene.cameras.world_from_camera[0], torch.eye(4))
    assert (scene.scale, scene.flags) == ("relative", ())


def test_depth_is_sparse_and_true_up_to_scale(corner: Clip) -> None:
    scene = structure_from_motion(corner.video, K=corner.K)
    seen = scene.depth > 0
    assert 0.001 < float(seen.double().mean()) < 0.2
    assert float(scene.depth[seen].median()) == pytest.approx(1)
    assert bool((scene.confidence[seen] > 1).all())
    assert bool((scene.confidence[~seen] == 1).all())
    ratio = scene.depth[seen] / corner.depth[seen]
    off = (ratio / ratio.median()).log().abs()
    assert float(off.quantile(0.9)) < 0.02


def test_turning_on_the_spot_is_refused(turning: Clip) -> None:
    for K in (turning.K, None):
        with pytest.raises(AlignmentError, match="no-parallax"):
            structure_from_motion(turning.video, K=K)


def test_equal_frames_are_refused(corner: Clip) -> None:
    still = Video(corner.video.frames[:1].repeat(4, 1, 1, 1), 8.0)
    with pytest.raises(AlignmentError, match="no-parallax"):
        structure_from_motion(still)


def test_frames_without_texture_are_refused() -> None:
    grey = Video(torch.full((4, 60, 80, 3), 90, dtype=torch.uint8), 8.0)
    with pytest.raises(AlignmentError, match="no-matches"):
        structure_from_motion(grey)


def test_unrelated_frames_are_refused(generator: torch.Generator) -> None:
    noise = torch.randint(0, 256, (4, 60, 80, 3), generator=generator).byte()
    with pytest.raises(AlignmentError, match="no-matches"):
        structure_from_motion(Video(noise, 8.0))


def test_too_few_frames_that_hang_together_are_refused(corner: Clip) -> None:
    frames = corner.video.frames.clone()
    frames[1:5] = 90
    with pytest.raises(AlignmentError, match=r"few-registered|not-mapped"):
        structure_from_motion(Video(frames, 8.0), K=corner.K)


def test_frame_that_shows_nothing_is_interpolated(corner: Clip) -> None:
    frames = corner.video.frames.clone()
    frames[3] = 90
    scene = structure_from_motion(Video(frames, 8.0), K=corner.K)
    assert scene.flags[0].startswith("not-registered: frames 3 ")
    assert not scene.depth[3].any()
    errors = relative_pose_errors(scene.cameras.world_from_camera, corner.world_from_camera)
    assert float(errors.rotation_deg.max()) < 1.0


def test_masks_keep_points_out(corner: Clip) -> None:
    masks = torch.ones_like(corner.depth, dtype=torch.bool)
    masks[:, :, :70] = False
    scene = structure_from_motion(corner.video, K=corner.K, masks=masks)
    assert not scene.depth[~masks].any()
    assert scene.depth[masks].any()
    assert scene.mask is not None


def test_nothing_is_left_behind(
    corner: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = pycolmap.logging.minloglevel
    structure_from_motion(corner.video, K=corner.K)
    with pytest.raises(AlignmentError):
        structure_from_motion(Video(torch.zeros(2, 60, 80, 3, dtype=torch.uint8), 8.0))
    assert not list(tmp_path.iterdir())
    assert pycolmap.logging.minloglevel == before
    assert capfd.readouterr().err == ""


def test_arguments_are_checked(corner: Clip) -> None:
    one = replace(corner.video, frames=corner.video.frames[:1])
    with pytest.raises(InputError, match="video: expected at least two frames"):
        structure_from_motion(one)
    with pytest.raises(InputError, match="threads"):
        structure_from_motion(corner.video, threads=0)
    with pytest.raises(InputError, match=r"K: expected \(3, 3\) or"):
        structure_from_motion(corner.video, K=corner.K[:2])
    with pytest.raises(InputError, match="masks"):
        structure_from_motion(corner.video, masks=torch.ones(2, 3, 4, dtype=torch.bool))
    with pytest.raises(InputError, match="K: expected finite"):
        structure_from_motion(corner.video, K=torch.full((3, 3), torch.nan))

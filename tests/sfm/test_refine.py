from dataclasses import replace

import pytest
import roma
import torch

from jog3r.errors import InputError
from jog3r.geometry import rigid
from jog3r.metrics.relative_pose import relative_pose_errors
from jog3r.sfm import refine_bundle
from tests.sfm.conftest import Clip


def disturbed(cameras: torch.Tensor, degrees: float, generator: torch.Generator) -> torch.Tensor:
    count = len(cameras) - 1
    turn = (
        torch.deg2rad(torch.tensor(degrees)) * torch.randn(count, 3, generator=generator) / 3**0.5
    )
    shift = cameras[1:, :3, 3] + 0.02 * torch.randn(count, 3, generator=generator)
    moved = rigid(roma.rotvec_to_rotmat(turn) @ cameras[1:, :3, :3], shift)
    return torch.cat([cameras[:1], moved])


def worst_rotation(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float(relative_pose_errors(found, truth).rotation_deg.max())


def test_disturbed_cameras_come_back(corner: Clip, generator: torch.Generator) -> None:
    start = disturbed(corner.world_from_camera, 1.0, generator)
    doubts = ("no-parallax: it hardly moves", "intrinsics-mismatch: another lens")
    scene = refine_bundle(replace(corner.scene(start), flags=doubts), K_known=True)
    assert scene.flags == doubts[1:]  # what was said of cameras that are replaced goes
    assert worst_rotation(start, corner.world_from_camera) > 1
    assert worst_rotation(scene.cameras.world_from_camera, corner.world_from_camera) < 0.3
    # The depth was exact: its unit is that of the true positions, and it stays as it was.
    error = scene.cameras.world_from_camera[:, :3, 3] - corner.world_from_camera[:, :3, 3]
    assert float(error.norm(dim=1).max()) < 0.03
    torch.testing.assert_close(scene.depth, corner.depth, rtol=0.01, atol=0)
    assert torch.equal(scene.cameras.K, corner.K)


def test_cameras_that_are_nonsense_are_mapped_anew(
    corner: Clip, caplog: pytest.LogCaptureFixture, generator: torch.Generator
) -> None:
    start = disturbed(corner.world_from_camera, 60.0, generator)
    scene = refine_bundle(corner.scene(start), K_known=True)
    assert [flag.split(":")[0] for flag in scene.flags] == ["mapped"]
    assert "mapped from scratch" in caplog.text
    assert worst_rotation(scene.cameras.world_from_camera, corner.world_from_camera) < 0.3
    torch.testing.assert_close(scene.cameras.world_from_camera[0], start[0])


def test_unknown_focal_length_is_found_for_all_frames(corner: Clip) -> None:
    guess = corner.K.clone()
    guess[:, 0, 0] = guess[:, 1, 1] = 1.1 * corner.K[0, 0, 0]
    cameras = replace(corner.scene(corner.world_from_camera).cameras, K=guess)
    scene = replace(corner.scene(corner.world_from_camera), cameras=cameras)
    found = refine_bundle(scene).cameras.K
    assert torch.equal(found, found[:1].expand_as(found))
    torch.testing.assert_close(found, corner.K, rtol=0.02, atol=0.1)
    assert torch.equal(refine_bundle(scene, K_known=True).cameras.K, guess)


def test_each_depth_map_gets_its_factor(corner: Clip) -> None:
    factor = torch.tensor([1.0, 0.5, 2.0, 1.0, 1.0, 3.0])[:, None, None]
    scene = corner.scene(corner.world_from_camera)
    warped = replace(scene, depth=factor * scene.depth)
    refined = refine_bundle(warped, K_known=True)
    torch.testing.assert_close(refined.depth, corner.depth, rtol=0.01, atol=0)


def test_given_cameras_keep_world_and_unit(corner: Clip) -> None:
    turn = rigid(roma.rotvec_to_rotmat(torch.tensor([0.3, -0.2, 0.5])), torch.tensor([1.0, 2, 3]))
    given = turn @ corner.world_from_camera
    given[:, :3, 3] *= 5
    scene = replace(corner.scene(given, "given-poses"), depth=3 * corner.depth)
    refined = refine_bundle(scene, K_known=True)
    torch.testing.assert_close(refined.cameras.world_from_camera, given, rtol=0, atol=0.1)
    torch.testing.assert_close(refined.depth, 5 * corner.depth, rtol=0.01, atol=0)


def test_missing_depth_stays_missing(corner: Clip) -> None:
    scene = corner.scene(corner.world_from_camera)
    empty = replace(scene, depth=torch.zeros_like(scene.depth))
    refined = refine_bundle(empty, K_known=True)
    assert not refined.depth.any()
    torch.testing.assert_close(
        refined.cameras.world_from_camera, scene.cameras.world_from_camera, rtol=0, atol=0.05
    )


def test_frame_that_shows_nothing_is_carried_along(corner: Clip) -> None:
    frames = corner.video.frames.clone()
    frames[3] = 128
    scene = replace(
        corner.scene(corner.world_from_camera), video=replace(corner.video, frames=frames)
    )
    refined = refine_bundle(scene, K_known=True)
    assert any(flag.startswith("not-registered: frames 3 ") for flag in refined.flags)
    torch.testing.assert_close(
        refined.cameras.world_from_camera[3], corner.world_from_camera[3], rtol=0, atol=0.05
    )


def test_masked_pixels_give_no_feature(corner: Clip) -> None:
    # A poster that stays in the picture wherever the camera goes, and its mask.
    frames, mask = corner.video.frames.clone(), torch.ones_like(corner.depth, dtype=torch.bool)
    noise = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(1))
    poster = torch.nn.functional.interpolate(noise, (84, 112), mode="bicubic").clamp(0, 1)
    frames[:, 18:102, 24:136] = (255 * poster[0].permute(1, 2, 0)).byte()
    mask[:, 18:102, 24:136] = False
    start = corner.scene(corner.world_from_camera)
    scene = replace(start, video=replace(corner.video, frames=frames))
    masked = refine_bundle(replace(scene, mask=mask), K_known=True)
    assert worst_rotation(masked.cameras.world_from_camera, corner.world_from_camera) < 1.0
    assert not any(flag.startswith("not-refined") for flag in masked.flags)
    assert masked.cameras != refine_bundle(scene, K_known=True).cameras


def test_no_parallax_leaves_the_scene_and_says_so(turning: Clip) -> None:
    scene = replace(
        turning.scene(turning.world_from_camera), flags=("before: was here", "no-parallax: x")
    )
    refined = refine_bundle(scene, K_known=True)
    codes = [flag.split(":")[0] for flag in refined.flags]
    assert codes == ["before", "no-parallax", "not-refined"]
    assert refined.cameras == scene.cameras
    assert torch.equal(refined.depth, scene.depth)


def test_same_seed_same_result_whatever_the_threads(corner: Clip) -> None:
    scene = corner.scene(corner.world_from_camera)
    assert refine_bundle(scene, threads=1) == refine_bundle(scene, threads=2)


def test_real_photographs_from_rough_cameras(desk: Clip, generator: torch.Generator) -> None:
    start = disturbed(desk.world_from_camera, 2.0, generator)
    scene = refine_bundle(desk.scene(start), K_known=True)
    errors = relative_pose_errors(scene.cameras.world_from_camera, desk.world_from_camera)
    assert float(errors.rotation_deg.median()) < 1.0
    assert errors.rta(5) > 0.9


def test_one_frame_is_refused(corner: Clip) -> None:
    video = replace(corner.video, frames=corner.video.frames[:1])
    one = Clip(video, corner.K[:1], corner.world_from_camera[:1], corner.depth[:1])
    with pytest.raises(InputError, match="video: expected at least two frames"):
        refine_bundle(one.scene(one.world_from_camera))


def test_no_thread_is_refused(corner: Clip) -> None:
    with pytest.raises(InputError, match="threads: expected at least 1"):
        refine_bundle(corner.scene(corner.world_from_camera), threads=0)


def test_skew_is_refused(corner: Clip) -> None:
    K = corner.K.clone()
    K[:, 0, 1] = 2.0
    scene = corner._replace(K=K).scene(corner.world_from_camera)
    with pytest.raises(InputError, match="K: expected no skew"):
        refine_bundle(scene)

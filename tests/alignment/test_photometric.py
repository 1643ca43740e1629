"""Laying frames over each other: exact truth of the controlled world, and closed forms."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from jog3r.alignment import Alignment, photometric, refine_photometrically
from jog3r.data.world import HELD_OUT, World, WorldConfig
from jog3r.errors import InputError
from jog3r.geometry import intrinsics_from_focal
from jog3r.metrics.relative_pose import relative_pose_errors

K = torch.tensor([[20.0, 0.0, 16.0], [0.0, 20.0, 12.0], [0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def clips() -> list[tuple[Alignment, Tensor]]:
    """Return true cameras and depth of world clips, and their frames."""
    world, made = World(WorldConfig(size=64)), []
    for seed in range(HELD_OUT + 70, HELD_OUT + 74):
        clip = world.clip(seed, 6)
        depth = torch.from_numpy(clip.depth)
        truth = Alignment(
            world_from_camera=torch.from_numpy(clip.world_from_camera),
            K=torch.from_numpy(clip.K),
            depth=torch.where(depth > 0, depth, 100.0),  # the sky
            confidence=torch.full_like(depth, 2.0),
        )
        made.append((truth, torch.from_numpy(clip.frames).permute(0, 3, 1, 2) / 127.5 - 1.0))
    return made


def still(truth: Alignment) -> Alignment:
    """Forget how the camera moved."""
    return replace(truth, world_from_camera=torch.eye(4).repeat(len(truth.depth), 1, 1))


def ramp(frames: int) -> Tensor:
    """Make frames whose colours rise evenly, each channel in a direction of its own."""
    x = np.linspace(-0.4, 0.4, 32)[None, :].repeat(24, 0)
    y = np.linspace(-0.3, 0.3, 24)[:, None].repeat(32, 1)
    return torch.from_numpy(np.stack([x, y, 0.5 * (x - y)])).float().repeat(frames, 1, 1, 1)


def plane(frames: int) -> Alignment:
    """Face a wall at distance 2 with a camera that does not move."""
    return Alignment(
        world_from_camera=torch.eye(4).repeat(frames, 1, 1),
        K=K.repeat(frames, 1, 1),
        depth=torch.full((frames, 24, 32), 2.0),
        confidence=torch.full((frames, 24, 32), 2.0),
    )


def test_it_finds_the_cameras_of_the_world(clips: list[tuple[Alignment, Tensor]]) -> None:
    rotations, directions = [], []
    for truth, video in clips:
        found = refine_photometrically(still(truth), video)
        errors = relative_pose_errors(found.world_from_camera, truth.world_from_camera)
        rotations.append(errors.rotation_deg)
        directions.append(errors.direction_deg)
    assert torch.cat(rotations).median() < 0.5
    assert torch.cat(directions).median() < 8.0


def test_it_stays_at_the_truth(clips: list[tuple[Alignment, Tensor]]) -> None:
    rotations = []
    for truth, video in clips:
        found = refine_photometrically(truth, video)
        errors = relative_pose_errors(found.world_from_camera, truth.world_from_camera)
        rotations.append(errors.rotation_deg)
        torch.testing.assert_close(found.world_from_camera[0], torch.eye(4))
    assert torch.cat(rotations).median() < 0.5


def test_known_cameras_stay(clips: list[tuple[Alignment, Tensor]]) -> None:
    truth, video = clips[0]
    cameras = still(truth).world_from_camera.clone()
    cameras[:, :3, 3] = torch.tensor([1.0, 2.0, 3.0])  # the world is not the first camera
    cameras[3, 0, 3] += 0.1
    start = replace(truth, world_from_camera=cameras)
    known = torch.arange(6) == 3
    found = refine_photometrically(start, video, known=known).world_from_camera
    torch.testing.assert_close(found[[0, 3]], cameras[[0, 3]])
    assert (found[[1, 2, 4, 5]] - cameras[[1, 2, 4, 5]]).abs().amax(dim=(1, 2)).min() > 1e-3


def test_masked_pixels_do_not_count(clips: list[tuple[Alignment, Tensor]]) -> None:
    truth, video = clips[0]
    masks = torch.ones_like(truth.depth, dtype=torch.bool)
    masks[:, :, 40:] = False
    disturbed = torch.where(masks[:, None], video, video.flip(0).flip(-2))
    found = refine_photometrically(still(truth), disturbed, masks=masks)
    errors = relative_pose_errors(found.world_from_camera, truth.world_from_camera)
    fooled = refine_photometrically(still(truth), disturbed)
    worse = relative_pose_errors(fooled.world_from_camera, truth.world_from_camera)
    assert errors.rotation_deg.median() < 0.5 * worse.rotation_deg.median()
    every = refine_photometrically(still(truth), video, masks=torch.ones_like(masks))
    assert torch.equal(
        every.world_from_camera, refine_photometrically(still(truth), video).world_from_camera
    )


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    "wrong", [{"masks": torch.ones(3, 2, 2, dtype=torch.bool)}, {"known": torch.ones(2).bool()}]
)
def test_what_is_not_one_per_frame(wrong: dict[str, Tensor]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(wrong))}: expected"):
        refine_photometrically(plane(3), ramp(3), **wrong)


def test_only_cameras_change(clips: list[tuple[Alignment, Tensor]]) -> None:
    truth, video = clips[0]
    found = refine_photometrically(truth, video)
    for name in ("K", "depth", "confidence"):
        assert torch.equal(getattr(found, name), getattr(truth, name))


def test_positions_scale_with_depth(clips: list[tuple[Alignment, Tensor]]) -> None:
    truth, video = clips[1]
    once = refine_photometrically(still(truth), video).world_from_camera
    large = replace(still(truth), depth=7.0 * truth.depth)
    again = refine_photometrically(large, video).world_from_camera
    torch.testing.assert_close(again[:, :3, :3], once[:, :3, :3], atol=1e-3, rtol=0)
    torch.testing.assert_close(again[:, :3, 3], 7.0 * once[:, :3, 3], atol=0.02, rtol=0.01)


def test_a_still_camera_stays() -> None:
    found = refine_photometrically(plane(20), ramp(20))
    torch.testing.assert_close(found.world_from_camera, torch.eye(4).expand(20, 4, 4))


def test_rotations_stay_rotations(clips: list[tuple[Alignment, Tensor]]) -> None:
    truth, video = clips[2]
    many = 8
    longer = replace(
        still(truth),
        **{
            name: torch.cat([getattr(still(truth), name)] * many)
            for name in ("world_from_camera", "K", "depth", "confidence")
        },
    )
    rotation = refine_photometrically(longer, video.repeat(many, 1, 1, 1)).world_from_camera
    gram = rotation[:, :3, :3].transpose(1, 2) @ rotation[:, :3, :3]
    torch.testing.assert_close(gram, torch.eye(3).expand_as(gram), atol=1e-5, rtol=0)


def test_the_gradient_is_that_of_the_cost(generator: torch.Generator) -> None:
    level = photometric._level(ramp(2).double(), None, plane(1).depth[0].double(), K.double(), 0.5)
    inside = level.points[:, :2].abs().amax(dim=1) < 0.9  # what no step moves out of sight
    level = replace(level, weight=level.weight * inside)
    twist = 0.02 * torch.randn(1, 6, generator=generator, dtype=torch.float64)
    camera = photometric._exp(twist)
    _, _, gradient = photometric._terms(level, 1, K.double(), camera)
    scale = 2.0 / photometric.COLOUR_NOISE**2 / level.weight.sum()
    for i in range(6):
        step = torch.zeros(1, 6, dtype=torch.float64)
        step[0, i] = 1e-5
        up, down = (
            photometric._terms(level, 1, K.double(), photometric._exp(sign * step) @ camera)[0]
            for sign in (1, -1)
        )
        numeric = (up - down) / 2e-5
        assert float(numeric) == pytest.approx(float(scale * gradient[0, i]), rel=0.02, abs=1e-3)


@pytest.mark.usefixtures("as_a_user")
class TestBadInput:
    def test_a_video_of_another_size(self) -> None:
        with pytest.raises(InputError, match=r"video: expected \(3, 3, 24, 32\), got \(2, 3, 24"):
            refine_photometrically(plane(3), ramp(2))

    def test_nan(self) -> None:
        video = ramp(3)
        video[1, 0, 2, 2] = torch.nan
        with pytest.raises(InputError, match="video"):
            refine_photometrically(plane(3), video)


def test_the_lens_is_that_of_each_frame() -> None:
    """A second frame with twice the focal length shows the middle of the first, enlarged."""
    first = ramp(1)
    zoomed = torch.nn.functional.interpolate(
        first[..., 6:18, 8:24], scale_factor=2.0, mode="bilinear", align_corners=False
    )
    wall = plane(2)
    lenses = torch.stack([K, intrinsics_from_focal(torch.tensor(40.0), (24, 32))])
    found = refine_photometrically(replace(wall, K=lenses), torch.cat([first, zoomed]))
    torch.testing.assert_close(found.world_from_camera[1], torch.eye(4), atol=0.02, rtol=0)


@pytest.mark.parametrize("sigma", photometric.SIGMAS)
def test_blur_keeps_even_colours_and_the_size(sigma: float) -> None:
    picture = torch.full((1, 3, 8, 11), 0.3)
    torch.testing.assert_close(photometric._blurred(picture, sigma), picture)
    # A point spreads with the variance asked for, less what whole pixels and the cut leave out.
    point = torch.zeros(1, 1, 65, 65)
    point[..., 32, 32] = 1.0
    spread = photometric._blurred(point, sigma)[0, 0].sum(dim=0)
    variance = float((spread * (torch.arange(65) - 32.0) ** 2).sum())
    assert variance == pytest.approx(sigma**2, rel=0.15)

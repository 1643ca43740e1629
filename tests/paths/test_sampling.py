"""From moves to cameras, in a scene or alone, and along the paths of other videos."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from jog3r import Cameras, InputError, Reconstruction
from jog3r.geometry import invert
from jog3r.paths import (
    Dolly,
    Orbit,
    Pan,
    Together,
    Trajectory,
    Zoom,
    cameras_along,
    cameras_in_scene,
    median_depth,
    read_trajectory,
    recorded,
    recorded_from,
    resampled,
)
from tests.scenes import scene as cast_scene

Make = Callable[..., Reconstruction]
SIZE = (48, 64)


def scene(
    path: str = "arc", size: tuple[int, int] = (24, 32), scale: float = 1.0
) -> Reconstruction:
    """A reconstruction with exact depth, of a room, in some unit of length."""
    from jog3r import Video

    truth = cast_scene(path, frames=4, size=size, turn_deg=2.0)  # type: ignore[arg-type]
    world_from_camera = truth.world_from_camera.float()
    world_from_camera[:, :3, 3] *= scale
    return Reconstruction(
        Video(torch.zeros(4, *size, 3, dtype=torch.uint8), 8.0),
        Cameras(world_from_camera, truth.K.float(), size),
        scale * truth.depth.float(),
        torch.ones(4, *size),
        "relative",
    )


def test_cameras_start_at_the_identity_and_end_at_the_end() -> None:
    path = Together(moves=(Dolly(distance_world=1.5), Zoom(factor=2.0)))
    cameras = cameras_along(path, 5, image_size=SIZE, fov_y_deg=60.0)
    assert torch.equal(cameras.world_from_camera[0], torch.eye(4))
    assert cameras.world_from_camera[:, 2, 3].tolist() == [0.0, 0.375, 0.75, 1.125, 1.5]
    ratio = cameras.K[4, :2, :2] / cameras.K[0, :2, :2].clamp(min=1e-9)
    torch.testing.assert_close(ratio.diagonal(), torch.full((2,), 2.0))
    assert torch.equal(cameras.K[:, :2, 2], cameras.K[:1, :2, 2].expand(5, 2))
    assert len(cameras_along(path, 1, image_size=SIZE, fov_y_deg=60.0)) == 1


def test_a_start_camera_is_where_the_path_begins() -> None:
    here = scene()
    cameras = cameras_in_scene(Orbit(angle_deg=30.0, radius_world=3.0), 6, here, start_frame=2)
    assert torch.equal(cameras.world_from_camera[0], here.cameras.world_from_camera[2])
    assert torch.equal(cameras.K[5], here.cameras.K[2])
    alone = cameras_along(
        Orbit(angle_deg=30.0, radius_world=3.0), 6, image_size=SIZE, fov_y_deg=60.0
    )
    relative = invert(here.cameras.world_from_camera[2]) @ cameras.world_from_camera
    torch.testing.assert_close(relative, alone.world_from_camera, rtol=0, atol=1e-5)


def test_resampling_keeps_the_ends_and_what_it_passes() -> None:
    path = Together(moves=(Orbit(angle_deg=50.0, radius_world=2.0), Zoom(factor=1.5)))
    start = torch.eye(4)
    start[:3, 3] = 7.0
    cameras = cameras_along(path, 6, image_size=SIZE, fov_y_deg=60.0, world_from_start=start)
    more = resampled(cameras, 11)  # every second one is one of the six
    torch.testing.assert_close(
        more.world_from_camera[::2], cameras.world_from_camera, rtol=0, atol=1e-5
    )
    torch.testing.assert_close(more.K[::2], cameras.K, rtol=1e-5, atol=1e-4)
    fewer = resampled(cameras, 2)
    torch.testing.assert_close(
        fewer.world_from_camera, cameras.world_from_camera[[0, -1]], rtol=0, atol=1e-5
    )
    # Between the six it stays close to the circle.
    distance = (more.world_from_camera[:, :3, 3] - 7 - torch.tensor([0, 0, 2.0])).norm(dim=-1)
    assert float((distance - 2).abs().max()) < 0.01


def test_a_recorded_path_is_relative_to_its_first_camera() -> None:
    world = scene().cameras
    motion = recorded(world, scale=3.0).at(torch.linspace(0, 1, 4, dtype=torch.float64))
    wanted = (invert(world.world_from_camera[:1]) @ world.world_from_camera).double()
    wanted[:, :3, 3] *= 3
    torch.testing.assert_close(motion.start_from_camera, wanted, rtol=0, atol=1e-5)


def test_time_stamps_of_a_recorded_path_are_kept_to() -> None:
    world_from_camera = torch.eye(4).repeat(3, 1, 1)
    world_from_camera[:, 0, 3] = torch.tensor([0.0, 1.0, 4.0])
    even = recorded(Trajectory(world_from_camera, times_s=torch.tensor([10.0, 11.0, 14.0])))
    assert float(even.at(torch.tensor([0.5])).start_from_camera[0, 0, 3]) == pytest.approx(2.0)


def test_another_videos_path_is_scaled_to_the_scene() -> None:
    here, elsewhere = scene("forward"), scene("arc", scale=10.0)
    ratio = median_depth(here, 1) / median_depth(elsewhere)
    path = recorded_from(elsewhere, here, start_frame=1)
    moved = path.at(torch.ones(1)).start_from_camera[0, :3, 3].float()
    last = elsewhere.cameras.world_from_camera[3, :3, 3]
    torch.testing.assert_close(moved, ratio * last, rtol=1e-4, atol=1e-4)
    # The same path again, whatever the unit it was measured in.
    again = recorded_from(scene("arc"), here, start_frame=1).at(torch.ones(1))
    torch.testing.assert_close(moved, again.start_from_camera[0, :3, 3].float(), rtol=0, atol=1e-4)
    metric = [replace(one, scale="metric") for one in (elsewhere, here)]
    unscaled = recorded_from(*metric).at(torch.ones(1)).start_from_camera[0, :3, 3].float()
    torch.testing.assert_close(unscaled, last, rtol=1e-4, atol=1e-4)


def test_the_median_depth_is_that_of_the_pixels_in_use() -> None:
    here = scene(size=(4, 2))
    depth = torch.tensor([[0.0, 1.0], [2.0, 9.0]] * 2).repeat(4, 1, 1)
    mask = torch.tensor([[True, False]] * 4).repeat(4, 1, 1)
    assert median_depth(replace(here, depth=depth)) == 2.0
    assert median_depth(replace(here, depth=depth + 1, mask=mask)) == 1.0
    assert median_depth(replace(here, depth=depth, mask=mask)) == 2.0


def test_a_camera_file_from_elsewhere_needs_no_image_size(tmp_path) -> None:
    cameras = cameras_along(Zoom(factor=2.0), 3, image_size=SIZE, fov_y_deg=60.0)
    cameras.save(tmp_path / "own.txt", "realestate10k")
    lines = (tmp_path / "own.txt").read_text().splitlines()
    (tmp_path / "foreign.txt").write_text("\n".join(["https://example.org", *lines[1:]]))
    for name in ("own.txt", "foreign.txt"):
        found = read_trajectory(tmp_path / name, "realestate10k")
        zoom = recorded(found).at(torch.ones(1)).zoom
        assert float(zoom) == pytest.approx(2.0, rel=1e-5)
    rows = [" ".join(f"{x:g}" for x in row[:3].flatten()) for row in cameras.world_from_camera]
    (tmp_path / "kitti.txt").write_text("\n".join(rows))
    assert read_trajectory(tmp_path / "kitti.txt", "kitti").world_from_camera.shape == (3, 4, 4)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": 0}, "frames: expected 1 to 100000, got 0"),
        ({"frames": 2.5}, "frames: expected a whole number"),
        ({"fov_y_deg": None}, "K, fov_y_deg: expected one"),
        ({"K": torch.eye(3)}, "K, fov_y_deg: expected one"),
        ({"fov_y_deg": 180.0}, r"in \(0, 180\)"),
        ({"image_size": (0, 4)}, "image_size"),
        ({"fov_y_deg": None, "K": torch.eye(3)}, "K: expected pixels"),
        ({"world_from_start": 2 * torch.eye(4)}, "world_from_start"),
    ],
)
def test_wrong_arguments_give_one_clear_error(change: dict, message: str) -> None:
    given = {"frames": 3, "image_size": SIZE, "fov_y_deg": 60.0} | change
    with pytest.raises(InputError, match=message):
        cameras_along(Pan(angle_deg=10.0), given.pop("frames"), **given)


@pytest.mark.usefixtures("as_a_user")
def test_what_a_scene_does_not_have_is_refused() -> None:
    here = scene()
    with pytest.raises(InputError, match="start_frame: expected 0 to 3"):
        cameras_in_scene(Pan(angle_deg=10.0), 2, here, start_frame=4)
    with pytest.raises(InputError, match="frame: expected 0 to 3"):
        median_depth(here, -1)
    with pytest.raises(InputError, match="expected one with depth"):
        median_depth(replace(here, depth=torch.zeros_like(here.depth)))
    with pytest.raises(InputError, match="scale: expected a factor above 0"):
        recorded(here.cameras, scale=0.0)
    with pytest.raises(InputError, match="format: expected one of"):
        read_trajectory("x", "obj")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("frames", "move", "says"),
    [
        (10**9, Pan(angle_deg=9.0), "frames: expected 1 to 100000, got 1000000000"),
        (3, Zoom(factor=1e-30), "move: expected a zoom to focal lengths that a lens can have"),
        (3, Zoom(factor=1e38), "move: expected a zoom to focal lengths that a lens can have"),
    ],
)
def test_no_more_than_a_lens_and_a_memory_hold(frames: int, move: Pan | Zoom, says: str) -> None:
    with pytest.raises(InputError, match=says):
        cameras_along(move, frames, image_size=SIZE, fov_y_deg=60.0)

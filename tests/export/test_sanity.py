"""The sanity report: what is right passes, and every usual mistake is found out and named."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from jog3r import Cameras, Reconstruction
from jog3r.export.sanity import MAX_POINTS, SanityReport, check_export
from jog3r.geometry import invert

Change = Callable[[Tensor], Tensor]


def report(
    room: Reconstruction, change: Change = torch.clone, *, with_depth: bool = True
) -> SanityReport:
    cameras = Cameras(
        change(room.cameras.world_from_camera), room.cameras.K, room.cameras.image_size
    )
    depth = room.depth if with_depth else None
    cloud = room.points
    return check_export(cloud.points, cloud.colors, cameras, room.video.frames, depth)


def swapped(i: int, j: int) -> Change:
    order = list(range(6))
    order[i], order[j] = j, i
    return lambda transforms: transforms[order]


def transposed(transforms: Tensor) -> Tensor:
    turned = transforms.clone()
    turned[:, :3, :3] = transforms[:, :3, :3].transpose(-1, -2)
    return turned


OPENGL = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))


def test_exact_scenes_are_sane(room: Reconstruction) -> None:
    assert report(room).warnings == ()
    without = report(room, with_depth=False)
    assert without.warnings == ()
    assert all(camera.depth is None for camera in without.cameras)


@pytest.mark.parametrize("with_depth", [True, False])
@pytest.mark.parametrize(
    ("change", "explanation"),
    [
        (invert, "the transforms are inverted: camera_from_world was taken"),
        (lambda transforms: transforms @ OPENGL, "the cameras have OpenGL axes"),
        (lambda transforms: invert(transforms @ OPENGL), "the transforms are inverted and have"),
        (transposed, "the rotations are transposed, the positions are not"),
        (lambda transforms: transforms.flip(0), "the order of the images is reversed"),
    ],
)
def test_usual_mistakes_are_named(
    room: Reconstruction, change: Change, explanation: str, with_depth: bool
) -> None:
    warnings = report(room, change, with_depth=with_depth).warnings
    assert any(warning.startswith(f"it would fit if {explanation}") for warning in warnings)


@pytest.mark.parametrize(("i", "j"), [(0, 5), (0, 1), (2, 4)])
def test_two_swapped_images_are_found(room: Reconstruction, i: int, j: int) -> None:
    warnings = report(room, swapped(i, j)).warnings
    assert f"2 of 6 cameras ({i}, {j}) see colours that are not those of the image" in warnings
    assert f"2 of 6 cameras ({i}, {j}) see depths that are not those of the depth map" in warnings
    assert any("are the images attached to the right cameras" in text for text in warnings)


def test_lenses_of_another_size_are_found(room: Reconstruction) -> None:
    K = room.cameras.K.clone()
    K[:, :2] *= 0.5  # of an image half as large
    cameras = Cameras(room.cameras.world_from_camera, K, room.cameras.image_size)
    cloud = room.points
    found = check_export(cloud.points, cloud.colors, cameras, room.video.frames, room.depth)
    assert any("is K in their pixels" in text for text in found.warnings)


def test_cameras_that_look_away(room: Reconstruction) -> None:
    away = report(room, lambda transforms: transforms @ torch.diag(torch.tensor([-1.0, 1, -1, 1])))
    assert away.cameras[0].in_front == away.cameras[0].in_image == 0
    assert away.cameras[0].color is None
    assert any("less than half a frame's share of the points" in text for text in away.warnings)


def test_colours_that_tell_nothing(room: Reconstruction) -> None:
    cloud = room.points
    grey = torch.full_like(room.video.frames, 90)
    found = check_export(
        cloud.points, torch.full_like(cloud.colors, 90), room.cameras, grey, room.depth
    )
    assert all(camera.color is None for camera in found.cameras)
    assert found.warnings == ()


def test_no_points(room: Reconstruction) -> None:
    nothing = torch.empty(0, 3)
    found = check_export(
        nothing, nothing.to(torch.uint8), room.cameras, room.video.frames, room.depth
    )
    assert found.warnings == ("there are no points to compare with the images",)
    assert "-" in str(found)


def test_large_clouds_are_sampled(room: Reconstruction) -> None:
    times = 1 + MAX_POINTS // len(room.points)
    cloud = room.points
    many = check_export(
        cloud.points.repeat(times, 1),
        cloud.colors.repeat(times, 1),
        room.cameras,
        room.video.frames,
    )
    assert many.cameras[0].in_image == pytest.approx(report(room).cameras[0].in_image, abs=0.01)
    assert many.warnings == ()


def test_the_table(room: Reconstruction) -> None:
    lines = str(report(room, invert)).splitlines()
    assert lines[0].split() == ["camera", "in", "front", "in", "image", "colour", "depth"]
    assert len(lines[1].split()) == 5
    assert lines[7].startswith("WARNING: 6 of 6 cameras (0, 1, 2, 3, 4, ...) see colours")

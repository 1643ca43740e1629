"""The controlled world is exact, repeatable and looks like the real cameras it imitates."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jog3r.data.world import HELD_OUT, Scene, SceneConfig, World, WorldConfig, kinds, render
from jog3r.data.world.camera_paths import MOVES, PathConfig, sample_path
from jog3r.data.world.captions import vocabulary
from jog3r.data.world.materials import Material, load_photos
from jog3r.data.world.scene import _Builder, sample_scene
from jog3r.errors import FileError, InputError
from jog3r.geometry.pointmaps import pointmap_from_depth
from jog3r.geometry.projection import project

K64 = np.asarray([[50.0, 0.0, 32.0], [0.0, 50.0, 32.0], [0.0, 0.0, 1.0]])
SEEDS = [HELD_OUT + i for i in range(4)]


@pytest.fixture(scope="module")
def world() -> World:
    return World(WorldConfig(size=48))


Triple = tuple[float, float, float]
Body = tuple[int, Triple, Triple, float]  # kind, centre, half sizes, turn


def scene_of(*bodies: Body) -> Scene:
    """Make a scene of plain grey bodies."""
    builder = _Builder(np.random.default_rng(0), np.zeros((0, 2, 2, 3), dtype=np.float32), 0.0)
    for kind, centre, half, turn in bodies:
        grey = Material.plain("gray", np.random.default_rng(0))
        builder.add(kind, centre, half, turn, grey, grey, grey)
    light = np.zeros(20)
    light[0], light[2], light[7:13] = kinds.SUN, -1.0, 0.8
    rows, materials = np.asarray(builder.rows), np.asarray(builder.materials)
    return Scene(rows, materials, light, builder.photos, place="room", mood="light")


def depth_of(scene: Scene, camera: np.ndarray | None = None) -> np.ndarray:
    camera = np.eye(4) if camera is None else camera
    return render(scene, camera[None], K64[None], (64, 64), samples=1).depth[0].astype(np.float64)


def rays() -> np.ndarray:
    x, y = np.meshgrid((np.arange(64) + 0.5 - 32.0) / 50.0, (np.arange(64) + 0.5 - 32.0) / 50.0)
    return np.stack([x, y, np.ones_like(x)], axis=-1)


class TestClosedForms:
    def test_sphere(self) -> None:
        depth = depth_of(scene_of((kinds.SPHERE, (0.2, -0.1, 3.0), (0.8, 0.8, 0.8), 0.0)))
        d, centre = rays(), np.asarray([0.2, -0.1, 3.0])
        a, b, c = (d * d).sum(-1), -(d @ centre), centre @ centre - 0.64
        inside = b * b - a * c
        expected = np.where(inside > 0.0, (-b - np.sqrt(np.maximum(inside, 0.0))) / a, 0.0)
        assert 300 < (expected > 0.0).sum() < 2000
        np.testing.assert_allclose(depth, expected, rtol=1e-6)

    def test_wall_of_a_turned_box(self) -> None:
        turn = 0.4
        depth = depth_of(scene_of((kinds.BOX, (0.0, 0.0, 4.0), (9.0, 9.0, 1.0), turn)))
        # Its front face is the plane n.x = n.centre - 1 with the turned normal n.
        n = np.asarray([np.sin(turn), 0.0, np.cos(turn)])
        expected = (4.0 * n[2] - 1.0) / (rays() @ n)
        np.testing.assert_allclose(depth[:, 20:44], expected[:, 20:44], rtol=1e-6)

    def test_ground_and_horizon(self) -> None:
        camera = np.eye(4)
        camera[1, 3] = -1.5
        depth = depth_of(scene_of((kinds.GROUND, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0.0)), camera)
        expected = 1.5 / rays()[..., 1]
        assert (depth[:32] == 0.0).all()
        np.testing.assert_allclose(depth[32:], expected[32:], rtol=1e-6)

    def test_inside_of_a_room(self) -> None:
        depth = depth_of(scene_of((kinds.ROOM, (0.0, 0.0, 0.0), (2.0, 1.5, 3.0), 0.0)))
        expected = np.min(np.asarray([2.0, 1.5, 3.0]) / np.abs(rays()), axis=-1)
        np.testing.assert_allclose(depth, expected, rtol=1e-6)


def test_open3d_sees_the_same_depth() -> None:
    bodies: list[Body] = [
        (kinds.SPHERE, (-1.0, 0.0, 4.0), (0.7, 0.7, 0.7), 0.0),
        (kinds.BOX, (0.9, 0.2, 3.5), (0.5, 0.6, 0.4), 0.7),
        (kinds.CYLINDER, (0.1, 0.5, 3.0), (0.3, 0.4, 0.3), 0.0),
        (kinds.CONE, (-0.2, -0.9, 3.6), (0.4, 0.5, 0.4), 0.0),
    ]
    depth = depth_of(scene_of(*bodies))
    seen = cast_by_open3d(bodies)
    both = np.isfinite(seen) & (depth > 0.0)
    assert both.sum() > 700
    assert (np.isfinite(seen) != (depth > 0.0)).mean() < 0.005  # silhouettes of the tessellation
    assert np.median(np.abs(seen - depth)[both]) < 1e-4
    assert np.quantile(np.abs(seen - depth)[both], 0.99) < 6e-3


def cast_by_open3d(bodies: list[Body]) -> np.ndarray:
    """Return the z-depth of triangle meshes of these bodies, infinite where there is none."""
    import open3d

    # The stubs of open3d know fewer overloads than it has.
    vector: Any = open3d.core.Tensor
    shape: Any = open3d.t.geometry.TriangleMesh
    # Open3D's cylinder and cone stand along z with the apex up; ours along y, and up is -y.
    upright = np.asarray([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    scene = open3d.t.geometry.RaycastingScene()
    for kind, centre, half, turn in bodies:
        if kind == kinds.SPHERE:
            mesh, stand = shape.create_sphere(half[0], 200), np.eye(3)
        elif kind == kinds.BOX:
            mesh, stand = shape.create_box(*(2.0 * h for h in half)), np.eye(3)
            mesh = mesh.translate(vector(-np.asarray(half)))
        elif kind == kinds.CYLINDER:
            mesh, stand = shape.create_cylinder(half[0], 2.0 * half[1], 400, 4), upright
        else:
            mesh, stand = shape.create_cone(half[0], 2.0 * half[1], 400, 1), upright
            mesh = mesh.translate(vector(np.asarray([0.0, 0.0, -half[1]])))
        c, s = np.cos(turn), np.sin(turn)
        rotation = np.asarray([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]) @ stand
        mesh = mesh.rotate(vector(rotation), vector(np.zeros(3)))
        scene.add_triangles(mesh.translate(vector(np.asarray(centre))))
    cast = np.concatenate([np.zeros((64, 64, 3)), rays()], axis=-1)
    return scene.cast_rays(vector(cast.astype(np.float32)))["t_hit"].numpy()


@pytest.mark.parametrize("seed", SEEDS)
def test_points_seen_twice_have_one_colour(world: World, seed: int) -> None:
    """Reproject frame 0's points into a later frame: depth and colour agree."""
    clip = world.clip(seed, 8)
    j = 3
    points = torch.from_numpy(clip.points_world()[0]).double().reshape(-1, 3)
    camera = torch.linalg.inv(torch.from_numpy(clip.world_from_camera[j]).double())
    K = torch.from_numpy(clip.K[j]).double()
    pixels, depth = project(points @ camera[:3, :3].T + camera[:3, 3], K)
    x, y = pixels.floor().long().unbind(dim=-1)
    inside = (x >= 0) & (x < 48) & (y >= 0) & (y < 48) & (depth > 0.0)
    inside &= torch.from_numpy(clip.depth[0]).reshape(-1) > 0.0
    x, y = x.clamp(0, 47), y.clamp(0, 47)
    there = torch.from_numpy(clip.depth[j])[y, x].double()
    visible = inside & ((there - depth).abs() < 0.02 * depth)
    assert visible.sum() > 300
    colour = torch.from_numpy(clip.frames.astype(np.float64))
    first = colour[0].reshape(-1, 3)
    difference = (colour[j, y, x] - first).abs().mean(-1)[visible]
    unrelated = (colour[j].reshape(-1, 3).flip(0) - first).abs().mean()
    # Half a pixel of misplacement remains at texture edges, hence median and not maximum.
    assert difference.median() < 6.0
    assert difference.median() < 0.25 * unrelated


def test_depth_and_pointmap_agree(world: World) -> None:
    clip = world.clip(HELD_OUT, 4)
    truth = (torch.from_numpy(x) for x in (clip.depth, clip.K, clip.world_from_camera))
    ours = pointmap_from_depth(*truth)
    valid = clip.depth > 0.0
    np.testing.assert_allclose(ours.numpy()[valid], clip.points_world()[valid], atol=1e-4)
    np.testing.assert_allclose(clip.world_from_camera[0], np.eye(4), atol=1e-6)


def test_normals_are_those_of_the_surface(world: World) -> None:
    clip = world.clip(HELD_OUT + 1, 1)
    points = clip.points_world()[0]
    across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    found = np.cross(across, down)
    found /= np.linalg.norm(found, axis=-1, keepdims=True) + 1e-12
    ids = clip.ids[0]
    same = (ids[1:-1, 2:] == ids[1:-1, :-2]) & (ids[2:, 1:-1] == ids[:-2, 1:-1])
    same &= ids[1:-1, 1:-1] >= 0
    agree = np.abs((found * clip.normals[0, 1:-1, 1:-1]).sum(-1))[same]
    assert np.median(agree) > 0.999
    lengths = np.linalg.norm(clip.normals[0], axis=-1)[clip.ids[0] >= 0]
    np.testing.assert_allclose(lengths, 1.0, atol=1e-5)


def test_a_seed_is_a_clip(world: World) -> None:
    first = world.clip(HELD_OUT + 7, 3)
    world.clip(HELD_OUT + 8, 2)
    again = World(WorldConfig(size=48)).clip(HELD_OUT + 7, 3)
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.depth, again.depth)
    assert first.caption == again.caption
    assert not np.array_equal(first.frames, world.clip(HELD_OUT + 9, 3).frames)


def test_seeds_keep_their_clips(world: World) -> None:
    """Benchmarks name clips by seed: a change here makes their committed results stale."""
    clip = world.clip(HELD_OUT, 2)
    assert clip.caption == (
        "a pink cube and a cyan cube in a white room, warm light, the camera moves forward"
    )
    np.testing.assert_allclose(clip.depth.mean(), 2.6703, atol=1e-3)
    np.testing.assert_allclose(clip.frames.mean(), 150.29, atol=0.05)
    np.testing.assert_allclose(
        clip.world_from_camera[1, :3, 3], [0.093417, 0.002053, 0.415986], atol=1e-5
    )


def test_no_camera_is_inside_or_against_anything() -> None:
    config = PathConfig()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        scene = sample_scene(rng, SceneConfig(), load_photos(None))
        path = sample_path(rng, scene, config)
        assert scene.clearance(path.world_from_camera[:, :3, 3]).min() >= config.clearance


def test_depth_keeps_the_promised_clearance(world: World) -> None:
    for seed in SEEDS:
        depth = world.clip(seed, 4).depth
        # A ray's z-depth may be less than the distance by the cosine of the corner ray.
        assert depth[depth > 0.0].min() > 0.5 * world.config.path.clearance


def test_captions_use_the_vocabulary_and_tell_the_truth(world: World) -> None:
    known = set(vocabulary())
    for seed in range(20):
        clip = world.clip(seed, 1, vary_caption=True)
        assert set(clip.caption.replace(",", " , ").split()) <= known
        assert clip.description.move in MOVES
        full = clip.description.caption()
        assert clip.description.place in full
        assert clip.description.move in full


def test_a_moving_object_moves_and_the_room_does_not() -> None:
    scene_config = SceneConfig(moving_share=1.0)
    scene = sample_scene(np.random.default_rng(3), scene_config, load_photos(None))
    rows = scene.at_frames(5)
    moved = np.abs(np.diff(rows[:, :, 1:4], axis=0)).sum(axis=(0, 2)) > 0.0
    assert moved.sum() == 1
    assert moved[[thing.row for thing in scene.things]].sum() == 1


def test_photographs_are_seen(tmp_path: Path) -> None:
    from PIL import Image

    plain = np.full((20, 30, 3), (255, 0, 255), dtype=np.uint8)
    Image.fromarray(plain).save(tmp_path / "magenta.png")
    world = World(WorldConfig(size=32, photos=str(tmp_path), scene=SceneConfig(photo_share=1.0)))
    frames = np.concatenate([world.clip(seed, 1).frames for seed in range(4)]).astype(int)
    magenta = (frames[..., 0] > frames[..., 1] + 60) & (frames[..., 2] > frames[..., 1] + 60)
    assert magenta.mean() > 0.1


class TestBadInput:
    def test_folder_without_photographs(self, tmp_path: Path) -> None:
        with pytest.raises(FileError, match="photos: expected a folder"):
            load_photos(tmp_path)

    @pytest.mark.parametrize("frames", [0, 17])
    def test_too_few_or_many_frames(self, world: World, frames: int) -> None:
        with pytest.raises(InputError, match="frames: expected 1 to 16"):
            world.clip(0, frames)

    def test_cameras_without_intrinsics(self) -> None:
        scene = scene_of((kinds.SPHERE, (0.0, 0.0, 3.0), (1.0, 1.0, 1.0), 0.0))
        with pytest.raises(InputError, match="one K per frame"):
            render(scene, np.eye(4)[None].repeat(2, 0), K64[None], (8, 8))


def test_cuda_runs_the_same_source() -> None:
    """numba's CUDA simulator runs the kernel in Python and gives what the CPU gives."""
    program = (
        "import numpy as np, jog3r\n"
        "from jog3r.data.world.materials import load_photos\n"
        "from jog3r.data.world.scene import SceneConfig, sample_scene\n"
        "from jog3r.data.world import render\n"
        "scene = sample_scene(np.random.default_rng(1), SceneConfig(), load_photos(None))\n"
        "camera = np.eye(4)[None]; camera[0, 1, 3] = -1.4; camera[0, 2, 3] = -1.0\n"
        "K = np.asarray([[[5.0, 0, 3], [0, 5.0, 3], [0, 0, 1]]])\n"
        "a, b = (render(scene, camera, K, (6, 6), samples=1, device=d) for d in ('cpu', 'cuda'))\n"
        "assert np.abs(a.frames.astype(int) - b.frames).max() <= 1\n"
        "assert np.allclose(a.depth, b.depth, rtol=1e-6) and a.depth.max() > 0\n"
        "assert (a.ids == b.ids).all()\n"
        "print('equal')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        check=False,
    )
    assert done.stdout.strip() == "equal", done.stderr[-2000:]

"""Lesson 4: every way out, and back in.

    python examples/04_export.py --out outputs/lesson4

The scene comes from the controlled world: its cameras and depth are exact, and no model is needed.

What to take home
    * Results are plain dataclasses of tensors; you can build one from your own numbers.
    * Every format has a reader, and docs/formats.md says which way its transforms go.
    * `export_scene` writes for other programs, reads back, and tells whether points fit the images.
    * `save(folder)` keeps everything; `load(folder)` gives the same tensors, bit for bit.
"""

import argparse
from pathlib import Path
from typing import get_args

import torch

from jog3r import Cameras, Reconstruction, Video
from jog3r.data.world import HELD_OUT, World, WorldConfig
from jog3r.export.scene import SceneFormat, export_scene
from jog3r.geometry import invert
from jog3r.results import CameraFormat, PointSelection


def main() -> None:
    """Run the lesson."""
    parser = argparse.ArgumentParser(description="Write and read every format.")
    parser.add_argument("--out", type=Path, default=Path("outputs/lesson4"))
    parser.add_argument("--size", type=int, default=128, help="height and width of the frames [px]")
    parser.add_argument("--frames", type=int, default=8)
    args = parser.parse_args()

    # A clip with everything that is true about it; seeds from HELD_OUT on are never trained on.
    clip = World(WorldConfig(size=args.size)).clip(seed=HELD_OUT, frames=args.frames)
    print("caption:", clip.caption)
    size = (args.size, args.size)
    cameras = Cameras(torch.from_numpy(clip.world_from_camera), torch.from_numpy(clip.K), size)
    depth = torch.from_numpy(clip.depth)  # z-depth in metres, 0 for the sky
    video = Video(torch.from_numpy(clip.frames), fps=8)
    scene = Reconstruction(video, cameras, depth, torch.ones_like(depth), scale="metric")

    # Cameras alone. The formats differ in direction and in what they can hold.
    args.out.mkdir(parents=True, exist_ok=True)
    for format in get_args(CameraFormat):
        path = cameras.save(args.out / f"cameras_{format}", format)
        lacking = {"K": cameras.K[0], "image_size": size} if format in ("tum", "kitti") else {}
        back = Cameras.load(path, format, **lacking)
        error = (back.world_from_camera - cameras.world_from_camera).abs().max()
        print(f"{format}: largest error {error:.1e}")

    # Another tool wants camera_from_world, or y up and z backwards (OpenGL)?
    camera_from_world = invert(cameras.world_from_camera)
    camera_from_opengl_camera = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    world_from_opengl_camera = cameras.world_from_camera @ camera_from_opengl_camera
    print("last camera_from_world:", camera_from_world[-1], sep="\n")
    print("last world_from_opengl_camera:", world_from_opengl_camera[-1], sep="\n")

    # Points. One rule chooses them for every export; you can be stricter.
    selection = PointSelection(drop_fraction=0.0, voxel_ratio=1 / 128)
    print(scene.select_points(selection), "of", depth.numel(), "pixels")
    formats: tuple[SceneFormat, ...] = ("colmap", "3dgs", "nerfstudio")
    for format in formats:
        place = args.out / f"for_{format}"
        done = export_scene(scene, place, format, selection=selection, overwrite=True)
        print(format, done.points, "points", *done.sanity.warnings)
    done = export_scene(scene, args.out / "scene.glb", "glb", selection=selection, overwrite=True)
    print(done.sanity)  # seen by its cameras, do the points look like the frames?

    # Everything at once, whole or not at all, and back without loss.
    folder = scene.save(args.out / "scene", overwrite=True)
    assert Reconstruction.load(folder) == scene
    print("open", folder / "overview.png")


if __name__ == "__main__":
    main()

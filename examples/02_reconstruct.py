"""Lesson 2: from a video to cameras, depth and points.

    python examples/02_reconstruct.py --out outputs/lesson2
    python examples/02_reconstruct.py clip.mp4 --out outputs/mine

What to take home
    * A video file, a folder of photographs, an array or a tensor: all go to `reconstruct`.
    * The result is in the pixels of the input, and its world is the camera of the first frame.
    * Pictures alone do not tell a room from a doll's house: the scale is relative.
"""

import argparse
from pathlib import Path

import torch

import jog3r
from jog3r import JOG3R, Cameras
from jog3r.alignment import Regularisers
from jog3r.data.media import read_video
from jog3r.geometry import focal

# Photographs of a desk that come with jog3r, with their cameras to compare with.
CLIP = Path(jog3r.__file__).parent / "assets" / "real_clip"


def turn_deg(world_from_camera: torch.Tensor) -> list[float]:
    """Angle between each camera and the first one, whose camera is the world."""
    trace = world_from_camera[:, :3, :3].diagonal(dim1=1, dim2=2).sum(dim=1)
    angles = torch.rad2deg(torch.acos(((trace - 1) / 2).clamp(-1, 1)))
    return [round(angle, 1) for angle in angles.tolist()]


def main() -> None:
    """Run the lesson."""
    parser = argparse.ArgumentParser(description="Reconstruct a clip.")
    parser.add_argument("clip", nargs="?", type=Path, default=CLIP)
    parser.add_argument("--out", type=Path, default=Path("outputs/lesson2"))
    parser.add_argument("--model", default="tiny", help="a packaged model, a folder or a hub id")
    parser.add_argument("--max-frames", type=int, default=16)
    args = parser.parse_args()

    model = JOG3R.from_pretrained(args.model)
    video = read_video(args.clip, max_frames=args.max_frames)
    print(video)

    # Nothing known: focal lengths are estimated too.
    scene = model.reconstruct(video)
    print(scene)
    print("focal length [px]:", focal(scene.cameras.K)[0].item())
    print("turn since the first frame [deg]:", turn_deg(scene.cameras.world_from_camera))

    # Known intrinsics, in pixels of the input, are kept as they are.
    if args.clip == CLIP:
        true = Cameras.load(CLIP / "cameras.json", "json")
        print("true turn [deg]:", turn_deg(true.world_from_camera)[: len(video)])
        known = model.reconstruct(video, K=true.K[0])
        print("with known K:", focal(known.cameras.K)[0].item(), "px")

    # What the pointmaps alone say: no smoothness terms, and no laying of frames over each other.
    rough = model.reconstruct(video, regularisers=Regularisers.off(), refine=None)
    print("turn by pointmaps alone [deg]:", turn_deg(rough.cameras.world_from_camera))

    # Depth, confidence and world points come per pixel; the cloud leaves out the least confident.
    print("depth", tuple(scene.depth.shape), "points", len(scene.points))
    folder = scene.save(args.out / "scene", overwrite=True)
    print("open", folder / "overview.png", "and", folder / "scene.glb")


if __name__ == "__main__":
    main()

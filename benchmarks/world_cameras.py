"""Claim: cameras of the controlled world move like those of real house tours (RealEstate10K).

Compared at 16 poses. Real paths have two strides: those of 49 poses lie closer in time than those
of 16, so the first are taken whole, as every third pose, and as their first sixteen.
"""

import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.real_clips import data_folder
from benchmarks.record import Record, parser, progress
from jog3r.data.world import HELD_OUT, SceneConfig
from jog3r.data.world.camera_paths import PathConfig, sample_path
from jog3r.data.world.materials import load_photos
from jog3r.data.world.scene import sample_scene

FRAMES = 16
Paths = Sequence[tuple[np.ndarray, float]]


def real_paths(name: str, *, first: int = 0, stride: int = 1) -> Paths:
    """Read RealEstate10K paths: `world_from_camera` (T, 4, 4) and the vertical field of view [deg].

    Args:
        name: "flovd" (49 poses, K known) or "motionctrl" (16 poses, K unknown).
        first: pose to begin with.
        stride: of the poses taken, 16 of them.
    """
    file = data_folder() / "re10k_trajectories" / "trajectories.json"
    content = json.loads(file.read_text())
    found = []
    for path in content["trajectories"]:
        if path["source"] == name:
            poses = np.asarray(path["world_from_camera"])[first::stride][:FRAMES]
            K = path["K_normalised"]
            found.append((poses, math.nan if K is None else fov_deg(K[1])))
    return found


def real_clips() -> Paths:
    """Read the cameras of the RealEstate10K clips."""
    found = []
    for file in sorted((data_folder() / "re10k_clips").glob("*/cameras.json")):
        content = json.loads(file.read_text())
        poses = np.asarray([frame["world_from_camera"] for frame in content["frames"]])
        focal = content["frames"][0]["K"][1][1] / content["image_size"][1]
        found.append((poses[:FRAMES], fov_deg(focal)))
    return found


def world_paths(count: int, start: int, *, threads: int) -> Paths:
    """Draw paths of the world without rendering them."""

    def one(seed: int) -> tuple[np.ndarray, float]:
        rng = np.random.default_rng(seed)
        scene = sample_scene(rng, SceneConfig(), load_photos(None))
        path = sample_path(rng, scene, PathConfig())
        return path.world_from_camera[:FRAMES], path.fov_deg

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(start, start + count)))


def fov_deg(focal: float) -> float:
    """Field of view of a focal length in image heights."""
    return 2 * math.degrees(math.atan(0.5 / focal))


def rotation_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle of the rotation between cameras `(..., 4, 4)`.

    From the distance of the matrices, which stays accurate for small angles.
    """
    distance = np.linalg.norm(a[..., :3, :3] - b[..., :3, :3], axis=(-2, -1))
    return np.degrees(2 * np.arcsin(np.clip(distance / math.sqrt(8), 0.0, 1.0)))


def path_numbers(path: np.ndarray, fov: float) -> dict[str, float]:
    """Describe one path; angles in degrees, the rest without a unit."""
    steps = np.diff(path[:, :3, 3], axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    seen = np.einsum("tji,tj->ti", path[:-1, :3, :3], steps)  # in the camera that takes the step
    mean = seen.mean(axis=0)
    way = math.degrees(math.acos(np.clip(mean[2] / max(np.linalg.norm(mean), 1e-12), -1.0, 1.0)))
    turns = rotation_deg(path[:-1], path[1:])
    forward = path[0, :3, :3].T @ path[-1, :3, 2]
    net = np.linalg.norm(path[-1, :3, 3] - path[0, :3, 3])
    return {
        "rotation_per_frame_deg": float(np.median(turns)),
        "rotation_whole_deg": float(rotation_deg(path[0], path[-1])),
        "yaw_whole_deg": abs(math.degrees(math.atan2(forward[0], forward[2]))),
        "pitch_whole_deg": abs(math.degrees(math.asin(np.clip(-forward[1], -1.0, 1.0)))),
        "travel_to_view_deg": way,
        "travel_within_30deg_of_view": float(way <= 30),
        "travel_backwards": float(way > 135),
        "fov_vertical_deg": fov,
        "step_variation": float(lengths.std() / max(lengths.mean(), 1e-12)),
        "turn_variation": float(turns.std() / max(turns.mean(), 1e-12)),
        "net_over_path_length": float(net / max(lengths.sum(), 1e-12)),
    }


def rows(name: str, paths: Paths) -> list[dict[str, Any]]:
    """Summarise a set of paths, one line per quantity."""
    numbers = [path_numbers(path, fov) for path, fov in paths]
    made = []
    for quantity in numbers[0]:
        values = np.asarray([n[quantity] for n in numbers])
        values = values[~np.isnan(values)]
        low, middle, high = np.percentile(values, [10, 50, 90]) if len(values) else [math.nan] * 3
        head = {"quantity": quantity, "paths": name, "n": len(values)}
        mean = float(values.mean()) if len(values) else math.nan
        made.append(
            head | {"p10": float(low), "median": float(middle), "p90": float(high), "mean": mean}
        )
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    args = parser(__doc__, clips=2000, model=False).parse_args(argv)
    record = Record("world_cameras", args)
    start = HELD_OUT + 2_000_000 + 100_000 * args.seed
    sets = {"world": world_paths(args.clips, start, threads=args.threads)}
    if (data_folder() / "re10k_trajectories").is_dir():
        every_third, beginning = real_paths("flovd", stride=3), real_paths("flovd")
        sparse, clips = real_paths("motionctrl"), real_clips()
        sets["re10k: flovd, every 3rd"] = every_third
        sets["re10k: flovd, first 16"] = beginning
        sets["re10k: motionctrl"] = sparse
        sets["re10k: the five clips"] = clips
        sets["re10k: the 21 paths"] = [*every_third, *sparse]
    else:
        progress(f"skipped: no {data_folder() / 're10k_trajectories'}; set JOG3R_SHARED")
    notes = {
        "poses": f"{FRAMES} per path; world: all of a path; flovd has 49, closer in time: poses"
        " 0, 3, .. 45 or 0 .. 15; motionctrl has 16; the 21 paths: every 3rd of flovd, motionctrl",
        "numbers": "one per path; then 10 %, 50 %, 90 % and mean over paths",
        "per frame": "median over the path's steps; variation: deviation over mean of its steps",
        "travel": "mean step in the axes of the camera that takes it, against its view",
    }
    tables = [rows(name, paths) for name, paths in sets.items()]
    lines = [line for same_quantity in zip(*tables, strict=True) for line in same_quantity]
    record.write(lines, notes)


if __name__ == "__main__":
    main()

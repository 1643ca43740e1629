"""Claim: which temporal regulariser helps when, on noisy pointmaps of the controlled world.

Pointmaps of true clips are spoilt at three levels of noise and aligned on a star (one pair per
frame, as JOG3R has them) and on a window graph: without regularisers, with each one alone at its
default weight, with the default set, and with the set without each one. Cameras move smoothly, in a
trembling hand, or not at all. focal_smoothness acts only where each frame has a focal length of its
own ("each focal"), which is tried with it alone, without any, and with the default set.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from benchmarks.held_out import FIRST_CLIP
from benchmarks.poses import mean_and_error
from benchmarks.record import Record, parser, progress
from benchmarks.spoilt_pairs import Truth, spoilt_pairs
from jog3r.alignment import Alignment, Regularisers, pair_graph, solve
from jog3r.data.world import World, WorldConfig
from jog3r.data.world.camera_paths import PathConfig
from jog3r.metrics.absolute_trajectory import absolute_trajectory_error
from jog3r.metrics.relative_pose import relative_pose_errors

FRAMES = 12
LEAST_WAY = 0.01  # median depths; shorter paths have neither direction nor scale
NOISES = (0.01, 0.03, 0.1)
GRAPHS = ("star", "window-3")
HANDHELD = {"smooth": 0.0, "hand-held": 1.0, "static": 0.0}


@dataclass(frozen=True)
class Setting:
    """Regularisers, and whether all frames share a focal length."""

    weights: Regularisers
    shared_focal: bool = True


def settings() -> dict[str, Setting]:
    """Return what is compared."""
    default, off = Regularisers(), Regularisers.off()
    names = [field.name for field in fields(Regularisers) if field.name != "focal_smoothness"]
    alone = {f"only {name}": replace(off, **{name: getattr(default, name)}) for name in names}
    without = {f"without {name}": replace(default, **{name: 0.0}) for name in names}
    shared = {"none": off, **alone, **without, "default": default}
    smooth = replace(off, focal_smoothness=default.focal_smoothness)
    each = {"none": off, "only focal_smoothness": smooth, "default": default}
    return {name: Setting(weights) for name, weights in shared.items()} | {
        f"each focal: {name}": Setting(weights, shared_focal=False)
        for name, weights in each.items()
    }


def truths(move: str, count: int, seed: int) -> Iterator[Truth]:
    """Return clips of the world with one kind of move."""
    world = World(WorldConfig(path=PathConfig(handheld_share=HANDHELD[move])))
    start = FIRST_CLIP + 500_000 + 10_000 * seed
    for number in range(start, start + count):
        clip = world.clip(number, FRAMES)
        frames = [0] * FRAMES if move == "static" else list(range(FRAMES))
        yield Truth(
            torch.from_numpy(clip.depth[frames]),
            torch.from_numpy(clip.K[frames]),
            torch.from_numpy(clip.world_from_camera[frames]),
        )


def errors(truth: Truth, graph: str, noise: float, seed: int) -> dict[str, dict[str, float]]:
    """Return the errors of every setting on one clip."""
    pairs = spoilt_pairs(truth, pair_graph(graph, FRAMES), noise, seed)
    return {
        name: measured(
            truth, solve(pairs, regularisers=each.weights, shared_focal=each.shared_focal)
        )
        for name, each in settings().items()
    }


def measured(truth: Truth, alignment: Alignment) -> dict[str, float]:
    """Return the errors of cameras; what needs motion is nan where there is none."""
    found = alignment.world_from_camera
    depth = float(truth.depth[truth.depth > 0].median())
    pose = relative_pose_errors(found, truth.world_from_camera)
    way = truth.world_from_camera[:, :3, 3].norm(dim=1).max()
    direction = trajectory = math.nan
    if float(way) > LEAST_WAY * depth:
        direction = float(pose.direction_deg[pose.has_direction].mean())
        trajectory = absolute_trajectory_error(found, truth.world_from_camera).translation.rmse
    return {
        "rotation_deg": float(pose.rotation_deg.mean()),
        "direction_deg": direction,
        "ATE_%_of_depth": 100 * trajectory / depth,
        "focal_%": 100 * float((alignment.K[:, 0, 0] / truth.K[:, 0, 0] - 1).abs().mean()),
        "way": float(found[:, :3, 3].diff(dim=0).norm(dim=1).sum()),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    args = parser(__doc__, clips=12, model=False).parse_args(argv)
    torch.set_num_threads(args.threads)
    record = Record("regularisers", args)
    rows: list[dict[str, Any]] = []
    for move in HANDHELD:
        clips = list(truths(move, args.clips, args.seed))
        for graph in GRAPHS:
            for noise in NOISES:
                found = [errors(clip, graph, noise, k) for k, clip in enumerate(clips)]
                for name in settings():
                    row = {
                        "move": move,
                        "graph": graph,
                        "noise_%": 100 * noise,
                        "regularisers": name,
                    }
                    for measure in found[0][name]:
                        row[measure] = mean_and_error([clip[name][measure] for clip in found])[0]
                    rows.append(row)
                progress(f"{move} {graph} {noise}")
    notes = {
        "clips": f"{args.clips} per move, held-out seeds, {FRAMES} frames, 64 px;"
        " static: one frame repeated",
        "noise": "relative error of a distance along the ray; see benchmarks/spoilt_pairs.py",
        "errors": "means over clips; rotation and direction over all pairs of frames, no alignment;"
        " ATE after a similarity; focal: mean error of the focal lengths;"
        " way: length of the found path, in its own unit",
    }
    record.write(rows, notes)


if __name__ == "__main__":
    main()

"""Claim: the model recovers the cameras and depth of held-out clips of the controlled world.

Beside it: a camera that stays, one that moves straight ahead, and a wall for depth; photometric
refinement without the model's depth and motion (a wall); and the alignment of pointmaps alone, as
it is, without regularisers, and as its closed-form start.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from benchmarks import held_out
from benchmarks.poses import RULE, mean_and_error, pose_row
from benchmarks.prompted_moves import group_of
from benchmarks.record import Record, load_model, parser, progress
from jog3r.alignment import Alignment, PairPointmaps, Regularisers, refine_photometrically, solve
from jog3r.data.world import WorldClip
from jog3r.errors import InputError
from jog3r.metrics.depth import DepthErrors, constant_depth, depth_errors
from jog3r.metrics.relative_pose import (
    RelativePoseErrors,
    no_motion,
    relative_pose_errors,
    straight_forward,
)

BATCH = 8
MOVES = ("forward", "backward", "sideways", "vertical", "orbits", "turns")
Method = Callable[[PairPointmaps, Tensor], Alignment]
VARIANTS: dict[str, Method] = {
    "jog3r": lambda pairs, video: refine_photometrically(solve(pairs), video),
    "pixels alone": lambda pairs, video: refine_photometrically(wall(solve(pairs)), video),
    "pointmaps alone": lambda pairs, video: solve(pairs),
    "no regularisers": lambda pairs, video: solve(pairs, regularisers=Regularisers.off()),
    "no refinement": lambda pairs, video: solve(pairs, refine=False),
}


def wall(alignment: Alignment) -> Alignment:
    """Forget what the model knows of depth and motion; only the focal length stays."""
    identity = torch.eye(4).expand_as(alignment.world_from_camera)
    depth = alignment.depth.median().expand_as(alignment.depth)
    return replace(alignment, world_from_camera=identity, depth=depth)


@dataclass
class Tally:
    """Errors of one method, clip by clip."""

    poses: list[RelativePoseErrors] = field(default_factory=list)
    depths: list[DepthErrors] = field(default_factory=list)
    focals: list[float] = field(default_factory=list)
    moves: list[str] = field(default_factory=list)
    failed: int = 0
    seconds: float = 0.0

    def row(self, method: str) -> dict[str, Any]:
        """Return one line of the table."""
        clips = len(self.poses)
        abs_rel, se = mean_and_error([depth.abs_rel for depth in self.depths])
        focal = torch.tensor(self.focals) if self.focals else torch.tensor([torch.nan])
        return {
            "method": method,
            "clips": clips,
            "aligned_%": 100.0 * (clips - self.failed) / clips,
            **pose_row(self.poses),
            "AbsRel": abs_rel,
            "AbsRel_se": se,
            "delta1.25_%": 100 * mean_and_error([depth.delta for depth in self.depths])[0],
            "depth_given_%": 100 * mean_and_error([depth.coverage for depth in self.depths])[0],
            "focal_error_median_%": 100 * float(focal.median()),
            "seconds_per_clip": self.seconds / clips if self.seconds else math.nan,
        }

    def of(self, group: str) -> "Tally":
        """Return the poses of the clips with this kind of move."""
        chosen = [i for i, move in enumerate(self.moves) if group_of(move) == group]
        return Tally([self.poses[i] for i in chosen], moves=[self.moves[i] for i in chosen])


def batches(source: Iterator[WorldClip]) -> Iterator[list[WorldClip]]:
    """Group clips."""
    while batch := list(islice(source, BATCH)):
        yield batch


def score(tally: Tally, clip: WorldClip, found: Alignment | None) -> None:
    """Add a clip; one that could not be aligned counts as no motion and has no depth."""
    truth = torch.from_numpy(clip.world_from_camera)
    cameras = no_motion(len(truth)) if found is None else found.world_from_camera
    tally.poses.append(relative_pose_errors(cameras, truth))
    tally.moves.append(clip.description.move)
    if found is None:
        tally.failed += 1
        return
    tally.depths.append(depth_errors(found.depth, torch.from_numpy(clip.depth)))
    focal = torch.from_numpy(clip.K)[:, 0, 0]
    tally.focals.append(float(((found.K[:, 0, 0] - focal).abs() / focal).mean()))


def score_baselines(tallies: dict[str, Tally], clip: WorldClip) -> None:
    """Add a clip to what every method has to beat."""
    truth, depth = torch.from_numpy(clip.world_from_camera), torch.from_numpy(clip.depth)
    for name, baseline in (("no motion", no_motion), ("straight forward", straight_forward)):
        tally = tallies.setdefault(name, Tally())
        tally.poses.append(relative_pose_errors(baseline(len(truth)), truth))
        tally.moves.append(clip.description.move)
        tally.depths.append(depth_errors(constant_depth(depth), depth))


def run_batch(
    model: Any, batch: Sequence[WorldClip], seeds: list[int], tallies: dict[str, Tally]
) -> None:
    """Reconstruct clips in one pass through the backbone, and align them in every way."""
    from jog3r.alignment import star
    from jog3r.routes.pointmaps import token_pointmaps, video_tokens

    begin = time.perf_counter()
    video = torch.stack([held_out.as_video(clip) for clip in batch])
    tokens = video_tokens(model, video, seeds)
    pairs = [token_pointmaps(model, sample, star(len(sample))) for sample in tokens]
    network = time.perf_counter() - begin
    for name, method in VARIANTS.items():
        tally = tallies.setdefault(name, Tally())
        begin = time.perf_counter()
        found = [
            attempt(method, pair, clip, frames)
            for pair, clip, frames in zip(pairs, batch, video, strict=True)
        ]
        tally.seconds += network + time.perf_counter() - begin
        for clip, alignment in zip(batch, found, strict=True):
            score(tally, clip, alignment)
    for clip in batch:
        score_baselines(tallies, clip)


def attempt(
    method: Method, pairs: PairPointmaps, clip: WorldClip, video: Tensor
) -> Alignment | None:
    """Align; None if the pointmaps are not usable."""
    try:
        return method(pairs, video)
    except InputError as error:
        progress(f"clip {clip.seed}: {error}")
        return None


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    args: argparse.Namespace = parser(__doc__, clips=200).parse_args(argv)
    model, world = load_model(args), held_out.world()
    record = Record("v2c_world", args)
    start = held_out.FIRST_CLIP + 10_000 * args.seed
    source = held_out.clips(world, range(start, start + args.clips), threads=args.threads)
    tallies: dict[str, Tally] = {}
    for number, batch in enumerate(batches(source)):
        seeds = [BATCH * number + i for i in range(len(batch))]
        run_batch(model, batch, seeds, tallies)
        progress(f"{BATCH * number + len(batch)} of {args.clips} clips")
    notes = {
        "clips": f"held-out seeds from {start}; {held_out.FRAMES} frames, all of each path, 64 px",
        "poses": f"{RULE}; a clip that cannot be aligned counts as no motion",
        "depth": "pixels that have a true depth; median scale per clip; mean over aligned clips",
        "baselines": "their depth is a constant; their focal length is not given",
        "time": f"network in batches of {BATCH} and alignment, without rendering",
    }
    record.write([tally.row(name) for name, tally in tallies.items()], notes)
    shown = ("jog3r", "no motion", "straight forward")
    by_move = [
        {"move": group, "method": name, "clips": len(part.poses), **pose_row(part.poses)}
        for group in MOVES
        for name in shown
        if (part := tallies[name].of(group)).poses
    ]
    record.write(by_move, notes, table="by_move")


if __name__ == "__main__":
    main()

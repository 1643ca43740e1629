"""Claim: aligning long videos takes time in proportion to their length, and bounded memory.

Pointmaps are made when a window asks for them, from a room with exact truth, with noise of every
pair's own. Every case runs in a fresh process, on one thread; results go to files. Also what the
path's error is, against windows that are not stitched, and what closing loops does to it.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.record import REPOSITORY, Record, parser, progress

LENGTHS = (8, 32, 128, 512)
SIDES_PX = (64, 224)
METHODS = ("windows", "windows, no loop check", "windows not stitched", "no motion")
VIDEOS = ("wander", "circle")
ERRORS = ("ate_sim3_rmse", "turn_mean_deg", "rpe_rmse", "rpe_turn_mean_deg")


@dataclass
class Timed:
    """A source of pointmaps that keeps its own time out of the account.

    Args:
        source: makes the pointmaps.
        seconds: CPU time it took so far.
        pairs: how many were asked for.
    """

    source: Callable[..., Any]
    seconds: float = 0.0
    pairs: int = 0

    def __call__(self, frames: Sequence[int], pairs: Any) -> Any:
        """Make pointmaps."""
        begin = time.process_time()
        made = self.source(frames, pairs)
        self.seconds += time.process_time() - begin
        self.pairs += len(pairs)
        return made


def made_source(args: argparse.Namespace) -> Any:
    """Return the video: a camera that swings about in a room, or that goes once round in it."""
    from tests.lazy_scenes import LazyScene, PairNoise, circle, wander

    size, path = (args.side_px, args.side_px), {"wander": wander, "circle": circle}[args.video]
    return LazyScene(path(args.frames), size=size, noise=PairNoise(), seed=args.seed)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Align one video in this process."""
    import torch

    from jog3r.alignment.windows import align_windows, cut

    torch.set_num_threads(1)
    source = made_source(args)
    timed, imported = Timed(source), peak_mib()
    with TemporaryDirectory() as folder:
        begin = time.process_time()
        scene = align_windows(
            timed,
            args.frames,
            graph=args.graph,
            window=args.window,
            overlap=args.overlap,
            folder=Path(folder) / "frames",
        )
        seconds = time.process_time() - begin - timed.seconds
        peak = peak_mib()
        files = sum(file.stat().st_size for file in (Path(folder) / "frames").iterdir())
    return {
        "frames": args.frames,
        "side_px": args.side_px,
        "windows": len(cut(args.frames, args.window, args.overlap)),
        "pairs_asked": timed.pairs,
        "align_cpu_s": seconds,
        "ms_per_frame": 1000 * seconds / args.frames,
        "source_cpu_s": timed.seconds,
        "peak_MiB": peak,
        "imports_MiB": imported,
        "files_MiB": files / 2**20,
        "loops": sum(flag.startswith("loop-closed") for flag in scene.flags),
        **path_errors(scene.cameras.world_from_camera, source.world_from_camera),
    }


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """Find the path of one video in one way."""
    import torch

    from jog3r.alignment.windows import align_windows
    from jog3r.metrics import no_motion

    torch.set_num_threads(1)
    source = made_source(args)
    options = {"graph": args.graph, "window": args.window, "overlap": args.overlap}
    if args.method == "no motion":
        path = no_motion(args.frames)
    elif args.method == "windows not stitched":
        path = not_stitched(source, args)
    else:
        closing = args.method == "windows"
        scene = align_windows(source, args.frames, loop_check=closing, **options)
        path = scene.cameras.world_from_camera
    case = {"video": args.video, "frames": args.frames, "side_px": args.side_px, "seed": args.seed}
    return case | {"method": args.method} | path_errors(path, source.world_from_camera)


def not_stitched(source: Any, args: argparse.Namespace) -> Any:
    """Return the path of windows that begin where the last one ends, each at its own scale."""
    import torch

    from jog3r.alignment.windows import align_windows, cut
    from jog3r.geometry import relative

    path = torch.eye(4)[None]
    for span in cut(args.frames, args.window, 1):
        scene = align_windows(
            lambda frames, pairs, first=span.first: source([first + f for f in frames], pairs),
            len(span),
            graph=args.graph,
            window=len(span),
            overlap=1,
        )
        local = scene.cameras.world_from_camera
        path = torch.cat([path, path[-1] @ relative(local[:1], local[1:])])
    return path


def path_errors(found: Any, truth: Any) -> dict[str, float]:
    """Return the errors of a path, in lengths of the room, which is about 5 deep."""
    import roma

    from jog3r.geometry import relative
    from jog3r.metrics import absolute_trajectory_error, relative_trajectory_error

    ate = absolute_trajectory_error(found, truth, alignment="similarity")
    rpe = relative_trajectory_error(found, truth, alignment="similarity")
    turn, right = (relative(path[:1], path)[:, :3, :3].double() for path in (found, truth))
    return {
        "ate_sim3_rmse": ate.translation.rmse,
        "turn_mean_deg": float(roma.rotmat_geodesic_distance(turn, right).rad2deg().mean()),
        "rpe_rmse": rpe.translation.rmse,
        "rpe_turn_mean_deg": rpe.rotation_deg.mean,
    }


def peak_mib() -> float:
    """Return the largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_fresh_process(args: argparse.Namespace, **case: object) -> dict[str, Any]:
    """Run one case in a new process.

    Raises:
        CalledProcessError: it failed.
    """
    words = [sys.executable, "-W", "ignore", "-m", "benchmarks.alignment_length", "--case"]
    options = {"graph": args.graph, "window": args.window, "overlap": args.overlap, **case}
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    progress(" ".join(map(str, case.values())))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}
    done = subprocess.run(
        words, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parser(__doc__, clips=None, model=False)
    options.add_argument("--graph", default="window-3", help="pairs within a window")
    options.add_argument("--window", type=int, default=32, help="most frames of a window")
    options.add_argument("--overlap", type=int, default=8, help="frames two windows share")
    options.add_argument("--frames", type=int, default=512, help="longest video")
    options.add_argument("--seeds", type=int, default=3, help="noises of the comparison")
    options.add_argument("--video", choices=VIDEOS, default="wander", help="path, for --case")
    options.add_argument("--side-px", type=int, default=64, help="of the frames, for --case")
    options.add_argument("--method", choices=METHODS, help="for --case: compare")
    options.add_argument("--case", action="store_true", help="one case, as a line of JSON")
    args = options.parse_args(argv)
    if args.case:
        print(json.dumps(compare(args) if args.method else measure(args)))
        return
    record = Record("alignment_length", args)
    lengths = [length for length in LENGTHS if length <= args.frames]
    rows = [
        in_fresh_process(args, frames=frames, side_px=side, seed=args.seed)
        for side in SIDES_PX
        for frames in lengths
    ]
    notes = {
        "scene": "a room about 5 deep, steps of about 0.06; pointmaps with the noise of the stored"
        " noisy pairs: scale 0.25, turn 0.3 deg per axis, shift 1 %, 10 % outliers",
        "time": "CPU seconds of one thread, without the source of the pointmaps",
        "memory": "largest resident set of a fresh process, imports and mapped files and all",
        "ate": "root mean square after a similarity (Sim3), in the unit of the room",
        "turn": "of each camera relative to the first one; rpe: from one frame to the next",
    }
    record.write(rows, notes)
    rows = [
        in_fresh_process(args, video=video, frames=frames, method=method, seed=seed)
        for video in VIDEOS
        for frames in lengths[-2:]
        for method in METHODS
        for seed in range(args.seed, args.seed + args.seeds)
    ]
    record.write(_over_seeds(rows), notes | {"mean": "over the seeds"}, table="drift")


def _over_seeds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Average the rows that differ in nothing but the seed."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["video"], row["frames"], row["method"]), []).append(row)
    return [
        {"video": video, "frames": frames, "method": method, "seeds": len(group)}
        | {key: fmean(row[key] for row in group) for key in ERRORS}
        for (video, frames, method), group in groups.items()
    ]


if __name__ == "__main__":
    main()

"""Claim: alignment takes a hundredth of the original's time.

The original's seconds were measured on a quiet machine of the same kind with two threads: 300 steps
of Adam, after its own start; at 224x224 six steps were measured and 300 extrapolated.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.alignment_accuracy import PARITY, load
from benchmarks.held_out import FIRST_CLIP
from benchmarks.record import Record, parser, progress
from benchmarks.spoilt_pairs import Truth, spoilt_pairs
from jog3r.alignment import PairPointmaps, complete, solve
from jog3r.data.world import World, WorldConfig

CASES = (((8, 32, 48), 2.4456), ((8, 48, 64), 5.42), ((16, 48, 64), 14.0), ((8, 224, 224), 98.0))
"""Frames, height and width; the original's seconds."""
STORED = {"dust3r_align_noisy": 2.4456, "dust3r_align_clean": 2.59}
"""Pair graphs of the reference data; the original's seconds."""
NOISE = 0.01


def pairs_of(frames: int, height: int, width: int, seed: int) -> PairPointmaps:
    """Return all pairs of a clip of the controlled world, at this size."""
    size = max(height, width)
    clip = World(WorldConfig(size=size, samples=1)).clip(FIRST_CLIP + 700_000 + seed, frames)
    rows, columns = (slice((size - n) // 2, (size - n) // 2 + n) for n in (height, width))
    K = torch.from_numpy(clip.K).clone()
    K[:, 0, 2] -= columns.start
    K[:, 1, 2] -= rows.start
    depth = torch.from_numpy(clip.depth)[:, rows, columns].contiguous()
    truth = Truth(depth, K, torch.from_numpy(clip.world_from_camera))
    return spoilt_pairs(truth, complete(frames), NOISE, seed)


def measured(pairs: PairPointmaps, repeats: int) -> dict[str, float]:
    """Return median and smallest wall time and processor time [s], after a warm-up."""
    solve(pairs)
    wall, processor = [], []
    for _ in range(repeats):
        begin, begin_processor = time.perf_counter(), time.process_time()
        solve(pairs)
        wall.append(time.perf_counter() - begin)
        processor.append(time.process_time() - begin_processor)
    return {
        "seconds_median": statistics.median(wall),
        "seconds_min": min(wall),
        "processor_seconds_min": min(processor),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parser(__doc__, clips=None, model=False)
    options.add_argument("--repeats", type=int, default=31, help="runs of each case")
    args: argparse.Namespace = options.parse_args(argv)
    torch.set_num_threads(args.threads)
    record = Record("alignment_speed", args)
    rows: list[dict[str, Any]] = []
    inputs = [
        ("world", pairs_of(frames, height, width, args.seed), original)
        for (frames, height, width), original in CASES
    ]
    for name, original in STORED.items():
        if (PARITY / name).is_dir():
            inputs.append((name, load(PARITY / name)[0], original))
        else:
            progress(f"skipped: no {name} among the reference data")
    for name, pairs, original in inputs:
        found = measured(pairs, args.repeats)
        height, width = pairs.size
        rows.append(
            {
                "input": name,
                "frames": int(pairs.pairs.max()) + 1,
                "size": f"{height}x{width}",
                "pairs": len(pairs),
                **found,
                "original_seconds": original,
                "times_faster": original / found["seconds_median"],
            }
        )
    notes = {
        "input": f"world: all pairs of one clip of the controlled world, noise {NOISE:.0%};"
        " the others are the stored pair graphs, on which the original's time was taken",
        "time": "pointmaps in, cameras, depth and flags out; no regularisers;"
        f" {args.repeats} runs after one to warm up",
        "original": "median on a quiet machine of the same kind, two threads, 300 steps",
    }
    record.write(rows, notes)


if __name__ == "__main__":
    main()

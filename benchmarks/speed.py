"""Claim: what every route, a training step and the renderer cost in seconds and memory.

Every case runs in a fresh process: once to warm up, then as often as asked; the table shows the
median. The renderer and the alignment run on one core, the rest on --threads.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.record import REPOSITORY, Record, parser, progress
from benchmarks.speed_cases import CASES, CLIPS_RENDERED, Case


def measure(case: Case, args: argparse.Namespace) -> dict[str, Any]:
    """Run one case in this process."""
    run = case(args)
    run()
    seconds = []
    for _ in range(args.repeats):
        begin = time.perf_counter()
        own = run()  # a case that takes its own time returns it
        seconds.append(own if isinstance(own, float) else time.perf_counter() - begin)
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    usage = max(resource.getrusage(process).ru_maxrss for process in who)
    return {
        "median_s": median(seconds),
        "fastest_s": min(seconds),
        "slowest_s": max(seconds),
        "peak_MiB": usage / 1024,
    }


def in_fresh_process(name: str, args: argparse.Namespace) -> dict[str, Any] | None:
    """Run one case in a new process; None if it fails, which is said."""
    words = [sys.executable, "-W", "ignore", "-m", "benchmarks.speed", "--case", name]
    for option in ("model", "device", "threads", "repeats"):
        words += [f"--{option}", str(getattr(args, option))]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads), "GOMP_SPINCOUNT": "0"}
    done = subprocess.run(
        words, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        progress(f"{name}: failed")
        return None
    row = {"case": name, "runs": args.repeats, **json.loads(done.stdout.splitlines()[-1])}
    frames = CLIPS_RENDERED * 16 if name.startswith("world") else math.nan
    return row | {"frames_per_s": frames / row["median_s"]}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parser(__doc__, clips=None)
    options.add_argument("--repeats", type=int, default=3, help="timed runs after the warm-up")
    options.add_argument("--case", choices=list(CASES), help="only this one, as a line of JSON")
    args = options.parse_args(argv)
    if args.case:
        print(json.dumps(measure(CASES[args.case], args)))
        return
    record = Record("speed", args)
    rows = []
    for name in CASES:
        progress(name)
        rows += [row for row in [in_fresh_process(name, args)] if row]
    notes = {
        "time": "wall; fresh process per case, one warm-up; rendering of input clips not counted",
        "memory": "largest resident set of the process or one of its children, imports and all",
        "routes": "16 frames; generate: the default 20 steps with guidance; reconstruct and"
        " alignment: the packaged real clip of 8 frames, there and back",
        "world": "supersampling 2x2, shadows; drawing scenes and paths counted, compiling not",
    }
    record.write(rows, notes)


if __name__ == "__main__":
    main()

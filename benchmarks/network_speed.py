"""Claim: what the public networks cost, against the cores' own matrix product and the originals.

Every case runs in a fresh process: the peak of a matrix product, a warm-up, then the case as often
as asked; the table shows the medians. The share of the peak is that of the product of the same
precision in the same process. Beside them stand the seconds that the public originals took on this
kind of machine (2 threads, float32), and, for what is written differently here, the plain form.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.network_cases import CASES, Case
from benchmarks.record import REPOSITORY, Record, parser, progress

KEEP_FREED = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
PRODUCT = 2048
"""Rows and columns of the matrices whose product stands for the peak."""


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Run one case in this process."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    run = case.prepare()
    with FlopCounterMode(display=False) as counter:
        run()
    flops = counter.get_total_flops()
    peaks = [peak(case.half)]
    rest, seconds = _memory("VmRSS"), []
    Path("/proc/self/clear_refs").write_text("5")  # the largest resident set starts anew
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    most = _memory("VmHWM")
    peaks.append(peak(case.half))
    rate = flops / median(seconds) / 1e9
    error = float("nan") if case.exact is None else relative_error(run(), case.exact()())
    return {
        "median_s": median(seconds),
        "fastest_s": min(seconds),
        "original_s": case.original,
        "times_faster": case.original / median(seconds) if case.original else float("nan"),
        "GFLOP": flops / 1e9,
        "GFLOP_per_s": rate,
        "product_GFLOP_per_s": max(peaks),
        "share_of_product": rate / max(peaks),
        "peak_MiB_above_rest": most - rest,
        "relative_error": error,
        "threads": torch.get_num_threads(),
    }


def relative_error(found: Any, exact: Any) -> float:
    """Return the size of the difference over that of the exact numbers."""
    return float((found.float() - exact.float()).norm() / exact.float().norm())


def peak(half: bool) -> float:
    """Return the most that a matrix product reaches [GFLOP/s], the best of five."""
    import torch

    dtype = torch.bfloat16 if half else torch.float32
    a, b = (torch.randn(PRODUCT, PRODUCT).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(6):
        begin = time.perf_counter()
        torch.matmul(a, b)
        seconds.append(time.perf_counter() - begin)
    return 2 * PRODUCT**3 / min(seconds[1:]) / 1e9


def _memory(key: str) -> float:
    """Read a figure of this process [MiB]."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status: expected {key}, got none")


def in_fresh_process(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run one case in a new process."""
    words = [sys.executable, "-W", "ignore", "-m", "benchmarks.network_speed", "--case", name]
    words += ["--threads", str(args.threads), "--repeats", str(args.repeats)]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads), "GOMP_SPINCOUNT": "0"}
    if args.keep_freed:
        environment |= dict.fromkeys(KEEP_FREED, str(8 << 30))
    done = subprocess.run(
        words, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return {"case": name, "runs": args.repeats, **json.loads(done.stdout.splitlines()[-1])}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parser(__doc__, clips=None, model=False)
    options.add_argument("--repeats", type=int, default=5, help="timed runs after the warm-up")
    options.add_argument(
        "--keep-freed",
        action="store_true",
        help="let glibc keep freed memory, as docs/training.md advises; a table of its own",
    )
    options.add_argument("--case", choices=list(CASES), help="only this one, as a line of JSON")
    args = options.parse_args(argv)
    if args.case:
        print(json.dumps(measure(CASES[args.case], args.repeats)))
        return
    record = Record("network_speed", args)
    rows = []
    for name in CASES:
        progress(name)
        rows.append(in_fresh_process(name, args))
    notes = {
        "original_s": "the public originals, torch 2.13, float32, 2 threads, on this kind of"
        " machine when quiet: medians from parity/README; measured there, not here",
        "originals with convolutions": "by our count of operations those of the DPT heads and of"
        " the temporal autoencoder ran at 365 to 375 GFLOP/s; the first row is what a plain"
        " convolution reaches here",
        "freed memory": "kept by the process" if args.keep_freed else "as glibc does by default",
        "GFLOP": "as torch counts them: matrix products, convolutions and attention",
        "product": f"{PRODUCT} x {PRODUCT} x {PRODUCT}, of the case's precision, best of ten in the"
        " same process, before and after the case",
        "memory": "largest resident set while the case ran, above that before it (weights and"
        " inputs are not counted)",
        "relative_error": "of the output, bfloat16 against float32, or what is written differently"
        " against the plain form (layer by layer, nothing shared), by root mean square",
        "weights": "random",
    }
    record.write(rows, notes, table="freed_memory_kept" if args.keep_freed else "")


if __name__ == "__main__":
    main()

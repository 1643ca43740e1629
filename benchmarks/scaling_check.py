"""Claim: the model of docs/scaling.md predicts steps of small networks, memory and time, on a CPU.

Each case is a step of STDiT, forward and backward in float32, in a process of its own. Memory: the
largest resident set during the forward pass above the one before it, against what autograd is
predicted to keep. Time: of the processor, on one thread, the least of several, against operations
over the speed of the first case, on which alone it is calibrated.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.record import REPOSITORY, Record, parser, progress

# width, depth, heads, clips, frames, rows of tokens, checkpointing
CASES: dict[str, tuple[int, int, int, int, int, int, bool]] = {
    "calibration": (256, 4, 4, 2, 8, 8, False),
    "deeper": (256, 10, 4, 2, 8, 8, False),
    "wider": (512, 4, 8, 2, 8, 8, False),
    "more clips": (256, 4, 4, 5, 8, 8, False),
    "longer": (256, 4, 4, 2, 20, 8, False),
    "larger frames": (256, 4, 4, 2, 8, 14, False),
    "deeper, checkpointed": (256, 10, 4, 2, 8, 8, True),
    "larger frames, checkpointed": (256, 4, 4, 2, 8, 14, True),
}


def network(case: str) -> Any:
    """Build the network of a case."""
    from jog3r.backbones.stdit import STDiT

    width, depth, heads, _, frames, rows, checkpointing = CASES[case]
    config = STDiT.Config(
        hidden_size=width,
        depth=depth,
        num_heads=heads,
        caption_channels=128,
        input_size=(frames, 2 * rows, 2 * rows),
    )
    made = config.build()
    made.gradient_checkpointing = checkpointing
    return made


def loss(made: Any, case: str) -> Any:
    """Run a network on a batch of its case."""
    import torch

    _, _, _, clips, frames, rows, _ = CASES[case]
    latents = torch.empty(clips, 4, frames, 2 * rows, 2 * rows).normal_()
    text = torch.empty(clips, 32, 128).normal_()
    return made(latents, torch.empty(clips).fill_(500.0), text).prediction.square().mean()


def measure(case: str, repeats: int) -> dict[str, float]:
    """Take real steps in this process."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    made, seconds = network(case), []
    loss(made, case).backward()
    for _ in range(repeats):
        made.zero_grad(set_to_none=False)
        begin = time.process_time()
        loss(made, case).backward()
        seconds.append(time.process_time() - begin)
    made.zero_grad(set_to_none=False)
    Path("/proc/self/clear_refs").write_text("5")  # the largest resident set starts anew
    before = _memory("VmRSS")
    result = loss(made, case)
    kept = _memory("VmRSS") - before
    result.backward()
    return {
        "seconds": min(seconds),
        "slowest": max(seconds),
        "kept_MiB": kept,
        "peak_MiB": _memory("VmHWM") - before,
    }


def predict(case: str) -> dict[str, float]:
    """Count the same without values."""
    from jog3r.training.cost import kept
    from jog3r.training.rehearsal import rehearse

    made = network(case)
    step = lambda hollow: loss(hollow, case)  # noqa: E731
    run, plain = rehearse(made, step, fused=False), rehearse(made, kept(step), fused=False)
    block = plain.block_bytes if made.gradient_checkpointing else 0
    return {
        "flops": float(run.flops),
        "kept_MiB": run.saved_bytes / 2**20,
        "peak_MiB": (run.saved_bytes + block) / 2**20,
    }


def _memory(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status: expected {key}, got none")


def in_fresh_process(case: str, args: argparse.Namespace) -> dict[str, float]:
    """Measure one case in a new process, whose freed memory goes back at once."""
    words = [sys.executable, "-W", "ignore", "-m", "benchmarks.scaling_check", "--case", case]
    words += ["--repeats", str(args.repeats)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        words, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison."""
    options = parser(__doc__, clips=None, model=False)
    options.add_argument("--repeats", type=int, default=5, help="timed steps after the warm-up")
    options.add_argument("--case", choices=list(CASES), help="only this one, as a line of JSON")
    args = options.parse_args(argv)
    if args.case:
        print(json.dumps(measure(args.case, args.repeats)))
        return
    args.threads = 1
    record, rows, speed = Record("scaling_check", args), [], 0.0
    for case in CASES:
        progress(case)
        real, counted = in_fresh_process(case, args), predict(case)
        speed = speed or counted["flops"] / real["seconds"]
        seconds = counted["flops"] / speed
        rows.append(
            {
                "case": case,
                "GFLOP": counted["flops"] / 1e9,
                "measured_s": real["seconds"],
                "slowest_s": real["slowest"],
                "predicted_s": seconds,
                "time_error_percent": 100.0 * (seconds / real["seconds"] - 1.0),
                "kept_MiB": real["kept_MiB"],
                "predicted_kept_MiB": counted["kept_MiB"],
                "kept_error_percent": 100.0 * (counted["kept_MiB"] / real["kept_MiB"] - 1.0),
                "peak_MiB": real["peak_MiB"],
                "predicted_peak_MiB": counted["peak_MiB"],
                "peak_error_percent": 100.0 * (counted["peak_MiB"] / real["peak_MiB"] - 1.0),
            }
        )
    notes = {
        "cases": "width, depth, heads, clips, frames, rows of tokens, checkpointing: "
        + "; ".join(f"{name} {values}" for name, values in CASES.items()),
        "time": "processor time of one thread; the first case sets the speed, so its error is 0",
        "kept": "resident set after the forward pass above that before; what autograd keeps",
        "peak": "largest resident set of both passes above that before; predicted is what is kept"
        " and, where blocks are checkpointed, the one that runs again: what is only passed on is"
        " not in the model",
    }
    record.write(rows, notes)


if __name__ == "__main__":
    main()

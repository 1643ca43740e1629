"""Does a second process train faster than a second thread?

    python -m benchmarks.processes

The joint stage of recipes/tiny.yaml on 2 cores: one process with two threads, and two processes
with one thread each (DDP) that share the same global batch, so both train on the same clips.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.record import REPOSITORY, Record, parser

STAGE = "joint"
NOTES = {
    "clips": "the stage's own: 1, 4 and 16 frames in turn, rendered on the fly in the process",
    "clips/s": "clips of all processes over the time of all steps but the first quarter",
    "s/step": "median",
}


def main() -> None:
    """Time both."""
    options = parser(__doc__, clips=None, model=False)
    options.add_argument("--steps", type=int, default=24, help="optimiser steps of each run")
    options.add_argument("--frames", type=int, default=64, help="frames of all processes per step")
    options.add_argument("--device", default="cpu", help="cpu, cuda")
    options.add_argument("--times", type=Path, help="run one process and write its times there")
    args = options.parse_args()
    if args.times is not None:
        train(args)
        return
    record = Record("processes", args)
    record.write([measured(args, processes) for processes in (1, 2)], NOTES)


def measured(args: argparse.Namespace, processes: int) -> dict[str, Any]:
    """Train in so many processes that share the threads, and read the times of the first."""
    threads = max(args.threads // processes, 1)
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder) / "times"
        launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        words = ["--times", str(times), "--threads", str(threads), "--device", args.device]
        words += ["--steps", str(args.steps), "--frames", str(args.frames)]
        words += ["--seed", str(args.seed)]
        subprocess.run(
            [sys.executable, "-m", *launcher, "-m", "benchmarks.processes", *words],
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": "0"},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        lines = [line.split() for line in times.read_text().splitlines()]
    kept = lines[len(lines) // 4 :]
    clips, seconds = [int(each) * processes for each, _ in kept], [float(each) for _, each in kept]
    return {
        "processes": processes,
        "threads of each": threads,
        "frames of each": args.frames // processes,
        "steps": len(kept),
        "clips/s": sum(clips) / sum(seconds),
        "s/step": statistics.median(seconds),
    }


def train(args: argparse.Namespace) -> None:
    """Train as one of the processes; the first one writes clips and time [s] of every step."""
    import lightning.pytorch as pl
    import torch

    from jog3r.config import from_plain
    from jog3r.model import JOG3R
    from jog3r.training.joint import JointTraining
    from jog3r.training.recipes import read_stages
    from jog3r.training.world_data import WorldDataModule

    class StepTimes(pl.Callback):
        last = 0.0

        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.last = time.perf_counter()

        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            now = time.perf_counter()
            if trainer.is_global_zero:
                with args.times.open("a") as file:
                    file.write(f"{len(batch['number'])} {now - self.last}\n")
            self.last = now

    torch.set_num_threads(args.threads)
    processes = int(os.environ["WORLD_SIZE"])
    stage = read_stages(REPOSITORY / "recipes" / "tiny.yaml")[STAGE]
    model = stage["model"]["init_args"]
    model |= {
        "model": from_plain(JOG3R.Config, model["model"]),
        "start": "recipes/tiny_autoencoder",
    }
    data = stage["data"]["init_args"]
    data |= {"frames_per_batch": args.frames // processes, "workers": 0, "seed": args.seed % 256}
    pl.seed_everything(args.seed)
    trainer = pl.Trainer(
        accelerator="gpu" if args.device == "cuda" else "cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        precision=stage["trainer"]["precision"],
        gradient_clip_val=stage["trainer"]["gradient_clip_val"],
        max_steps=args.steps,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[StepTimes()],
    )
    trainer.fit(JointTraining(**model), WorldDataModule(**data))


if __name__ == "__main__":
    main()

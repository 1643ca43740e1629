"""Claim: both readers deliver three times as many clips as tiny's training step takes, or more.

The step is that of the joint stage of recipes/tiny.yaml: clips of 16 frames of 64x64 px, bfloat16,
Muon. The readers are prepared shards, made by `jog3r data prepare` of the controlled world with the
autoencoder and text encoder of tiny, and the world rendered on the fly with the recipe's settings.
Each works alone with all cores: the step with that many threads, a reader with that many worker
processes. On one thread of a process of its own, CPU time per clip is measured as well.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.joint_step import training, world_batch
from benchmarks.record import REPOSITORY, Record, load_model, parser, progress

FRAMES, CLIPS_PER_STEP, REPEATS = 16, 4, 3


def shards(folder: Path, model: Any, clips: int) -> None:
    """Prepare clips of the controlled world."""
    from jog3r.data.readers.registry import open_reader
    from jog3r.training.prepare import Preparation, PrepareSettings

    reader = open_reader(REPOSITORY / "jog3r/assets/photos", "world", clips=clips, frames=FRAMES)
    settings = PrepareSettings(sizes=((64, 64),), clips_per_portion=64)
    Preparation(reader, model, folder, settings).run()


def prepared(folder: Path, workers: int) -> Any:
    """Give the data module of prepared shards."""
    from jog3r.training.prepared_data import PreparedDataModule

    return PreparedDataModule(
        folder=str(folder),
        validation_folder=str(folder),
        frames=FRAMES,
        batch_size=CLIPS_PER_STEP,
        strides=(1,),
        workers=workers,
    )


def rendered(workers: int) -> Any:
    """Give the data module of the world, as the recipe has it."""
    from jog3r.training.recipes import read_stages
    from jog3r.training.world_data import WorldDataModule

    given = read_stages(REPOSITORY / "recipes/tiny.yaml")["joint"]["data"]["init_args"]
    frames = CLIPS_PER_STEP * FRAMES
    given |= {"frames_per_batch": frames, "clip_lengths": {FRAMES: 1.0}, "workers": workers}
    return WorldDataModule(**given)


def joint_step() -> Callable[[], None]:
    """Give a training step on a batch at hand."""
    module = training("tiny.yaml")
    module.trainer = None
    found = module.configure_optimizers()
    optimiser = found["optimizer"] if isinstance(found, dict) else found[0][0]
    batch = world_batch(CLIPS_PER_STEP, FRAMES)

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = module.losses(batch, 0)
        loss.backward()
        optimiser.step()

    return step


def rate(work: Callable[[], None], clips: int) -> tuple[float, float]:
    """Return CPU time [ms] and wall time [ms] per clip, the least of some runs."""
    work()
    found = []
    for _ in range(REPEATS):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        found.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu, wall = (min(each) * 1000 / clips for each in zip(*found, strict=True))
    return cpu, wall


def reading(batches: Iterator[Any], count: int) -> Callable[[], None]:
    """Give the work of reading so many batches."""

    def work() -> None:
        for _ in range(count):
            next(batches)

    return work


def main() -> None:
    """Measure the step and both readers."""
    args = parser(__doc__, clips=256).parse_args()
    record = Record("reader_throughput", args)
    model = load_model(args)
    step = joint_step()
    progress("training step")
    torch.set_num_threads(1)
    step_cpu, _ = rate(step, CLIPS_PER_STEP)
    torch.set_num_threads(args.threads)
    _, step_wall = rate(step, CLIPS_PER_STEP)
    torch.set_num_threads(1)
    rows = [row("training step", step_cpu, step_wall, (step_cpu, step_wall))]
    count = max(args.clips // CLIPS_PER_STEP, 1)
    with tempfile.TemporaryDirectory() as folder:
        progress("preparing shards")
        shards(Path(folder), model, args.clips)
        readers: dict[str, Callable[[int], Any]] = {
            "prepared shards": lambda workers: prepared(Path(folder), workers),
            "world on the fly": rendered,
        }
        for name, made in readers.items():
            progress(name)
            alone = reading(iter(made(0).train_dataloader()), count)
            cpu, _ = rate(alone, count * CLIPS_PER_STEP)
            together = reading(iter(made(args.threads).train_dataloader()), count)
            _, wall = rate(together, count * CLIPS_PER_STEP)
            rows.append(row(name, cpu, wall, (step_cpu, step_wall)))
    notes = {
        "clips": f"{FRAMES} frames of 64x64 px, {CLIPS_PER_STEP} in a batch",
        "cpu_ms_per_clip": f"one thread, one process, least of {REPEATS} runs",
        "wall_ms_per_clip": f"{args.threads} threads for the step, as many worker processes for a"
        " reader; nothing else runs",
        "times_the_step": "how many steps' clips a reader delivers while one is taken; three is"
        " the claim",
        "shards": "strides of 1, since the clips have as many frames as a batch",
    }
    record.write(rows, notes)


def row(name: str, cpu: float, wall: float, step: tuple[float, float]) -> dict[str, Any]:
    """Make a row of the table."""
    return {
        "what": name,
        "cpu_ms_per_clip": cpu,
        "wall_ms_per_clip": wall,
        "clips_per_s": 1000 / wall,
        "times_the_step_cpu": step[0] / cpu,
        "times_the_step_wall": step[1] / wall,
    }


if __name__ == "__main__":
    main()

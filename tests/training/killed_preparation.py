"""Preparations that are killed, restarted with another number of processes, or run out of disk.

Run as a program of its own, since it forks: `python killed_preparation.py FOLDER`. It leaves
FOLDER/whole (one run), FOLDER/killed (many), FOLDER/full (a run whose files may not grow), and
FOLDER/report.json.
"""

import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from jog3r.data.readers.registry import open_reader
from jog3r.errors import SaveError
from jog3r.model import JOG3R
from jog3r.training.prepare import Preparation, PrepareSettings

CLIPS, PER_PORTION, PROCESSES = 30, 3, (1, 3, 2)
LEAST_KILLS, LARGEST_FILE = 6, 9000


def preparation(folder: Path, model: JOG3R) -> Preparation:
    """Prepare world clips with a model of fixed random weights."""
    reader = open_reader(None, "world", clips=CLIPS, frames=4, size=(16, 16))
    settings = PrepareSettings(sizes=((16, 16),), clips_per_portion=PER_PORTION)
    return Preparation(reader, model, folder, settings)


def in_a_child(work: Callable[[], None]) -> int:
    """Start a process that works and leaves."""
    child = os.fork()
    if child:
        return child
    work()
    os._exit(0)


def killed(folder: Path, model: JOG3R, chance: random.Random) -> int:
    """Start over until nobody has to be killed any more; return how many were."""
    kills = attempt = 0
    while not (folder / "manifest.json").exists():
        parts = PROCESSES[attempt % len(PROCESSES)]
        attempt += 1
        children = [
            in_a_child(partial(run_part, folder, model, part, parts)) for part in range(parts)
        ]
        for child in children:
            if kills < LEAST_KILLS or chance.random() < 0.3:
                time.sleep(chance.uniform(0.0, 0.08))
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            kills += os.WIFSIGNALED(status)
    return kills


def run_part(folder: Path, model: JOG3R, part: int, parts: int) -> None:
    """Run one part."""
    preparation(folder, model).run(part, parts)


def with_a_full_disk(folder: Path, model: JOG3R) -> None:
    """Run where files may not grow beyond some size, as on a disk that is full."""
    ready = preparation(folder, model)
    ready.run(0, 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    try:
        ready.run()
        message = "no error"
    except SaveError as error:
        message = str(error)
    (folder.parent / "message").write_text(message)
    left = sorted(path.name for path in folder.iterdir())
    (folder.parent / "left.json").write_text(json.dumps(left))


def main(folder: Path) -> None:
    """Do all of it."""
    torch.set_num_threads(1)
    model = JOG3R.from_pretrained(folder / "model")
    preparation(folder / "whole", model).run()
    kills = killed(folder / "killed", model, random.Random(0))
    child = in_a_child(partial(with_a_full_disk, folder / "full", model))
    _, status = os.waitpid(child, 0)
    report = {"kills": kills, "status": status, "full": (folder / "message").read_text()}
    (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

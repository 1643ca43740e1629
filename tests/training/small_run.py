"""A recipe so small that a process of its own trains it in seconds, and how to run and kill one."""

import copy
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from torch.utils.data import DataLoader

from jog3r.errors import InputError
from jog3r.training.streams import BatchStream, StreamDataModule

REPOSITORY = Path(__file__).resolve().parents[2]
BACKBONE = {"in_channels": 3, "hidden_size": 32, "depth": 3, "num_heads": 2}
BACKBONE |= {"caption_channels": 16, "learn_sigma": False, "input_size": [4, 8, 8]}
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}
MODEL: dict[str, Any] = {
    "image_size": [16, 16],
    "num_frames": 4,
    "autoencoder": {"block_out_channels": [8, 8], "latent_channels": 3},
    "text_encoder": {"width": 16, "layers": 1, "heads": 2},
    "network": {
        "backbone_config": BACKBONE,
        "tap": 2,
        "decoder_width": 32,
        "decoder_depth": 1,
        "decoder_heads": 2,
        "patch": 4,
    },
}


class Clips(BatchStream):
    """Made-up clips, each from its number alone, whose length goes by the step."""

    def __init__(self, *, clips: int, frames: Sequence[int], **place: int) -> None:
        super().__init__(**place)
        self.clips, self.frames = clips, frames

    def batch(self, step: int) -> dict[str, Any]:
        if self.clips < 1:
            raise InputError(f"clips: expected at least 1, got {self.clips}")
        frames = self.frames[step % len(self.frames)]
        return collate([self.clip(n, frames) for n in self.numbers(step, self.clips)])

    def clip(self, number: int, frames: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(number)
        noise = torch.rand(frames, 4, 16, 16, generator=generator)
        # Every clip has another share of valid pixels.
        valid = noise[:, 3] < (number % 4 + 1) / 4
        poses = torch.eye(4).repeat(frames, 1, 1)
        poses[:, 0, 3] = 0.1 * torch.arange(frames)
        K = torch.tensor([[16.0, 0.0, 8.0], [0.0, 16.0, 8.0], [0.0, 0.0, 1.0]])
        return {
            "video": 2.0 * noise[:, :3] - 1.0,
            "depth": torch.where(valid, 1.0 + noise[:, 0], 0.0),
            "K": K.repeat(frames, 1, 1),
            "world_from_camera": poses,
            "caption": "a red sphere" if number % 2 else "a blue cube in a brick room",
            "number": torch.tensor(number),
            "id": str(number),
        }


def collate(clips: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stack what is a tensor, list what is not."""
    columns = {name: [clip[name] for clip in clips] for name in clips[0]}
    return {
        name: torch.stack(each) if isinstance(each[0], torch.Tensor) else each
        for name, each in columns.items()
    }


class Data(StreamDataModule):
    """Made-up clips for training and validation."""

    def __init__(
        self, *, clips: int = 4, frames: tuple[int, ...] = (4, 4, 1), workers: int = 0
    ) -> None:
        super().__init__()
        self.clips, self.frames, self.workers = clips, frames, workers

    def stream_settings(self) -> dict[str, Any]:
        return {"frames": list(self.frames)}

    def clips_per_process(self) -> int:
        return self.clips

    def train_dataloader(self) -> DataLoader:
        place = self.place_in_stream()
        stream = Clips(clips=self.clips, frames=self.frames, **place)
        return DataLoader(stream, batch_size=None, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader:
        stream = Clips(clips=1, frames=[4])
        clips: Any = [stream.clip(number, 4) for number in range(4)]
        return DataLoader(clips, batch_size=2, collate_fn=collate)


class LossesToFile(pl.Callback):
    """Append every batch's loss, exactly, to a file that survives the death of its writer.

    Args:
        file: One line per batch: its number among those of the run, its loss as hexadecimal.
    """

    def __init__(self, file: str) -> None:
        self.file = Path(file)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_global_zero:
            done = trainer.datamodule.batches_done
            with self.file.open("a") as file:
                file.write(f"{done} {float(trainer.callback_metrics['train/loss']).hex()}\n")


def recipe(folder: Path, *, every: bool = False, **changed: Any) -> dict[str, Any]:
    """Give a stage that trains jointly, for six steps, and saves after every second one.

    Args:
        folder: Where it writes to.
        every: Keep every checkpoint, not only the newest.
        changed: By dotted name, with two underscores for a dot: `trainer__max_steps`.
    """
    stage: dict[str, Any] = {
        "seed_everything": 3,
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "max_steps": 6,
            "gradient_clip_val": 1.0,
            "logger": False,
            "default_root_dir": str(folder),  # without a logger the configuration is kept there
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "limit_val_batches": 1,
            "val_check_interval": 3,
            "check_val_every_n_epoch": None,
            "callbacks": [
                {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging"},
                {
                    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "init_args": {
                        "dirpath": str(folder / "checkpoints"),
                        "every_n_train_steps": 2,
                        "save_top_k": -1 if every else 1,
                        "save_last": True,
                        "enable_version_counter": False,
                    },
                },
                {
                    "class_path": "tests.training.small_run.LossesToFile",
                    "init_args": {"file": str(folder / "losses")},
                },
            ],
        },
        "model": {
            "class_path": "jog3r.training.joint.JointTraining",
            "init_args": {
                "model": copy.deepcopy(MODEL),
                "start": None,
                "optimiser": "adamw",
                "learning_rate": 1e-3,
                "warmup_steps": 4,
                "decay_steps": 12,
                "seed": 5,
            },
        },
        "data": {
            "class_path": "tests.training.small_run.Data",
            "init_args": {"clips": 4, "workers": 0},
        },
    }
    for name, value in changed.items():
        *path, last = name.split("__")
        place: Any = stage
        for key in path:
            place = place[int(key) if key.isdigit() else key]
        place[last] = value
    return stage


def write(folder: Path, *, every: bool = False, **changed: Any) -> Path:
    """Write the recipe to its folder."""
    return write_stages(folder, {"joint": recipe(folder, every=every, **changed)})


def write_stages(folder: Path, stages: Mapping[str, Any]) -> Path:
    """Write any stages as a recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump({"stages": dict(stages)}))
    return file


def environment() -> dict[str, str]:
    """Give what a run from outside needs: one thread, and the way to this module."""
    return {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(REPOSITORY)}


def torchrun(file: Path, *words: str, processes: int) -> str:
    """Run the documented line, on one thread per process, and give what it prints."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [*launcher, "--standalone", "-m", "jog3r", "train", "--config", str(file), *words],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


class Run:
    """A run of `jog3r train` in processes forked from one that has imported everything.

    Args:
        file: The recipe.
        words: More of the command line.
        processes: How many; they find each other as torchrun's do.
    """

    def __init__(self, file: Path, *words: str, processes: int = 1) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.training.preloaded"])
        self.printed = file.parent / "printed"
        port = _free_port()
        self.processes = [
            context.Process(target=_train, args=(file, words, rank, processes, port, self.printed))
            for rank in range(processes)
        ]
        for process in self.processes:
            process.start()

    def finish(self, *, code: int = 0) -> str:
        """Wait for the run and give what it printed."""
        for process in self.processes:
            process.join(timeout=200)
        printed = self.printed.read_text()
        assert [process.exitcode for process in self.processes] == [code] * len(self.processes), (
            printed
        )
        return printed

    def kill(self) -> None:
        """Kill it, as the system does when memory is short."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()

    @property
    def is_alive(self) -> bool:
        """Whether all of its processes are."""
        return all(process.is_alive() for process in self.processes)


def _train(
    file: Path, words: Sequence[str], rank: int, processes: int, port: int, printed: Path
) -> None:
    with printed.open("a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    torch.set_num_threads(1)
    os.environ |= ENVIRONMENT
    if processes > 1:
        numbers = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "GROUP_WORLD_SIZE": 1}
        numbers |= {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "MASTER_PORT": port}
        os.environ |= {name: str(number) for name, number in numbers.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test"}
    from jog3r.cli.entry import main

    sys.exit(main(["train", "--config", str(file), *words]))


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def kill_after(run: Run, losses: Path, batches: int, *, wait_s: float) -> int:
    """Kill a run some time after it has done so many batches.

    Returns:
        The batches it had done.
    """
    while len(read(losses)) < batches:
        assert run.is_alive, run.printed.read_text()
        time.sleep(0.002)
    time.sleep(wait_s)
    run.kill()
    return len(read(losses))


def read(losses: Path) -> dict[int, float]:
    """Give the loss of every batch; of one that was done twice, the later."""
    lines = losses.read_text().splitlines() if losses.is_file() else []
    pairs = [line.split() for line in lines if len(line.split()) == 2]
    return {int(number): float.fromhex(loss) for number, loss in pairs}


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Give what a checkpoint's network has learned, and the average of it."""
    kept = torch.load(checkpoint, weights_only=True)
    both = {"current": kept["current_model_state"], "average": kept["state_dict"]}
    return {f"{kind}.{name}": each for kind, of in both.items() for name, each in of.items()}


def differ(one: Sequence[float], other: Sequence[float]) -> float:
    """Give the largest relative difference."""
    return max(abs(a - b) / abs(a) for a, b in zip(one, other, strict=True))

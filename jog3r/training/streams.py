"""Endless streams of batches that resume where training stopped."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import IterableDataset, get_worker_info

from jog3r.errors import InputError


class BatchStream(IterableDataset[dict[str, Any]]):
    """One process' share of an endless stream of batches.

    The clips of the whole stream are numbered. A step's global batch is a run of consecutive
    numbers, which the processes divide among themselves in order of rank; so one process with
    batches of 4 and two with batches of 2 train on the same clips in every step. A batch depends on
    its step alone, whatever the workers, and all processes see clips of one length in a step.

    Every batch carries `number`, int64 `(B,)`, the places of its clips in the whole stream, from
    which all that is random about them is drawn, and `id`, B names for whoever looks for a clip.

    Args:
        first: The first step, for resuming.
        rank: Which process this is.
        world_size: How many processes share the stream.
    """

    def __init__(self, *, first: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self.first, self.rank, self.world_size = first, rank, world_size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield this worker's batches in order."""
        worker = get_worker_info()
        place, count = (worker.id, worker.num_workers) if worker else (0, 1)
        step = self.first + place
        while True:
            yield self.batch(step)
            step += count

    @abstractmethod
    def batch(self, step: int) -> dict[str, Any]:
        """Give this process' share of a step's global batch."""

    def numbers(self, step: int, clips: int, *, most: int | None = None) -> range:
        """Give the numbers of this process' clips in a step.

        Args:
            step: From 0.
            clips: How many this process takes; the others take as many.
            most: How many it may take in any step, where that differs from step to step: numbers
                that a step leaves over stay unused. None for `clips`.
        """
        start = step * self.world_size * (most or clips) + self.rank * clips
        return range(start, start + clips)


class StreamDataModule(pl.LightningDataModule):
    """Knows how many batches of its stream training has used; checkpoints keep it."""

    def __init__(self) -> None:
        super().__init__()
        self.batches_done = 0

    def stream_settings(self) -> dict[str, Any]:
        """Give what decides which clips a process gets in which step, as plain values.

        A checkpoint keeps it, and a run that goes on must have the same.
        """
        return {}

    def clips_per_process(self) -> int:
        """Give the size of a batch: its clips, or its frames where clips differ in length."""
        return 1

    def place_in_stream(self) -> dict[str, int]:
        """Give the arguments of `BatchStream` for this process, from the next batch on."""
        trainer = self.trainer
        return {
            "first": self.batches_done,
            "rank": trainer.global_rank if trainer else 0,
            "world_size": trainer.world_size if trainer else 1,
        }

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move a batch, but for its numbers: reading them back would wait for the device."""
        moved = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return {**moved, "number": batch["number"]}

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Count what training has used, so that a resumed run goes on with the next batch."""
        if self.trainer and self.trainer.training:
            self.batches_done += 1
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Give what a checkpoint keeps: how many batches are done, of which stream."""
        return {"batches_done": self.batches_done, "stream": self._stream()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the last batch.

        Raises:
            InputError: The checkpoint's batches came from another stream.
        """
        _check_same(state_dict.get("stream", {}), self._stream())
        self.batches_done = int(state_dict["batches_done"])

    def _stream(self) -> dict[str, Any]:
        processes = self.place_in_stream()["world_size"]
        together = {"batch of all processes": self.clips_per_process() * processes}
        return {**self.stream_settings(), **together}


def _check_same(kept: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    changed = [name for name in kept if kept[name] != given.get(name)]
    if changed:
        before, now = ({name: each.get(name) for name in changed} for each in (kept, given))
        raise InputError(
            f"data: expected the stream of the checkpoint, {before}, got {now}; give the same"
            " settings to go on, or start a run of its own from published weights (start)"
        )

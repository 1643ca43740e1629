"""Endless streams of batches that resume where training stopped."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
from torch.utils.data import IterableDataset, get_worker_info


class BatchStream(IterableDataset[dict[str, Any]]):
    """An endless stream whose batch i depends on i alone, whatever the workers and processes.

    Args:
        first: Index of the first batch, for resuming.
        rank: Which process this is.
        world_size: How many processes share the stream.
    """

    def __init__(self, *, first: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self.first, self.rank, self.world_size = first, rank, world_size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield this worker's batches in order."""
        worker = get_worker_info()
        number, count = (worker.id, worker.num_workers) if worker else (0, 1)
        index = self.first + number
        while True:
            yield self.batch(index * self.world_size + self.rank)
            index += count

    @abstractmethod
    def batch(self, index: int) -> dict[str, Any]:
        """Give the index-th batch of the whole stream."""


class StreamDataModule(pl.LightningDataModule):
    """Knows how many batches of its stream training has used; checkpoints keep it."""

    def __init__(self) -> None:
        super().__init__()
        self.batches_done = 0

    def place_in_stream(self) -> dict[str, int]:
        """Give the arguments of `BatchStream` for this process, from the next batch on."""
        trainer = self.trainer
        return {
            "first": self.batches_done,
            "rank": trainer.global_rank if trainer else 0,
            "world_size": trainer.world_size if trainer else 1,
        }

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Count what training has used, so that a resumed run goes on with the next batch."""
        if self.trainer and self.trainer.training:
            self.batches_done += 1
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Give what a checkpoint keeps: how many batches are done."""
        return {"batches_done": self.batches_done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the last batch."""
        self.batches_done = int(state_dict["batches_done"])

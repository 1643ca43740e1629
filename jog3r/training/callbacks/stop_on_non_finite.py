"""Training stops at the first loss or gradient that is no number, and says whose it is."""

import json
import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from jog3r.errors import TrainingError
from jog3r.export.atomic import atomic_file
from jog3r.training.callbacks.gradient_norm import gradient_norm

# So many samples are named in the message; the file names all.
NAMED = 8


class StopOnNonFinite(pl.Callback):
    """Stop before the optimiser's step where a loss or the gradients' norm is NaN or infinite.

    All processes agree on it and stop with the same error, which names the samples of the step, or
    those among them whose own numbers are at fault; `non_finite_step_000123.json` tells all of it.
    The weights are still those of the step before, and checkpoints are not touched. With float16
    products infinite gradients belong to the search for a loss scale, so only losses count.

    Args:
        folder: Where the file goes.

    Raises:
        TrainingError: A loss or the gradients' norm is not finite.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        # Of the batches that accumulate to the next step; on their device, looked at once.
        self._samples: list[list[dict[str, Any]]] = []
        self._losses: list[Tensor] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember whose batch this is, and which of its numbers are finite."""
        self._samples.append(_samples(batch, batch_idx))

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        """Remember the loss."""
        self._losses.append(loss.detach())

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Stop every process if one of them has to.

        Raises:
            TrainingError: A loss or the gradients' norm is not finite.
        """
        norm = gradient_norm(pl_module.parameters())
        losses, samples = torch.stack(self._losses), self._samples
        self._losses, self._samples = [], []
        searched = getattr(trainer.precision_plugin, "scaler", None) is not None
        fine = losses.isfinite().all() & (norm.isfinite() | searched)
        if trainer.strategy.reduce_boolean_decision(bool(fine), all=True):
            return
        mine = {
            "process": trainer.global_rank,
            "gradient_norm": str(norm.item()),
            "batches": [
                {"loss": str(loss), "samples": [_told(each) for each in batch]}
                for loss, batch in zip(losses.tolist(), samples, strict=True)
            ],
        }
        self._stop(trainer, _gathered(mine, trainer.world_size))

    def _stop(self, trainer: pl.Trainer, processes: list[dict[str, Any]]) -> None:
        step = trainer.global_step
        report = self.folder / f"non_finite_step_{step:06d}.json"
        if trainer.is_global_zero:
            with atomic_file(report) as file:
                file.write(json.dumps({"step": step, "processes": processes}, indent=2).encode())
        what, names = _culprits(processes)
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        raise TrainingError(
            f"step {step}: expected a finite loss and finite gradients, got {what} from samples"
            f" {names[:NAMED]}{more}, see {report}; repair or leave out the samples, or go on from"
            " the last checkpoint with a lower learning rate"
        )


def _samples(batch: dict[str, Any], batch_idx: int) -> list[dict[str, Any]]:
    """Give each sample's name, and for each tensor of the batch whether its part is finite."""
    tensors = {
        name: value.flatten(1).isfinite().all(dim=1)
        for name, value in batch.items()
        if isinstance(value, Tensor) and value.ndim > 1
    }
    count = len(next(iter(tensors.values())))
    names = batch.get("id") or [f"sample {i} of batch {batch_idx}" for i in range(count)]
    return [
        {"id": name, "finite": {key: value[i] for key, value in tensors.items()}}
        for i, name in enumerate(names)
    ]


def _told(sample: dict[str, Any]) -> dict[str, Any]:
    wrong = [key for key, finite in sample["finite"].items() if not bool(finite)]
    return {"id": sample["id"], "not_finite": wrong}


def _gathered(mine: dict[str, Any], world_size: int) -> list[dict[str, Any]]:
    if world_size == 1:
        return [mine]
    all_of_them: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(all_of_them, mine)
    return all_of_them


def _culprits(processes: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """Say what is not finite, and name the samples: by their numbers, their loss, or all."""
    batches = [batch for process in processes for batch in process["batches"]]
    samples = [sample for batch in batches for sample in batch["samples"]]
    if broken := [sample for sample in samples if sample["not_finite"]]:
        keys = sorted({key for sample in broken for key in sample["not_finite"]})
        return f"NaN or infinity in {', '.join(keys)}", [sample["id"] for sample in broken]
    if losing := [batch for batch in batches if not math.isfinite(float(batch["loss"]))]:
        found = [sample["id"] for batch in losing for sample in batch["samples"]]
        return f"a loss of {losing[0]['loss']}", found
    norm = processes[0]["gradient_norm"]
    return f"a gradient norm of {norm}", [sample["id"] for sample in samples]

"""How fast training is: clips, tokens and arithmetic per second."""

import copy
import math
import time
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.throughput import Throughput as Rates
from lightning.fabric.utilities.throughput import get_available_flops
from torch import Tensor, nn

from jog3r.errors import InputError
from jog3r.training.cost import step_flops
from jog3r.training.joint import JointTraining


class Throughput(pl.Callback):
    """Log the rates of training over a window of batches, without the time of validation.

    `throughput/clips_per_s` and `throughput/tokens_per_s` are of all processes together; tokens are
    those of the video that the backbone reads to generate, a clip's counted once.
    `throughput/tflops_per_s` is of one device: multiplications and additions of the step, forward
    and backward, without what checkpointing computes twice; `throughput/mfu` is its share of the
    device's peak. Nothing is logged before the window is full.

    Args:
        window: Batches to average over.
        peak_flops: Multiplications and additions per second that one device can do at best, of
            dense matrices in the precision of training; null for what Lightning knows of it, which
            is nothing of CPUs and many GPUs: then there is no MFU.

    Raises:
        InputError: A window below 2, or a peak that is not above 0.
    """

    def __init__(self, *, window: int = 20, peak_flops: float | None = None) -> None:
        if window < 2:
            raise InputError(f"window: expected at least 2 batches, got {window}; 20 is usual")
        if peak_flops is not None and not peak_flops > 0.0:
            raise InputError(
                f"peak_flops: expected FLOP/s above 0, got {peak_flops}; null where it is unknown"
            )
        self.window, self.peak_flops = window, peak_flops
        self._flops: dict[tuple[int, int], int] = {}
        self._hollow: JointTraining | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Remember what trains as it is before processes share its weights."""
        if isinstance(pl_module, JointTraining):
            self._hollow = _without_values(pl_module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        peak = self.peak_flops or get_available_flops(
            pl_module.device, _dtype(str(trainer.precision))
        )
        self._rates = Rates(
            available_flops=peak, world_size=trainer.world_size, window_size=self.window
        )
        self._start_s, self._paused_s = _now_s(pl_module.device), 0.0
        self._batches = self._clips = self._tokens = 0

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._stopped_s = _now_s(pl_module.device)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let it go on."""
        if not trainer.sanity_checking:
            self._paused_s += _now_s(pl_module.device) - self._stopped_s

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count the batch, and log the rates of the last ones."""
        joint, elapsed_s = self._hollow, _now_s(pl_module.device) - self._start_s - self._paused_s
        self._batches += 1
        self._clips += _clips(batch)
        self._tokens += 0 if joint is None else video_tokens(joint, batch)
        self._rates.update(
            time=elapsed_s,
            batches=self._batches,
            samples=self._clips,
            lengths=None if joint is None else self._tokens,
            flops=None if joint is None else self._batch_flops(joint, batch),
        )
        found = self._rates.compute()
        rates = {
            "clips_per_s": found.get("samples_per_sec", found.get("device/samples_per_sec")),
            "tokens_per_s": found.get("items_per_sec", found.get("device/items_per_sec")),
            "mfu": found.get("device/mfu"),
        }
        if "device/flops_per_sec" in found:
            rates["tflops_per_s"] = found["device/flops_per_sec"] / 1e12
        pl_module.log_dict(
            {f"throughput/{name}": value for name, value in rates.items() if value is not None}
        )

    def _batch_flops(self, training: JointTraining, batch: dict[str, Any]) -> int:
        key = (_clips(batch), _frames(batch))
        if key not in self._flops:  # a batch of new sizes; there are as many as there are buckets
            began_s = time.perf_counter()
            self._flops[key] = step_flops(
                training, clips=key[0], frames=key[1], precomputed="latents" in batch
            )
            self._paused_s += time.perf_counter() - began_s
        return self._flops[key]


def video_tokens(training: JointTraining, batch: dict[str, Any]) -> int:
    """Count the tokens of a batch's videos as the backbone sees them, those of each clip once."""
    patch = training.model.stitched.backbone.config.patch_size
    if "video" in batch:
        frames, _, *size = batch["video"].shape[1:]
        factor = training.model.autoencoder.factor
        grid = (training.model.autoencoder.latent_frames(frames), *(n // factor for n in size))
    else:
        grid = batch["latents"].shape[2:]
    return _clips(batch) * math.prod(-(-n // p) for n, p in zip(grid, patch, strict=True))


def _clips(batch: dict[str, Any]) -> int:
    return len(next(value for value in batch.values() if isinstance(value, Tensor)))


def _frames(batch: dict[str, Any]) -> int:
    """Give the length of the clips; latents are stored for every frame."""
    return batch["video"].shape[1] if "video" in batch else batch["latents"].shape[2]


def _without_values(training: JointTraining) -> JointTraining:
    """Copy a module with tensors on the meta device, and without its trainer."""
    memo: dict[int, Any] = {id(training._trainer): None}
    for tensor in (*training.parameters(), *training.buffers()):
        hollow = torch.empty_like(tensor, device="meta")
        if isinstance(tensor, nn.Parameter):
            hollow = nn.Parameter(hollow, tensor.requires_grad)
        memo[id(tensor)] = hollow
    return copy.deepcopy(training, memo)


def _dtype(precision: str) -> torch.dtype:
    """Give what products are computed in, for the words in which Lightning says it."""
    for word, dtype in (("bf16", torch.bfloat16), ("16", torch.float16), ("64", torch.float64)):
        if word in precision:
            return dtype
    return torch.float32


def _now_s(device: torch.device) -> float:
    """Look at the clock when the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()

"""FSDP2: processes share the weights, their average and the optimiser's state among themselves."""

import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from jog3r.training.checkpoint_files import is_sharded
from jog3r.training.sharded_files import read_sharded, write_sharded

ENTRIES = ("joint", "tokens", "pointmaps", "encode", "decode", "star_pointmaps")
"""Methods that run a module, beside `forward`: they too need its weights together."""
BLOCKS = "blocks"
"""How the names of the lists end that hold a network's blocks."""


class FullySharded(ModelParallelStrategy):
    """Share everything that trains among all processes, block by block (FSDP2).

    The model is built and its weights are loaded in every process, then each keeps its share: of
    every part that trains, frozen weights included. Parts that do not train at all stay whole, such
    as the autoencoder. A checkpoint is the same file as that of any other strategy, so they can be
    exchanged, or a folder to which every process writes its share.

    Args:
        sharded_checkpoints: Write folders. Nothing is gathered, which large models need; all
            processes must see the same disk.
        timeout_s: So long a process waits for the others [s].
    """

    def __init__(self, *, sharded_checkpoints: bool = False, timeout_s: float = 1800.0) -> None:
        super().__init__(
            tensor_parallel_size=1,
            save_distributed_checkpoint=sharded_checkpoints,
            timeout=timedelta(seconds=timeout_s),
        )

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Let Lightning hand over the optimisers' state; we know how to share it."""
        return True

    def setup_environment(self) -> None:
        """Share among all processes of all machines."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def setup(self, trainer: pl.Trainer) -> None:
        """Share the model, and the average of its weights if there is one."""
        assert self.accelerator is not None
        assert self.lightning_module is not None
        self.accelerator.setup(trainer)
        self.model = self.precision_plugin.convert_module(self.lightning_module)
        copies = [
            callback._average_model.module
            for callback in trainer.callbacks  # type: ignore[attr-defined]
            if isinstance(callback, WeightAveraging) and callback._average_model is not None
        ]
        # Which parts train is asked once: the average must be shared as the model is.
        names = [name for name, part in _parts(self.lightning_module) if _trains(part)]
        for module in (self.lightning_module, *copies):
            for name in names:
                shard(module.get_submodule(name), self.device_mesh["data_parallel"])
            module.to(self.root_device)
        self.barrier()
        if trainer.state.fn == TrainerFn.FITTING:
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Give this process' share of the weights; `save_checkpoint` brings them together."""
        assert self.lightning_module is not None
        return self.lightning_module.state_dict()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Give this process' share, by the optimiser's own order of parameters."""
        inner = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        return inner.state_dict()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None
    ) -> None:
        """Write one whole file, or a folder of shares; every process takes part."""
        path = Path(self.broadcast(filepath))
        if self._save_distributed_checkpoint:
            write_sharded(checkpoint, path, token=self.broadcast(f"{time.time_ns():x}"))
            return
        whole = gathered(checkpoint, keep=self.is_global_zero)
        if self.is_global_zero:
            self.checkpoint_io.save_checkpoint(whole, path, storage_options=storage_options)

    def load_checkpoint(
        self, checkpoint_path: Any, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint of any strategy; of the weights each process keeps its share.

        Raises:
            FileError: It is damaged or no checkpoint.
        """
        assert self.lightning_module is not None
        path = Path(self.broadcast(checkpoint_path))
        if is_sharded(path):
            checkpoint = read_sharded(path, mesh=self.device_mesh["data_parallel"])
        else:
            checkpoint = self.checkpoint_io.load_checkpoint(path, weights_only=weights_only)
        like = self.lightning_module.state_dict()
        for name in ("state_dict", "current_model_state"):  # the second with averaged weights
            if name in checkpoint:
                checkpoint[name] = _as_shares(checkpoint[name], like)
        return checkpoint

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take the shares over."""
        assert self.lightning_module is not None
        self.lightning_module.load_state_dict(checkpoint["state_dict"], strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process' share of the optimisers' state over."""
        for optimizer, kept in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            state = {
                index: _as_shares(values, dict.fromkeys(values, parameters[index]))
                for index, values in kept["state"].items()
            }
            optimizer.load_state_dict({**kept, "state": state})


def shard(part: nn.Module, mesh: DeviceMesh) -> None:
    """Share a part of a model: every block by itself, so that one at a time is whole."""
    for parameter in part.parameters():
        # Of an autoencoder they have their channels last, which FSDP2 does not take.
        parameter.data = parameter.data.contiguous()
    for name, module in part.named_modules():
        if isinstance(module, nn.ModuleList) and name.endswith(BLOCKS):
            for block in module:
                fully_shard(block, mesh=mesh, reshard_after_forward=True)
    # By default the outermost weights stay whole until the backward pass, which validation lacks:
    # there they would no longer fit the average's.
    fully_shard(part, mesh=mesh, reshard_after_forward=True)
    for name in ENTRIES:
        if hasattr(part, name):
            register_fsdp_forward_method(part, name)


def gathered(tree: Any, *, keep: bool = True) -> Any:
    """Bring shared tensors together, wherever they are in dictionaries and lists.

    Every process must call it with the same tree.

    Args:
        tree: Of a checkpoint.
        keep: Whether this process wants them; the others get None.
    """
    if isinstance(tree, DTensor):
        whole = tree.full_tensor()
        return whole.detach().cpu() if keep else None
    if isinstance(tree, Mapping):
        return {name: gathered(each, keep=keep) for name, each in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(gathered(each, keep=keep) for each in tree)
    return tree


def is_shared(module: nn.Module) -> bool:
    """Tell whether processes share weights of a module."""
    return any(isinstance(parameter, DTensor) for parameter in module.parameters())


def _as_shares(whole: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _as_share(each, like.get(name)) for name, each in whole.items()}


def _as_share(whole: Any, like: Any) -> Any:
    """Cut from a whole tensor what a shared one of the same shape holds here."""
    fits = isinstance(whole, Tensor) and isinstance(like, DTensor) and whole.shape == like.shape
    if not fits or isinstance(whole, DTensor):
        return whole
    # Without a source every process cuts from its own, and nothing is sent.
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)


def _parts(module: pl.LightningModule) -> Iterator[tuple[str, nn.Module]]:
    """Name the parts of what a stage trains: those of a whole model, or an autoencoder alone."""
    model = module.get_submodule("model")
    inner = [
        (f"model.{name}", part)
        for name, part in model.named_children()
        if name in ("autoencoder", "text_encoder", "network")
    ]
    yield from inner or [("model", model)]


def _trains(part: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in part.parameters())

"""What a stage of training needs: memory, operations and traffic of one process and one batch."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from jog3r.training.cost import Work, kept, step_of
from jog3r.training.rehearsal import rehearse

FLOAT32 = 4


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What of a trainer matters to the cost.

    Attributes:
        precision: Of matrix products.
        weight_bytes: Of one weight: 4, or 2 where training runs wholly in half precision.
        average: Whether an average of the weights is kept beside them.
    """

    precision: torch.dtype = torch.bfloat16
    weight_bytes: int = FLOAT32
    average: bool = False


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """Of one batch of one process that shares nothing with others.

    Attributes:
        numbers: Parameters.
        trained: Those that train.
        tokens: Of the clips, as the backbone sees them, those of each clip once.
        flops: That the model asks for, forward and backward.
        executed_flops: With what checkpointing computes twice.
        weights: [bytes], as are all below.
        gradients: Of what trains.
        optimiser: Its state.
        average: Of the weights.
        activations: What is kept between the passes, and of checkpointed blocks the one that runs
            again. What is only passed on is not in it.
        kept_activations: The same without checkpointing.
    """

    numbers: int
    trained: int
    tokens: int
    flops: int
    executed_flops: int
    weights: int
    gradients: int
    optimiser: int
    average: int
    activations: int
    kept_activations: int

    @property
    def memory(self) -> int:
        """All of it together."""
        state = self.weights + self.gradients + self.optimiser + self.average
        return state + self.activations


def stage_cost(module: Any, work: Work, settings: Settings) -> StageCost:
    """Count what one batch needs.

    Args:
        module: A LightningModule of jog3r's, best on the meta device.
        work: The batch.
        settings: Of the trainer.

    Raises:
        InputError: A module whose step is not known.
    """
    numbers = sum(p.numel() for p in module.parameters())
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    step, size = step_of(module, work), settings.weight_bytes
    plain = rehearse(module, kept(step), precision=settings.precision)
    again = rehearse(module, step, precision=settings.precision) if _checkpoints(module) else plain
    block = plain.block_bytes if _checkpoints(module) else 0
    return StageCost(
        numbers=numbers,
        trained=trained,
        tokens=tokens_of(module, work),
        flops=plain.flops,
        executed_flops=again.flops,
        weights=size * numbers,
        gradients=size * trained,
        optimiser=size * states_of(module),
        average=size * numbers if settings.average else 0,
        activations=again.saved_bytes + block,
        kept_activations=plain.saved_bytes,
    )


def states_of(module: Any) -> int:
    """Count the numbers that the optimiser keeps: two per parameter, one where Muon acts."""
    groups = module.configure_optimizers()["optimizer"].param_groups
    return sum(
        parameter.numel() * (1 if group.get("use_fallback") is False else 2)
        for group in groups
        for parameter in group["params"]
        if parameter.requires_grad
    )


def tokens_of(module: Any, work: Work) -> int:
    """Count the tokens of a batch's frames; latents where there is an autoencoder alone."""
    model = module.model
    if hasattr(model, "token_grid"):
        patched = getattr(model.network.config, "kind", "") == "stitched"
        rows, columns = (
            model.token_grid if patched else [work.side // model.network.config.patch] * 2
        )
        return work.clips * work.frames * rows * columns
    return work.clips * work.frames * (work.side // model.factor) ** 2


def _checkpoints(module: nn.Module) -> bool:
    return any(getattr(part, "gradient_checkpointing", False) for part in module.modules())


@dataclass(frozen=True)
class Traffic:
    """Bytes that one process sends, and receives, for one batch, by ring algorithms.

    Attributes:
        gradients: Averaging them, once per optimiser step.
        weights: Bringing shared ones together, in every batch.
    """

    gradients: float
    weights: float


def ddp_traffic(cost: StageCost, processes: int, *, batches: int = 1) -> Traffic:
    """Tell what replicas exchange: the gradients, halfway as sums and halfway as results.

    Args:
        cost: Of a batch.
        processes: How many.
        batches: Per optimiser step.
    """
    return Traffic(2.0 * _others(processes) * cost.gradients / batches, 0.0)


def fsdp_traffic(cost: StageCost, processes: int) -> Traffic:
    """Tell what FSDP2 exchanges: weights before each pass, gradients to whoever keeps them."""
    share = _others(processes)
    return Traffic(share * cost.gradients, 2.0 * share * cost.weights)


def fsdp_memory(cost: StageCost, processes: int, *, largest_block: int) -> float:
    """Tell what FSDP2 leaves on one of many processes [bytes].

    Args:
        cost: Of a batch without sharing.
        processes: How many share.
        largest_block: Weights of the largest block [bytes]; two of them are whole at a time.
    """
    state = cost.weights + cost.gradients + cost.optimiser + cost.average
    return state / processes + 2.0 * largest_block + cost.activations


def _others(processes: int) -> float:
    return (processes - 1) / processes

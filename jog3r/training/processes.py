"""What the processes of a run must agree on."""

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import Tensor


def mean_over_processes(values: Tensor) -> Tensor:
    """Average numbers over all processes; those of a single one stay as they are.

    Args:
        values: Without gradient, of the same size in every process.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return values
    total = values.detach().clone()
    dist.all_reduce(total)  # not AVG, which gloo lacks
    return total / dist.get_world_size()


def means_over_processes(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Average named numbers, in one exchange for all of them."""
    means = mean_over_processes(torch.stack([value.detach().float() for value in values.values()]))
    return dict(zip(values, means, strict=True))


def allow_idle_parameters(strategy: Strategy) -> None:
    """Let DDP accept steps in which some parameters get no gradient, unless its user has decided.

    Clips of one frame and steps of generation only leave the head idle, which DDP reports as an
    error in the following step. Idle parameters then keep no gradient at all, as in one process; a
    loss that touches them with weight zero would make optimisers decay them.
    """
    if isinstance(strategy, DDPStrategy):
        # Lightning has no public way to change this once a strategy is made.
        strategy._ddp_kwargs.setdefault("find_unused_parameters", True)

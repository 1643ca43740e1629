"""The size of the gradients, as it is before they are clipped."""

from collections.abc import Iterable, Sequence

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class GradientNorm(pl.Callback):
    """Log `train/grad_norm`, the norm of all gradients together, before clipping.

    It is that of the whole step: of all processes, and of all batches that accumulate to it.
    """

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Log it; Lightning clips after this."""
        pl_module.log("train/grad_norm", gradient_norm(pl_module.parameters()))


@torch.no_grad()
def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Give the norm of all gradients together, float32.

    Of sharded gradients every process holds a part, so all have to call this.

    Args:
        parameters: Those without a gradient count nothing.
    """
    gradients = [each.grad for each in parameters if each.grad is not None]
    sharded = [each for each in gradients if isinstance(each, DTensor)]
    whole = [each for each in gradients if not isinstance(each, DTensor)]
    norms = [_norm(some) for some in (sharded, whole) if some]
    return torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros(())


def _norm(gradients: Sequence[Tensor]) -> Tensor:
    norm = torch.linalg.vector_norm(
        torch.stack([torch.linalg.vector_norm(each.float()) for each in gradients])
    )
    return norm.full_tensor() if isinstance(norm, DTensor) else norm

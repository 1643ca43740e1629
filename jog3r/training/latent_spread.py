"""How far the latents of held-out clips spread, over all batches and processes."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class LatentSpread(Metric):
    """Standard deviation of each channel of latents.

    Args:
        channels: Of the latents.
        options: Of every torchmetrics.Metric.

    Example:
        >>> metric = LatentSpread(2)
        >>> metric.update(torch.tensor([[1.0, 0.0], [3.0, 0.0]]).reshape(2, 2, 1, 1, 1))
        >>> metric.compute()
        tensor([1.4142, 0.0000])
    """

    full_state_update = False
    total: Tensor
    squares: Tensor
    count: Tensor

    def __init__(self, channels: int, **options: Any) -> None:
        super().__init__(**options)
        for name, size in (("total", (channels,)), ("squares", (channels,)), ("count", ())):
            zeros = torch.zeros(size, dtype=torch.float64)
            self.add_state(name, default=zeros, dist_reduce_fx="sum")

    def update(self, latents: Tensor) -> None:
        """Add latents `(B, C, T, h, w)`."""
        values = latents.double()
        self.total += values.sum(dim=(0, 2, 3, 4))
        self.squares += values.square().sum(dim=(0, 2, 3, 4))
        self.count += values[:, 0].numel()

    def compute(self) -> Tensor:
        """Return `(C,)`, float32."""
        spread = self.squares - self.total.square() / self.count
        return (spread / (self.count - 1)).sqrt().float()

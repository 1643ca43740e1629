"""Optimiser and learning rate, shared by all stages."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


def optimiser_with_warmup(
    parameters: Iterable[nn.Parameter],
    rate: float,
    *,
    warmup: int,
    decay: int | None,
    weight_decay: float,
) -> dict[str, Any]:
    """Give AdamW and its learning rate over the steps.

    Args:
        parameters: What is trained.
        rate: Peak of the learning rate.
        warmup: Steps over which it rises linearly.
        decay: Step at which a half cosine reaches zero; None keeps the peak.
        weight_decay: Of AdamW.

    Returns:
        The dictionary that `LightningModule.configure_optimizers` gives.
    """
    optimiser = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=weight_decay)

    def factor(step: int) -> float:
        rise = min((step + 1) / max(warmup, 1), 1.0)
        if decay is None:
            return rise
        return rise * 0.5 * (1.0 + math.cos(math.pi * min(step / decay, 1.0)))

    return {
        "optimizer": optimiser,
        "lr_scheduler": {
            "scheduler": torch.optim.lr_scheduler.LambdaLR(optimiser, factor),
            "interval": "step",
        },
    }

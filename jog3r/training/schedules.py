"""Optimisers and learning rates, shared by all stages."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from timm.optim.muon import Muon
from torch import nn

from jog3r.errors import InputError

BETAS = (0.9, 0.98)


def muon(
    network: nn.Module, others: Iterable[nn.Parameter], rate: float, *, weight_decay: float
) -> Muon:
    """Give an optimiser that orthogonalises the updates of a transformer's inner matrices.

    The linear layers of `network` get Muon's updates, scaled to the size of AdamW's; its output
    layers, embeddings, biases and `others` get AdamW at half the rate. What is frozen stays out.

    Args:
        network: A `StitchedModel`.
        others: Parameters outside it.
        rate: Learning rate.
        weight_decay: Of both.

    Source: Jordan et al. 2024 (Muon); Liu et al. 2025, arXiv 2502.16982 (scale of the updates).
    """
    inner, rest = [], [parameter for parameter in others if parameter.requires_grad]
    for name, parameter in network.named_parameters():
        owner = network.get_submodule(name.rpartition(".")[0])
        outputs = "final_layer" in name or name.startswith("head_")
        matrix = isinstance(owner, nn.Linear) and parameter.ndim == 2 and not outputs
        if parameter.requires_grad:
            (inner if matrix else rest).append(parameter)
    return Muon(
        [
            {"params": inner, "use_fallback": False},
            {"params": rest, "use_fallback": True, "lr": 0.5 * rate},
        ],
        lr=rate,
        weight_decay=weight_decay,
        nesterov=True,
        betas=BETAS,
    )


def with_warmup(
    optimiser: torch.optim.Optimizer, *, warmup: int, decay: int | None
) -> dict[str, Any]:
    """Let the learning rate rise, and fall if wanted.

    Args:
        optimiser: At its peak rates.
        warmup: Steps over which they rise linearly.
        decay: Step at which a half cosine reaches zero; None keeps the peak.

    Returns:
        The dictionary that `LightningModule.configure_optimizers` gives.

    Raises:
        InputError: A negative number of steps, or none until the rate is zero.
    """
    if warmup < 0 or (decay is not None and decay < 1):
        raise InputError(
            f"warmup_steps, decay_steps: expected at least 0, and at least 1 or null, got {warmup}"
            f" and {decay}"
        )

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

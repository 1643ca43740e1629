import pytest
import torch
from torch import nn

from jog3r.training.schedules import optimiser_with_warmup


def rates(steps: int, warmup: int, decay: int | None) -> list[float]:
    """Return the learning rate of each step; its peak is 2."""
    made = optimiser_with_warmup(
        nn.Linear(1, 1).parameters(), 2.0, warmup=warmup, decay=decay, weight_decay=0.0
    )
    optimiser, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    found = []
    for _ in range(steps):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return found


def test_it_rises_and_stays() -> None:
    assert rates(6, 4, None) == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0])


def test_no_warm_up() -> None:
    assert rates(2, 0, None) == [2.0, 2.0]


def test_half_a_cosine_to_zero() -> None:
    assert rates(10, 1, 8) == pytest.approx(
        [1.0 + torch.tensor(torch.pi * min(step / 8, 1.0)).cos().item() for step in range(10)],
        abs=1e-6,
    )


def test_it_counts_steps_and_decays_weights() -> None:
    made = optimiser_with_warmup(
        nn.Linear(1, 1).parameters(), 1.0, warmup=1, decay=None, weight_decay=0.3
    )
    assert made["lr_scheduler"]["interval"] == "step"
    assert made["optimizer"].param_groups[0]["weight_decay"] == 0.3

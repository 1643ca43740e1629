from typing import Any

import pytest
import torch
from torch import Tensor

from jog3r.losses.autoencoding import autoencoding_loss

NO_LATENT: dict[str, Any] = {
    "mean": torch.zeros(2, 4, 2, 2),
    "log_variance": torch.zeros(2, 4, 2, 2),
}


@pytest.fixture
def frames(generator: torch.Generator) -> Tensor:
    return 2.0 * torch.rand(2, 3, 4, 4, generator=generator) - 1.0


def test_a_perfect_reconstruction_costs_nothing(frames: Tensor) -> None:
    loss, parts = autoencoding_loss(frames, frames, **NO_LATENT)
    assert set(parts) == {"absolute", "square", "hue", "edges", "kl"}
    assert loss == 0.0


def test_a_shift_of_brightness_has_neither_hue_nor_edges(frames: Tensor) -> None:
    loss, parts = autoencoding_loss(frames + 0.25, frames, **NO_LATENT)
    expected = {"absolute": 0.25, "square": 0.0625, "hue": 0.0, "edges": 0.0, "kl": 0.0}
    assert {name: float(part) for name, part in parts.items()} == pytest.approx(expected, abs=1e-6)
    assert float(loss) == pytest.approx(0.25 + 4.0 * 0.0625)


def test_a_wrong_hue_of_the_right_brightness_costs_more(frames: Tensor) -> None:
    shift = torch.tensor([0.2, 0.2, 0.2])[:, None, None]
    hue = torch.tensor([0.2, -0.2, 0.2])[:, None, None]
    (_, grey), (_, coloured) = (
        autoencoding_loss(frames + x, frames, **NO_LATENT) for x in (shift, hue)
    )
    torch.testing.assert_close(grey["square"], coloured["square"])
    # red - green is off by 0.4, blue - (red + green) / 2 by 0.2.
    assert float(coloured["hue"]) == pytest.approx(0.16 + 0.04)


def test_edges_are_differences_of_neighbours() -> None:
    frames = torch.zeros(2, 3, 2, 2)
    line = frames.clone()
    line[..., 1] = 0.5  # the right column: two horizontal steps, no vertical one
    _, parts = autoencoding_loss(line, frames, **NO_LATENT)
    assert float(parts["edges"]) == pytest.approx(0.5)


def test_the_divergence_is_that_of_torch(frames: Tensor, generator: torch.Generator) -> None:
    mean, log_variance = torch.randn(2, 2, 4, 2, 2, generator=generator)
    _, parts = autoencoding_loss(frames, frames, mean=mean, log_variance=log_variance)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    unit = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    expected = torch.distributions.kl_divergence(posterior, unit).mean()
    torch.testing.assert_close(parts["kl"], expected)


def test_weights_multiply_their_parts(frames: Tensor, generator: torch.Generator) -> None:
    wrong = torch.rand(2, 3, 4, 4, generator=generator)
    latent: dict[str, Any] = {
        "mean": torch.ones(2, 4, 2, 2),
        "log_variance": torch.zeros(2, 4, 2, 2),
    }
    names = ("square", "hue", "edge", "kl")
    off: dict[str, Any] = {f"{name}_weight": 0.0 for name in names}
    loss, parts = autoencoding_loss(wrong, frames, **latent, **off)
    torch.testing.assert_close(loss, parts["absolute"])
    for name in names:
        part = parts["edges" if name == "edge" else name]
        chosen: dict[str, Any] = {**off, f"{name}_weight": 3.0}
        weighted, _ = autoencoding_loss(wrong, frames, **latent, **chosen)
        torch.testing.assert_close(weighted, parts["absolute"] + 3.0 * part)

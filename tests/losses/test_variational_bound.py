from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from jog3r.diffusion.prediction import PredictionType
from jog3r.diffusion.schedule import NoiseSchedule
from jog3r.errors import InputError
from jog3r.losses.generation import generation_loss
from jog3r.losses.variational_bound import variational_bound
from tests.diffusion.toys import iddpm_network

TOLERANCE: dict[str, Any] = {"atol": 2e-4, "rtol": 2e-4}
EPSILON = NoiseSchedule(prediction_type="epsilon")


@pytest.mark.parity
@pytest.mark.parametrize("name", ["loss", "loss_masked"])
def test_stored_losses_of_a_toy_model(parity: Callable[[str], Path], name: str) -> None:
    io = load_file(parity("iddpm") / "io.safetensors")
    clean, noise, times = (io[f"loss.{key}"] for key in ("x0", "noise", "t"))
    mask = io["loss_masked.mask"] if name == "loss_masked" else None
    noisy = EPSILON.add_noise(clean, noise, times, mask)
    torch.testing.assert_close(noisy, io[f"{name}.x_t"], **TOLERANCE)
    prediction = iddpm_network(noisy, times.float(), io["loss.y"].flatten(1).mean(dim=1))
    target = EPSILON.target(clean, noise, times)
    mse = generation_loss(prediction, target, frame_mask=mask, reduction="sample")
    torch.testing.assert_close(mse, io[f"{name}.mse"], **TOLERANCE)
    bound = variational_bound(
        prediction, clean, noisy, times, schedule=EPSILON, frame_mask=mask, reduction="sample"
    )
    torch.testing.assert_close(bound, io[f"{name}.vb"], **TOLERANCE)
    torch.testing.assert_close(mse + bound, io[f"{name}.loss"], **TOLERANCE)
    whole = variational_bound(prediction, clean, noisy, times, schedule=EPSILON, frame_mask=mask)
    torch.testing.assert_close(whole, bound.mean())


@pytest.fixture
def latents(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    clean, noise = torch.randn(2, 3, 4, 2, 3, 3, generator=generator)
    return clean, noise


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_right_mean_and_the_least_variance_leave_nothing(
    latents: tuple[Tensor, Tensor], prediction_type: PredictionType
) -> None:
    schedule = NoiseSchedule(prediction_type=prediction_type)
    clean, noise = latents
    times = torch.tensor([5, 300, 900])
    target = schedule.target(clean, noise, times)
    perfect = torch.cat([target, torch.full_like(target, -1.0)], dim=1)
    noisy = schedule.add_noise(clean, noise, times)
    bound = variational_bound(perfect, clean, noisy, times, schedule=schedule, reduction="sample")
    torch.testing.assert_close(bound, torch.zeros(3), atol=1e-4, rtol=0.0)


def test_another_variance_costs_the_divergence_of_two_gaussians(
    latents: tuple[Tensor, Tensor],
) -> None:
    clean, noise = latents
    times = torch.full((3,), 7)
    noisy = EPSILON.add_noise(clean, noise, times)
    most = torch.cat([noise, torch.ones_like(noise)], dim=1)
    bound = variational_bound(most, clean, noisy, times, schedule=EPSILON)
    chain = EPSILON.chain()
    ours = torch.distributions.Normal(0.0, chain.betas[7].sqrt())
    truth = torch.distributions.Normal(0.0, chain.variance[7].sqrt())
    expected = torch.distributions.kl_divergence(truth, ours) / torch.tensor(2.0).log()
    torch.testing.assert_close(bound, expected, atol=1e-4, rtol=1e-3)


def test_the_decoder_gives_probabilities(generator: torch.Generator) -> None:
    """At t = 0, of all 256 values that a pixel can have: they add up to one."""
    values = (torch.arange(256) * 2.0 / 255.0 - 1.0)[:, None, None, None, None]
    times = torch.zeros(256, dtype=torch.long)
    # The same noisy value and prediction for all: the mean is somewhere in the middle.
    noisy = torch.full_like(values, 0.1)
    prediction = torch.zeros(256, 2, 1, 1, 1)
    bits = variational_bound(prediction, values, noisy, times, schedule=EPSILON, reduction="sample")
    assert (2.0**-bits).sum().item() == pytest.approx(1.0, abs=1e-3)


def test_only_the_variance_is_trained(latents: tuple[Tensor, Tensor]) -> None:
    clean, noise = latents
    times = torch.tensor([0, 10, 500])
    noisy = EPSILON.add_noise(clean, noise, times)
    prediction = torch.zeros(3, 8, 2, 3, 3, requires_grad=True)
    variational_bound(prediction, clean, noisy, times, schedule=EPSILON).backward()
    assert prediction.grad is not None
    assert not prediction.grad[:, :4].any()
    assert prediction.grad[:, 4:].abs().sum() > 0.0
    assert prediction.grad.isfinite().all()


def test_it_is_computed_in_float32(latents: tuple[Tensor, Tensor]) -> None:
    clean, noise = (x.bfloat16() for x in latents)
    times = torch.tensor([0, 10, 500])
    prediction = torch.zeros(3, 8, 2, 3, 3, dtype=torch.bfloat16)
    bound = variational_bound(prediction, clean, noise, times, schedule=EPSILON)
    assert bound.dtype == torch.float32


@pytest.mark.parametrize("shape", [(3, 4, 2, 3, 3), (2, 8, 2, 3, 3), (3, 8, 2, 3, 1)])
def test_sizes_that_do_not_fit_raise(shape: tuple[int, ...], as_a_user: None) -> None:
    clean, times = torch.zeros(3, 4, 2, 3, 3), torch.tensor([0, 1, 2])
    with pytest.raises(InputError, match="prediction: expected twice the channels"):
        variational_bound(torch.zeros(shape), clean, clean, times, schedule=EPSILON)

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from jog3r.diffusion.prediction import generation_target
from jog3r.errors import InputError
from jog3r.losses.generation import generation_loss


@pytest.mark.parity
def test_stored_loss_of_a_toy_model(shared: Path) -> None:
    io = load_file(shared / "parity/iddpm/io.safetensors")
    x, t = io["loss.x_t"], io["loss.t"].float()
    # The toy model as the fixture describes it: noise first, then something for the variance.
    shift = -0.2 * t / 1000 + 0.25 * io["loss.y"].flatten(1).mean(dim=1)
    epsilon = 0.4 * x + 0.3 * x.sin() + shift[:, None, None, None, None]
    prediction = torch.cat([epsilon, x.tanh()], dim=1)
    target = generation_target(
        io["loss.x0"],
        io["loss.noise"],
        signal_level=torch.ones(3),
        noise_level=torch.ones(3),
        prediction_type="epsilon",
    )
    got = generation_loss(prediction, target, reduction="sample")
    torch.testing.assert_close(got, io["loss.mse"], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(generation_loss(prediction, target), io["loss.mse"].mean())


def test_v_prediction_gives_back_clean_and_noise(generator: torch.Generator) -> None:
    clean, noise = torch.randn(2, 3, 4, 2, 3, 3, generator=generator)
    angle = torch.rand(3, generator=generator)
    a, s = angle.cos(), angle.sin()
    v = generation_target(
        clean, noise, signal_level=a, noise_level=s, prediction_type="v_prediction"
    )
    a, s = a[:, None, None, None, None], s[:, None, None, None, None]
    noisy = a * clean + s * noise
    torch.testing.assert_close(a * noisy - s * v, clean)
    torch.testing.assert_close(s * noisy + a * v, noise)


def test_reductions_and_dtype(generator: torch.Generator) -> None:
    prediction, target = torch.randn(2, 3, 4, 2, 3, 3, generator=generator)
    per_sample = generation_loss(prediction, target, reduction="sample")
    torch.testing.assert_close(per_sample[1], (prediction[1] - target[1]).square().mean())
    torch.testing.assert_close(generation_loss(prediction, target), per_sample.mean())
    assert generation_loss(prediction.bfloat16(), target.bfloat16()).dtype == torch.float32


def test_variance_channels_get_no_gradient(generator: torch.Generator) -> None:
    prediction = torch.randn(2, 8, 1, 2, 2, generator=generator, requires_grad=True)
    generation_loss(prediction, torch.zeros(2, 4, 1, 2, 2)).backward()
    assert prediction.grad is not None
    assert prediction.grad[:, :4].all()
    assert not prediction.grad[:, 4:].any()


@pytest.mark.parametrize("shape", [(2, 6, 1, 2, 2), (1, 4, 1, 2, 2), (2, 4, 1, 2, 1)])
def test_sizes_that_do_not_fit_raise(shape: tuple[int, ...]) -> None:
    # TypeError: the runtime check of annotations, on in the tests, finds some of them first.
    with pytest.raises((InputError, TypeError), match="prediction"):
        generation_loss(torch.zeros(shape), torch.zeros(2, 4, 1, 2, 2))

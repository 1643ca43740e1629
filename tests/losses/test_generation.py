from typing import cast

import pytest
import torch

from jog3r.diffusion.prediction import PredictionType, clean_estimate, generation_target
from jog3r.errors import InputError
from jog3r.losses.generation import generation_loss


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


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_right_prediction_stands_for_the_clean_latents(
    generator: torch.Generator, prediction_type: PredictionType
) -> None:
    clean, noise = torch.randn(2, 3, 4, 2, 3, 3, generator=generator)
    angle = torch.tensor([0.1, 0.8, 1.4])
    levels = {"signal_level": angle.cos(), "noise_level": angle.sin()}
    target = generation_target(clean, noise, **levels, prediction_type=prediction_type)
    signal, level = (x[:, None, None, None, None] for x in levels.values())
    noisy = signal * clean + level * noise
    got = clean_estimate(target, noisy, **levels, prediction_type=prediction_type)
    torch.testing.assert_close(got, clean, atol=1e-5, rtol=1e-5)


def test_another_prediction_type_raises(as_a_user: None) -> None:
    x, score = torch.zeros(1, 4, 1, 2, 2), cast("PredictionType", "score")
    levels = {"signal_level": torch.ones(1), "noise_level": torch.ones(1)}
    for function in (generation_target, clean_estimate):
        with pytest.raises(InputError, match="prediction_type: expected 'epsilon'"):
            function(x, x, **levels, prediction_type=score)


def test_a_mask_leaves_frames_out(generator: torch.Generator) -> None:
    prediction, target = torch.randn(2, 2, 4, 3, 3, 3, generator=generator)
    mask = torch.tensor([[True, False, True], [False, True, False]])
    got = generation_loss(prediction, target, frame_mask=mask, reduction="sample")
    error = (prediction - target).square()
    torch.testing.assert_close(got[0], error[0, :, [0, 2]].mean())
    torch.testing.assert_close(got[1], error[1, :, 1].mean())
    everything = generation_loss(prediction, target, frame_mask=torch.ones_like(mask))
    torch.testing.assert_close(everything, generation_loss(prediction, target))


@pytest.mark.parametrize(
    "mask", [torch.tensor([[True, True, False], [False] * 3]), torch.ones(2, 2, dtype=torch.bool)]
)
def test_a_mask_without_noised_frames_or_of_another_size(
    mask: torch.Tensor, as_a_user: None
) -> None:
    x = torch.zeros(2, 4, 3, 2, 2)
    with pytest.raises(InputError, match=r"frame_mask: expected \(2, 3\) with at least one"):
        generation_loss(x, x, frame_mask=mask)


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

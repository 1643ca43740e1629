"""Pixels to latents and back."""

import pytest
import torch

from jog3r.codecs.autoencoder import NARROW, FrameAutoencoder
from jog3r.errors import InputError


@pytest.fixture(scope="module")
def autoencoder() -> FrameAutoencoder:
    torch.manual_seed(0)
    config = FrameAutoencoder.Config(block_out_channels=(8, 8, 8), latent_channels=2)
    made = config.build().requires_grad_(False)
    made.scale.copy_(torch.tensor([2.0, 5.0])[:, None, None])
    return made


def video(generator: torch.Generator, frames: int = 5) -> torch.Tensor:
    return 2.0 * torch.rand(2, frames, 3, 16, 24, generator=generator) - 1.0


def test_shapes_and_scale(autoencoder: FrameAutoencoder, generator: torch.Generator) -> None:
    pixels = video(generator)
    latents = autoencoder.encode(pixels)
    assert latents.shape == (2, 2, 5, 4, 6)
    plain = autoencoder.vae.encode(pixels.flatten(0, 1)).latent_dist.mean.unflatten(0, (2, 5))
    expected = plain.transpose(1, 2) * torch.tensor([2.0, 5.0])[:, None, None, None]
    torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-5)


def test_decoding_undoes_the_scale(
    autoencoder: FrameAutoencoder, generator: torch.Generator
) -> None:
    # As many frames as channels: a scale along the wrong axis would go unnoticed by shapes.
    pixels = video(generator, frames=2)
    plain = autoencoder.vae.encode(pixels.flatten(0, 1)).latent_dist.mean
    expected = autoencoder.vae.decode(plain).sample.clamp(-1, 1)
    decoded = autoencoder.decode(autoencoder.encode(pixels)).flatten(0, 1)
    torch.testing.assert_close(decoded, expected, atol=1e-5, rtol=1e-5)


def test_chunks_change_nothing(autoencoder: FrameAutoencoder, generator: torch.Generator) -> None:
    pixels = video(generator)
    whole = autoencoder.encode(pixels)
    torch.testing.assert_close(autoencoder.encode(pixels, chunk=3), whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        autoencoder.decode(whole, chunk=3), autoencoder.decode(whole), atol=1e-5, rtol=1e-5
    )


def test_the_posterior_starts_narrow(generator: torch.Generator) -> None:
    made = FrameAutoencoder.Config(block_out_channels=(8, 8), latent_channels=2).build()
    frames = video(generator).flatten(0, 1)
    _, _, log_variance = made(frames, torch.zeros(10, 2, 8, 12))
    assert (log_variance.mean() - NARROW).abs() < 2.0


def test_sizes_that_do_not_divide(autoencoder: FrameAutoencoder) -> None:
    with pytest.raises(InputError, match="multiples of 4 px"):
        autoencoder.encode(torch.zeros(1, 1, 3, 18, 16))

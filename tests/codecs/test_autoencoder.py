"""Pixels to latents and back."""

import dataclasses
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file

from jog3r.codecs.autoencoder import NARROW, FrameAutoencoder
from jog3r.codecs.frame_passes import PIXELS_DECODED
from jog3r.config import from_plain, to_plain
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


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 1, 3, 18, 16), "multiples of 4 px"), ((1, 0, 3, 16, 16), "at least one frame")],
)
def test_videos_that_cannot_be(
    autoencoder: FrameAutoencoder, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(InputError, match=f"video: expected .*{message}"):
        autoencoder.encode(torch.zeros(shape))


@pytest.mark.parametrize("chunk", [0, -1, True])
def test_chunks_that_cannot_be(autoencoder: FrameAutoencoder, chunk: int) -> None:
    with pytest.raises(InputError, match="chunk: expected frames per pass above 0"):
        autoencoder.encode(torch.zeros(1, 1, 3, 16, 16), chunk=chunk)


def test_passes_are_bounded_in_pixels(autoencoder: FrameAutoencoder) -> None:
    seen = []
    handle = autoencoder.vae.decoder.register_forward_hook(
        lambda _module, _inputs, output: seen.append(output.shape)
    )
    autoencoder.decode(torch.zeros(1, 2, 5, 64, 64))  # 256x256 px
    handle.remove()
    assert [shape[0] for shape in seen] == [2, 2, 1]
    assert all(n * h * w <= PIXELS_DECODED for n, _, h, w in seen)


def test_every_latent_is_a_frame(autoencoder: FrameAutoencoder, as_a_user: None) -> None:
    assert autoencoder.latent_channels == 2
    assert autoencoder.latent_frames(5) == 5
    assert autoencoder.frames_of_latents(3) == [0, 1, 2]
    wrong: Any
    for wrong in (0, True, 2.0):
        with pytest.raises(InputError, match="num_frames: expected a whole number above 0"):
            autoencoder.latent_frames(wrong)


def test_num_frames_must_agree(autoencoder: FrameAutoencoder, generator: torch.Generator) -> None:
    latents = torch.randn(1, 2, 3, 4, 4, generator=generator)
    assert torch.equal(autoencoder.decode(latents, num_frames=3), autoencoder.decode(latents))
    with pytest.raises(InputError, match="num_frames: expected 3, one for each latent, got 4"):
        autoencoder.decode(latents, num_frames=4)


def test_uncut_video(autoencoder: FrameAutoencoder, generator: torch.Generator) -> None:
    latents = 50.0 * torch.randn(1, 2, 3, 4, 4, generator=generator)
    uncut = autoencoder.decode(latents, cut=False)
    assert uncut.abs().max() > 1.0
    assert torch.equal(autoencoder.decode(latents), uncut.clamp(-1.0, 1.0))


def test_other_dtypes(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    made = FrameAutoencoder.Config(block_out_channels=(8, 8), latent_channels=2).build()
    pixels = video(generator)
    latents = made.encode(pixels)
    half = made.to(torch.bfloat16)
    assert half.encode(pixels).dtype == half.decode(latents).dtype == torch.float32
    torch.testing.assert_close(half.encode(pixels), latents, atol=0.05, rtol=0.05)


class TestStableDiffusion:
    """The settings of stabilityai/sd-vae-ft-ema, whose layout is that of diffusers' class."""

    def test_names_and_shapes(self) -> None:
        with torch.device("meta"):
            made = FrameAutoencoder.Config.sd_vae_ft_ema().build()
            original = AutoencoderKL(
                in_channels=3,
                out_channels=3,
                down_block_types=("DownEncoderBlock2D",) * 4,  # type: ignore[arg-type]
                up_block_types=("UpDecoderBlock2D",) * 4,  # type: ignore[arg-type]
                block_out_channels=(128, 256, 512, 512),  # type: ignore[arg-type]
                layers_per_block=2,
                act_fn="silu",
                latent_channels=4,
                norm_num_groups=32,
                sample_size=256,
            )
        assert shapes(made.vae) == shapes(original)
        # 83.65 M is also the figure of its model card.
        assert sum(parameter.numel() for parameter in made.parameters()) == 83_653_863
        assert (made.factor, made.latent_channels) == (8, 4)

    def test_scaling(self) -> None:
        made = FrameAutoencoder.Config.sd_vae_ft_ema()
        assert made.scaling_factor == 0.18215
        assert from_plain(FrameAutoencoder.Config, to_plain(made)) == made

    def test_a_block_of_its_width_runs(self, generator: torch.Generator) -> None:
        config = dataclasses.replace(
            FrameAutoencoder.Config.sd_vae_ft_ema(), block_out_channels=(32, 32, 32, 32)
        )
        made = config.build().requires_grad_(False)
        pixels = 2.0 * torch.rand(1, 1, 3, 16, 16, generator=generator) - 1.0
        expected = made.vae.encode(pixels[0]).latent_dist.mean * 0.18215
        torch.testing.assert_close(made.encode(pixels)[:, :, 0], expected)


def shapes(module: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


@pytest.fixture(scope="module")
def trained() -> FrameAutoencoder:
    folder = Path(str(resources.files("jog3r") / "weights" / "tiny"))
    if not folder.is_dir():
        pytest.skip("weights: expected jog3r/weights/tiny, got no such folder")
    config = json.loads((folder / "config.json").read_text("utf-8"))["autoencoder"]
    made = from_plain(FrameAutoencoder.Config, config).build()
    prefix = "autoencoder."
    made.load_state_dict(
        {
            name.removeprefix(prefix): tensor.float()
            for name, tensor in load_file(folder / "model.safetensors").items()
            if name.startswith(prefix)
        }
    )
    return made.requires_grad_(False)


@pytest.fixture(scope="module")
def photos() -> torch.Tensor:
    folder = Path(str(resources.files("jog3r") / "assets" / "photos"))
    files = sorted(folder.glob("*.jpg"))[:3]
    images = [np.array(Image.open(file).convert("RGB").resize((256, 192))) for file in files]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)[None] / 127.5 - 1.0


class TestTiles:
    """On the trained network that ships, and photos: what tiles do depends on both."""

    def test_no_seam(self, trained: FrameAutoencoder, photos: torch.Tensor) -> None:
        whole = trained.encode(photos)
        expected = trained.decode(whole)
        hard = torch.cat([trained.decode(part) for part in whole.split(96 // 4, dim=-1)], dim=-1)
        trained.use_tiles(128)
        tiled = trained.decode(whole)
        assert rms(tiled - expected) < 0.02  # of [-1, 1]
        assert rms(trained.encode(photos) - whole) < 0.05 * whole.std()
        trained.use_tiles(None)
        # A seam is a jump between neighbours where the untiled frame has none. The mean jump along
        # any row or column stays below half of what is usual between neighbours in these frames.
        usual = steps(expected, -1).mean()
        for dim in (-1, -2):
            assert steps(tiled - expected, dim).max() < 0.6 * usual
        # Tiles without overlap do show one.
        assert steps(hard - expected, -1)[95] > usual

    def test_tiles_reconstruct_as_well(
        self, trained: FrameAutoencoder, photos: torch.Tensor
    ) -> None:
        whole = rms(trained.decode(trained.encode(photos)) - photos)
        trained.use_tiles(64)
        tiled = rms(trained.decode(trained.encode(photos)) - photos)
        trained.use_tiles(None)
        assert tiled < 1.03 * whole

    def test_a_frame_of_one_tile_is_exact(
        self, trained: FrameAutoencoder, photos: torch.Tensor
    ) -> None:
        part = photos[..., :128, :128]
        latents = trained.encode(part)
        pixels = trained.decode(latents)
        trained.use_tiles(128)
        assert torch.equal(trained.encode(part), latents)
        assert torch.equal(trained.decode(latents), pixels)
        trained.use_tiles(None)

    def test_none_goes_back_to_whole_frames(
        self, trained: FrameAutoencoder, photos: torch.Tensor
    ) -> None:
        before = trained.encode(photos)
        trained.use_tiles(64)
        assert not torch.equal(trained.encode(photos), before)
        trained.use_tiles(None)
        assert torch.equal(trained.encode(photos), before)

    @pytest.mark.parametrize("tile_px", [0, -16, 24, True, 64.0])
    def test_sizes_that_cannot_be(
        self, autoencoder: FrameAutoencoder, tile_px: Any, as_a_user: None
    ) -> None:
        with pytest.raises(InputError, match="tile_px: expected None or a multiple of 16 px"):
            autoencoder.use_tiles(tile_px)


def rms(error: torch.Tensor) -> float:
    return float(error.square().mean().sqrt())


def steps(frames: torch.Tensor, dim: int) -> torch.Tensor:
    """Mean absolute difference of neighbours, for each pair of neighbouring rows or columns."""
    jumps = frames.diff(dim=dim).abs().movedim(dim, 0)
    return jumps.flatten(1).mean(dim=1)

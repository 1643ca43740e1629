"""What the tests of conversion share."""

from pathlib import Path

import pytest
from safetensors.torch import save_file
from torch import Tensor

from tests.conversion.references import SMALL_VAE, randomised


@pytest.fixture
def vae() -> dict[str, Tensor]:
    """Return a small autoencoder of frames as diffusers stores it."""
    return randomised(SMALL_VAE.build().vae)


@pytest.fixture
def vae_file(tmp_path: Path, vae: dict[str, Tensor]) -> Path:
    """Write it as published."""
    folder = tmp_path / "vae"
    folder.mkdir()
    save_file(vae, folder / "diffusion_pytorch_model.safetensors")
    return folder / "diffusion_pytorch_model.safetensors"

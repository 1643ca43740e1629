"""Checkpoints to convert: the reference numbers, and synthetic ones in published layouts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jog3r.codecs.autoencoder import FrameAutoencoder

Parity = Callable[[str], Path]


@dataclass(frozen=True)
class Reference:
    """A folder of reference numbers as a checkpoint, with what its shapes do not tell."""

    kind: str
    folder: str
    settings: dict[str, Any]
    prefix: str


HEADS = {"encoder_heads": 3, "decoder_heads": 2}
REFERENCES = [
    Reference("opensora-1.0", "stdit", {"num_heads": 3}, "network.backbone."),
    Reference("opensora-1.1", "stdit2", {"input_sq_size": 32}, "network.backbone."),
    Reference("opensora-1.2", "stdit3", {}, "network.backbone."),
    Reference(
        "opensora-1.2-vae",
        "opensora_vae",
        {"spatial": {"norm_groups": 4}, "temporal": {"groups": 4}},
        "autoencoder.",
    ),
    Reference("dust3r", "dust3r", HEADS, "network."),
    Reference("dust3r", "dust3r_manyar", HEADS, "network."),
    Reference("dust3r", "dust3r_dpt", HEADS, "network."),
]
SMALL_VAE = FrameAutoencoder.Config(
    block_out_channels=(8, 16, 16, 16),
    layers_per_block=2,
    latent_channels=4,
    norm_groups=4,
    attention=True,
    scaling_factor=0.18215,
)


def randomised(module: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Give a module's state dict, with random numbers in all of it."""
    generator = torch.Generator().manual_seed(seed)
    state = module.state_dict()
    for tensor in state.values():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) / 10)
    return {name: tensor.clone().contiguous() for name, tensor in state.items()}

"""Weights to start training from.

Source: DiT section 3 (Peebles and Xie 2022), PixArt-alpha section 2.3 (Chen et al. 2023).
"""

from collections.abc import Iterable

from torch import nn

from jog3r.backbones.embedders import PatchEmbedder


def initialise_linears(model: nn.Module, conditions: Iterable[nn.Module]) -> None:
    """Draw the weights of all linear layers; biases are zero.

    Args:
        model: The network.
        conditions: Its parts that embed timestep, text and the like, which start small.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    for module in (part for condition in conditions for part in condition.modules()):
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)


def initialise_patches(embedder: PatchEmbedder) -> None:
    """Draw the patch embedding's weights as those of the linear layer that it is."""
    patch = embedder.proj
    nn.init.xavier_uniform_(patch.weight.view(patch.out_channels, -1))
    nn.init.zeros_(patch.bias)  # type: ignore[arg-type]  # Conv3d is made with a bias

"""What brings latents, text and numbers such as the timestep to the width of the tokens.

Shapes as in the backbones: B samples, T frames, S places, D channels, L text tokens, E text
channels. Tokens leave time first, `x_TBSD`.

Source: DiT section 3 (Peebles and Xie 2022), PixArt-alpha section 2.3 (Chen et al. 2023).
"""

import math

import torch
import torch.nn.functional as F
from timm.layers.activations import GELUTanh
from timm.layers.mlp import Mlp
from torch import Tensor, nn

FREQUENCY_CHANNELS = 256
LONGEST_PERIOD = 10_000.0


class PatchEmbedder(nn.Module):
    """One token per patch of the latents: a convolution with stride = kernel, done as a product.

    Latents that are no whole number of patches are filled up with zeros behind the last frame, row
    and column.
    """

    def __init__(self, channels: int, patch: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv3d(channels, width, kernel_size=patch, stride=patch)

    def forward(self, latents_BCTHW: Tensor) -> Tensor:
        """Cut `(B, C, T, H, W)` into patches and map each to a token."""
        a, b, c = self.patch
        T, H, W = latents_BCTHW.shape[2:]
        if T % a or H % b or W % c:
            latents_BCTHW = F.pad(latents_BCTHW, (0, -W % c, 0, -H % b, 0, -T % a))
        patches = latents_BCTHW.unflatten(4, (-1, c)).unflatten(3, (-1, b)).unflatten(2, (-1, a))
        patches = patches.permute(2, 0, 4, 6, 1, 3, 5, 7).flatten(4).flatten(2, 3)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


def token_grid(size: tuple[int, ...], patch: tuple[int, int, int]) -> tuple[int, int, int]:
    """Count the tokens along (T, H, W) of latents; a patch that is begun counts."""
    T, h, w = (-(-n // p) for n, p in zip(size, patch, strict=True))
    return T, h, w


class NumberEmbedder(nn.Module):
    """Cosines and sines of a number (timestep, size, rate), then two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first = nn.Linear(FREQUENCY_CHANNELS, width)
        self.mlp = nn.Sequential(first, nn.SiLU(), nn.Linear(width, width))

    def forward(self, number: Tensor) -> Tensor:
        """Embed numbers `(...)` as `(..., D)`."""
        half = FREQUENCY_CHANNELS // 2
        steps = torch.arange(half, device=number.device, dtype=torch.float32) / half
        angles = number.float()[..., None] * torch.exp(-math.log(LONGEST_PERIOD) * steps)
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1)
        return self.mlp(waves.to(next(self.parameters()).dtype))


class TextEmbedder(nn.Module):
    """Text features to the width of the tokens; keeps the features of the null text."""

    y_embedding: Tensor

    def __init__(self, channels: int, length: int, width: int) -> None:
        super().__init__()
        self.register_buffer("y_embedding", torch.randn(length, channels) / math.sqrt(channels))
        self.y_proj = Mlp(channels, width, width, act_layer=GELUTanh)

    def forward(self, text_BLE: Tensor) -> Tensor:
        """Map `(B, L, E)` to `(B, L, D)`."""
        return self.y_proj(text_BLE)

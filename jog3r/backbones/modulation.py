"""Adaptive layer norm: the timestep (and what else is known) scales, shifts and gates the tokens.

Shapes as in the backbones. F is 1 where all frames are alike, or T where each has its own
modulation because some are clean: conditioning frames that were not noised, at timestep 0.

Source: DiT section 3.2 (Peebles and Xie 2022), PixArt-alpha section 2.3 (Chen et al. 2023),
Open-Sora 1.1 for the clean frames.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPS = 1e-6


def normalise(x_TBSD: Tensor) -> Tensor:
    """Bring every token to mean 0 and variance 1."""
    return F.layer_norm(x_TBSD, x_TBSD.shape[-1:], eps=NORM_EPS)


def modulate(x_TBSD: Tensor, shift_FB1D: Tensor, scale_FB1D: Tensor) -> Tensor:
    """Scale and shift every sample's tokens."""
    return torch.addcmul(shift_FB1D, x_TBSD, 1 + scale_FB1D)


class CleanFrames(NamedTuple):
    """Where clean frames stand among noised ones, and how they are told so.

    Attributes:
        embedding: of timestep 0, `(B, D)`.
        noised: `(T, B)`, False where all that a token holds is clean.
    """

    embedding: Tensor
    noised: Tensor

    def modulation(self, noised_B6D: Tensor, clean_B6D: Tensor) -> Tensor:
        """Choose for every frame: `(B, 6, D)` twice to `(T, B, 6, D)`."""
        return torch.where(self.noised[:, :, None, None], noised_B6D, clean_B6D)

    def first(self, samples: int) -> "CleanFrames":
        """Leave the other samples out."""
        return CleanFrames(self.embedding[:samples], self.noised[:, :samples])


def noised_tokens(x_mask_BT: Tensor, frames: int) -> Tensor:
    """Say which tokens hold a noised frame: `(B, T)` latent frames to `(T, B)` of the tokens.

    Args:
        x_mask_BT: True for noised latent frames.
        frames: Latent frames per token.
    """
    filled = F.pad(x_mask_BT, (0, -x_mask_BT.shape[1] % frames))
    return filled.unflatten(1, (-1, frames)).any(dim=2).transpose(0, 1)


class FinalLayer(nn.Module):
    """Tokens back to latents."""

    def __init__(self, width: int, patch: tuple[int, int, int], channels: int) -> None:
        super().__init__()
        self.patch = patch
        self.scale_shift_table = nn.Parameter(torch.randn(2, width) / math.sqrt(width))
        self.linear = nn.Linear(width, math.prod(patch) * channels)

    def forward(
        self,
        x_TBSD: Tensor,
        t_BD: Tensor,
        grid: tuple[int, int, int],
        clean: CleanFrames | None = None,
    ) -> Tensor:
        """Turn the tokens of a (T, h, w) grid into `(B, C, T, H, W)`."""
        x_TBSD = self._modulated(x_TBSD, t_BD)
        if clean is not None:
            # The published networks do this on top of the line above, not instead of it.
            clean_TBSD = self._modulated(x_TBSD, clean.embedding)
            x_TBSD = torch.where(clean.noised[:, :, None, None], x_TBSD, clean_TBSD)
        out = self.linear(x_TBSD)
        # (T, B, h, w, a, b, c, C) -> (B, C, T a, h b, w c)
        out = out.unflatten(2, grid[1:]).unflatten(-1, (*self.patch, -1))
        out = out.permute(1, 7, 0, 4, 2, 5, 3, 6)
        return out.flatten(6, 7).flatten(4, 5).flatten(2, 3)

    def _modulated(self, x_TBSD: Tensor, t_BD: Tensor) -> Tensor:
        shift, scale = (self.scale_shift_table + t_BD[:, None])[:, :, None].unbind(1)
        return modulate(normalise(x_TBSD), shift, scale)

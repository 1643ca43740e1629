"""Linear head: every token becomes a patch of pixels.

Source: DUSt3R section 3.1 and its linear head; numbers checked against parity/dust3r.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn


class LinearHead(nn.Module):
    """One linear layer per token, then its outputs are laid out as a patch."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Sizes of the head.

        Attributes:
            width: channels of a token.
            patch_size: side of a token's patch [px].
            channels: per pixel: three for the point, one for the confidence.
        """

        width: int = 768
        patch_size: int = 16
        channels: int = 4

        def build(self) -> "LinearHead":
            """Make the head, initialised for training from scratch."""
            return LinearHead(self)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.proj = nn.Linear(config.width, config.channels * config.patch_size**2)
        nn.init.xavier_uniform_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def forward(
        self, tokens: Float[Tensor, "p s d"], *, grid: tuple[int, int]
    ) -> Float[Tensor, "p height width c"]:
        """Map tokens `(P, h w, D)` to pixels `(P, h patch, w patch, channels)`.

        Args:
            tokens: row by row.
            grid: rows and columns (h, w).
        """
        patch = self.config.patch_size
        # The layer gives (channel, row, column) of the patch.
        pixels = self.proj(tokens).unflatten(-1, (-1, patch, patch)).unflatten(1, grid)
        return pixels.permute(0, 1, 4, 2, 5, 3).flatten(3, 4).flatten(1, 2)

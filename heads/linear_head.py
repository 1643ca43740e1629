"""Linear head: every token becomes a patch of the pointmap.

Source: DUSt3R section 3.1 and its linear head; numbers checked against parity/dust3r.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from jog3r.heads.pointmap import DepthMode, Pointmap, decode_pointmap

CHANNELS = 4
"""Per pixel: three for the point, one for the confidence."""


class LinearHead(nn.Module):
    """One linear layer per token; what it gives is laid out as a patch of pixels."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Sizes of the head.

        Attributes:
            width: channels of a token.
            patch: side of a token's patch [px].
            depth_mode: from raw vectors to points, see `jog3r.heads.pointmap`.
        """

        width: int = 768
        patch: int = 16
        depth_mode: DepthMode = "exp"

        def build(self) -> "LinearHead":
            """Make the head, initialised for training from scratch."""
            return LinearHead(self)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.proj = nn.Linear(config.width, CHANNELS * config.patch**2)
        nn.init.xavier_uniform_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def forward(self, tokens: Float[Tensor, "p s d"], grid: tuple[int, int]) -> Pointmap:
        """Map tokens to one point and one confidence per pixel.

        Args:
            tokens: row by row.
            grid: rows and columns (h, w) of the tokens; the pointmap has h patch x w patch pixels.
        """
        patch = self.config.patch
        # The layer gives (channel, row, column) within the patch.
        pixels = self.proj(tokens).unflatten(-1, (CHANNELS, patch, patch)).unflatten(1, grid)
        pixels = pixels.permute(0, 1, 4, 2, 5, 3)  # (P, h, patch, w, patch, channel)
        return decode_pointmap(pixels.flatten(3, 4).flatten(1, 2), self.config.depth_mode)

"""Parts of DUSt3R's image encoder, a vision transformer with rotary positions.

Shapes: N images, S tokens of an image (row by row), D channels.

Source: DUSt3R section 3.1; numbers checked against parity/dust3r.
"""

from timm.layers.mlp import Mlp
from torch import Tensor, nn

from jog3r.heads.rope2d import Rotation
from jog3r.heads.rotary_attention import SelfAttention

NORM_EPS = 1e-6
CHANNELS = 3


class PatchEmbedder(nn.Module):
    """One token per square patch of an image."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(CHANNELS, width, patch, stride=patch)
        nn.init.xavier_uniform_(self.proj.weight.view(width, -1))
        assert self.proj.bias is not None
        nn.init.zeros_(self.proj.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Turn `(N, 3, H, W)` into tokens `(N, S, D)`."""
        return self.proj(images).flatten(2).transpose(1, 2)


class EncoderBlock(nn.Module):
    """Attention within the image, feed-forward part."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = Mlp(width, inner)  # its GELU is the exact one

    def forward(self, x_NSD: Tensor, place: Rotation) -> Tensor:
        """Update the tokens of every image."""
        x_NSD = x_NSD + self.attn(self.norm1(x_NSD), place)
        return x_NSD + self.mlp(self.norm2(x_NSD))

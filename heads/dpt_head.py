"""DPT head: tokens from four depths of a network become one dense map.

The tokens of each depth are laid out as an image of their own resolution (4, 2, 1 and 1/2 times
the token grid), and fused from the coarsest to the finest, each fusion doubling the resolution.
The names of parameters are those of public DUSt3R checkpoints.

Maps are kept channels-last, in which the CPU's convolutions and interpolations are the quicker
ones. A 1x1 convolution commutes with bilinear interpolation, whose weights add up to 1: it runs
before, on a quarter of the pixels. Most of a 3x3 convolution does so too, see
`jog3r.heads.doubled_convolution`.

Source: DPT (Ranftl et al. 2021), section 3; DUSt3R section 4 for its use; numbers checked against
parity/dust3r_dpt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from jog3r.errors import InputError
from jog3r.heads.doubled_convolution import convolve_doubled, doubled
from jog3r.heads.pointmap import DepthMode, Pointmap, decode_pointmap

CHANNELS = 4
"""Per pixel: three for the point, one for the confidence."""
PATCH = 16
"""Pixels per token and axis: 4 by the finest layer, 2 by its fusion, 2 by the last layers."""
CHUNK = 4
"""Pairs that are worked on at a time: a wider batch is no quicker, and takes more memory."""

Four = tuple[int, int, int, int]


class DPTHead(nn.Module):
    """Tokens of four depths to pointmaps; see the module's text."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """The defaults are those of DUSt3R's public checkpoints.

        Attributes:
            token_dims: channels of the tokens of each depth.
            feature_dim: channels of the maps that are fused.
            last_dim: channels of the last but one layer.
            layer_dims: channels of each depth's map before its fusion.
            depth_mode: from raw vectors to points, see `jog3r.heads.pointmap`.
        """

        token_dims: Four = (1024, 768, 768, 768)
        feature_dim: int = 256
        last_dim: int = 128
        layer_dims: Four = (96, 192, 384, 768)
        depth_mode: DepthMode = "exp"

        def build(self) -> "DPTHead":
            """Make the head, initialised for training from scratch."""
            return DPTHead(self)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.dpt = DPT(config)

    def forward(
        self,
        tokens: Sequence[Float[Tensor, "_ s _"]],
        grid: tuple[int, int],
        *,
        chunk: int = CHUNK,
    ) -> Pointmap:
        """Map tokens of four depths to one point and one confidence per pixel.

        Args:
            tokens: of each depth `(P, S, D)`, row by row. Those of the first depth may come once
                `(1, S, D)` where they are the same for all P.
            grid: rows and columns (h, w) of the tokens; the pointmap has 16 h x 16 w pixels.
            chunk: how many of the P to work on at a time, which bounds the memory.

        Raises:
            InputError: not four depths, or sizes that do not fit.
        """
        self._check(tokens, grid, chunk)
        first, *others = tokens
        lateral = self.dpt.lateral(first, grid) if len(first) == 1 else None
        P = max(len(each) for each in tokens)
        raw = []
        for start in range(0, P, chunk):
            part = slice(start, start + chunk)
            finest = self.dpt.lateral(first[part], grid) if lateral is None else lateral
            raw.append(self.dpt(finest, [each[part] for each in others], grid))
        pixels = raw[0] if len(raw) == 1 else torch.cat(raw)
        return decode_pointmap(pixels.permute(0, 2, 3, 1), self.config.depth_mode)

    def _check(self, tokens: Sequence[Tensor], grid: tuple[int, int], chunk: int) -> None:
        h, w = grid
        got = [tuple(each.shape) for each in tokens]
        P = max((len(each) for each in tokens), default=0)
        expected = [(P, h * w, D) for D in self.config.token_dims]
        once = [(1, *expected[0][1:]), *expected[1:]]
        if got not in (expected, once):
            raise InputError(f"tokens: expected sizes {expected} for a {h} x {w} grid, got {got}")
        check_chunk(chunk)


class DPT(nn.Module):
    """The network of the head: four depths of tokens to raw pixels `(P, 4, 16 h, 16 w)`."""

    def __init__(self, config: DPTHead.Config) -> None:
        super().__init__()
        widths = zip(config.token_dims, config.layer_dims, strict=True)
        self.act_postprocess = nn.ModuleList(
            Reassembly(number, width, out) for number, (width, out) in enumerate(widths)
        )
        self.scratch = Scratch(config.layer_dims, config.feature_dim)
        self.head = Last(config.feature_dim, config.last_dim)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def lateral(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Give the finest layer's part in the last fusion, most of what a depth costs alone."""
        return self.scratch.refinenet1.resConfUnit1(self._layer(0, tokens, grid))

    def forward(self, lateral: Tensor, tokens: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """Fuse all layers.

        Args:
            lateral: what `lateral` gives for the tokens of the first depth.
            tokens: of the other three depths.
            grid: rows and columns of the tokens.
        """
        scratch = self.scratch
        layer_2, layer_3, layer_4 = (
            self._layer(number, each, grid) for number, each in enumerate(tokens, start=1)
        )
        h, w = grid  # the coarsest layer rounds up, and doubled it can be larger than the next
        path = doubled(scratch.refinenet4(layer_4))[..., :h, :w]
        path = doubled(scratch.refinenet3(path + scratch.refinenet3.resConfUnit1(layer_3)))
        path = doubled(scratch.refinenet2(path + scratch.refinenet2.resConfUnit1(layer_2)))
        return self.head(scratch.refinenet1(path + lateral))

    def _layer(self, number: int, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        return self.scratch.layer_rn[number](self.act_postprocess[number](tokens, grid))


class Reassembly(nn.Sequential):
    """Tokens to an image with 4, 2, 1 or 1/2 pixels per token and axis, for number 0 to 3."""

    def __init__(self, number: int, width: int, out: int) -> None:
        resize: list[nn.Module] = []
        if number < 2:
            factor = 4 >> number
            resize.append(nn.ConvTranspose2d(out, out, factor, stride=factor))
        elif number == 3:
            resize.append(nn.Conv2d(out, out, 3, stride=2, padding=1))
        super().__init__(nn.Conv2d(width, out, 1), *resize)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:  # type: ignore[override]
        """Turn `(P, S, D)` into `(P, C, h', w')`."""
        return super().forward(tokens.unflatten(1, grid).permute(0, 3, 1, 2))


class Scratch(nn.Module):
    """The fusing part, called as in the original publication: what is trained from scratch."""

    layer_rn: nn.ModuleList
    refinenet1: "Fusion"
    refinenet2: "Fusion"
    refinenet3: "Fusion"
    refinenet4: "Fusion"

    def __init__(self, layers: Four, features: int) -> None:
        super().__init__()
        projections = [nn.Conv2d(C, features, 3, padding=1, bias=False) for C in layers]
        # Checkpoints carry every projection under two names.
        for number, projection in enumerate(projections, start=1):
            self.add_module(f"layer{number}_rn", projection)
        self.layer_rn = nn.ModuleList(projections)
        for number in range(1, 5):
            self.add_module(f"refinenet{number}", Fusion(features))


class Fusion(nn.Module):
    """Refine a map, of which the double resolution is taken next.

    `resConfUnit1` refines what is added to the map before; the coarsest fusion adds nothing and
    has it for the checkpoints' sake only.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(features, features, 1)
        self.resConfUnit1 = ResidualUnit(features)
        self.resConfUnit2 = ResidualUnit(features)

    def forward(self, x: Tensor) -> Tensor:
        """Refine the sum of the coarser map and this layer's own."""
        return self.out_conv(self.resConfUnit2(x))


class ResidualUnit(nn.Module):
    """Two convolutions, each behind a ReLU, added to what came in."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Refine a map."""
        return self.conv2(F.relu_(self.conv1(F.relu(x)))).add_(x)


class Last(nn.ModuleDict):
    """The last layers: to full resolution and to raw outputs."""

    def __init__(self, features: int, last: int) -> None:
        half = features // 2
        super().__init__(
            {  # numbered as in the checkpoints, which count interpolation and ReLU as well
                "0": nn.Conv2d(features, half, 3, padding=1),
                "2": nn.Conv2d(half, last, 3, padding=1),
                "4": nn.Conv2d(last, CHANNELS, 1),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Turn `(P, C, 4 h, 4 w)` into raw pixels `(P, 4, 16 h, 16 w)`."""
        first, second, third = (cast("nn.Conv2d", layer) for layer in self.values())
        weight, bias = third.weight.flatten(1), third.bias
        x = convolve_doubled(x, first)
        return convolve_doubled(x, second, lambda y: F.linear(F.relu_(y), weight, bias))


def check_chunk(chunk: int) -> None:
    """Check that a chunk holds something.

    Raises:
        InputError: it does not.
    """
    if chunk < 1:
        raise InputError(f"chunk: expected at least 1, got {chunk}")

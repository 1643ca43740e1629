"""Batches that mix landscape and portrait views, all stored in landscape layout.

A portrait image is stored transposed. Its tokens are those of the upright image, row by row, and
its pointmap is transposed again, so that it fits the image as it is stored.

Source: DUSt3R's multi-aspect training (Wang et al. 2024, section 4); own derivation, checked
against parity/dust3r_manyar.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from jog3r.errors import InputError
from jog3r.heads.rope2d import Rotation, rotation_of_grid


class Part(NamedTuple):
    """The views of a batch that share an orientation.

    Attributes:
        views: which ones.
        grid: rows and columns of their upright tokens.
        transposed: whether they are stored transposed.
    """

    views: slice | Tensor
    grid: tuple[int, int]
    transposed: bool


class Layout(NamedTuple):
    """How the tokens of a batch of views lie.

    Attributes:
        grid: rows and columns of the tokens of a view as it is stored.
        portrait: `(P,)`, the views that are stored transposed; None: no view is.
    """

    grid: tuple[int, int]
    portrait: Tensor | None = None

    def parts(self) -> list[Part]:
        """List the orientations that occur."""
        if self.portrait is None:
            return [Part(slice(None), self.grid, False)]
        h, w = self.grid
        portrait, landscape = self.portrait.nonzero()[:, 0], (~self.portrait).nonzero()[:, 0]
        both = Part(landscape, (h, w), False), Part(portrait, (w, h), True)
        return [part for part, views in zip(both, (landscape, portrait), strict=True) if len(views)]

    def rotation(self, head_channels: int, base: float, device: torch.device) -> Rotation:
        """Tabulate the rotary positions of all tokens."""
        h, w = self.grid
        stored = rotation_of_grid(h, w, head_channels, base, device)
        if self.portrait is None:
            return stored
        turned = rotation_of_grid(w, h, head_channels, base, device)
        choice = self.portrait.long()
        cos, sin = (torch.stack(pair)[choice] for pair in zip(stored, turned, strict=True))
        return Rotation(cos[:, None], sin[:, None])  # the same for all heads


def together(parts: Sequence[Part], values: Sequence[Tensor]) -> Tensor:
    """Put what was worked out part by part back into the order of the batch."""
    if len(values) == 1:
        return values[0]
    order = torch.cat([part.views for part in parts if isinstance(part.views, Tensor)])
    return torch.cat([*values])[order.argsort()]


def layout_of(
    size: tuple[int, int], patch: int, true_shape: Tensor | None, name: str = "true_shape"
) -> Layout:
    """Read the layout of a batch of images.

    Args:
        size: height and width of the images as they are stored [px].
        patch: side of a token's patch [px].
        true_shape: (height, width) of every upright image [px]; None: as stored.
        name: what to call it in errors.

    Raises:
        InputError: a true shape that is neither the stored size nor, of images in landscape
            layout, the transposed one.
    """
    h, w = size
    grid = (h // patch, w // patch)
    if true_shape is None:
        return Layout(grid)
    stored, turned = true_shape.new_tensor([h, w]), true_shape.new_tensor([w, h])
    portrait = (true_shape == turned).all(dim=1) & (h != w)
    if h > w or not (portrait | (true_shape == stored).all(dim=1)).all():
        raise InputError(
            f"{name}: expected images in landscape layout, each {h} x {w} or {w} x {h} when"
            f" upright, got {true_shape.tolist()}; leave it out where all images are as stored"
        )
    return Layout(grid, portrait if portrait.any() else None)

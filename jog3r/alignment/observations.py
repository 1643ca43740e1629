"""What refinement sees of the pairs: a grid of their pixels, in float64.

Shapes: E pairs, T frames, S pixels of each pointmap. The pointmap of image i of a pair is called
its own one, as it is in the frame of its own camera; that of image j is the other one.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from jog3r.alignment.pairs import PairPointmaps
from jog3r.geometry import pixel_centres

PIXELS_PER_FRAME = 450
"""The other pointmaps of a frame are thinned to about this many pixels together."""
PIXELS_PER_MAP = 64
"""But no pointmap to fewer than about these."""


@dataclass(frozen=True)
class Observations:
    """The pixels in use.

    Args:
        pairs: (E, 2).
        points_own: (E, 3, S) in camera i's frame, at the pair's own scale.
        points_other: (E, 3, S) likewise, seen in the pixels of image j.
        weights_own: (E, S), not negative.
        weights_other: (E, S).
        offset: (T, 2, S) pixels from the principal point, as tangents where K is known.
    """

    pairs: Tensor
    points_own: Tensor
    points_other: Tensor
    weights_own: Tensor
    weights_other: Tensor
    offset: Tensor

    @property
    def frames(self) -> int:
        """How many cameras there are."""
        return self.offset.shape[0]


def observe(
    pairs: PairPointmaps, frames: int, K: Tensor | None, masks: Tensor | None
) -> Observations:
    """Thin the pairs out to a grid of pixels.

    The weight of a pixel is its confidence - 1. The network is trained on confidence * error, so it
    says itself that an error deserves its confidence as weight; one is subtracted so that "nothing
    known" (1) weighs nothing. DUSt3R's logarithm flattens that statement; on noise that follows the
    confidence it is less accurate.

    Args:
        pairs: of the frames.
        frames: how many there are.
        K: known intrinsics (T, 3, 3), if any.
        masks: (T, h, w), True = use.
    """
    first, second = pairs.pairs.unbind(dim=1)
    height, width = pairs.size
    stride = _stride(height * width, len(first) / frames)
    rows, columns = (slice((min(stride, n) - 1) // 2, None, stride) for n in (height, width))

    def thin(values: Tensor) -> Tensor:
        return values[:, rows, columns].double().flatten(1, 2)

    weights_own, weights_other = thin(pairs.confidence_i) - 1.0, thin(pairs.confidence_j) - 1.0
    if masks is not None:
        use = thin(masks)
        weights_own, weights_other = weights_own * use[first], weights_other * use[second]
    pixels = pixel_centres((height, width), dtype=torch.float64, device=first.device)
    return Observations(
        pairs=pairs.pairs,
        points_own=thin(pairs.points_i).transpose(1, 2).contiguous(),
        points_other=thin(pairs.points_j).transpose(1, 2).contiguous(),
        weights_own=weights_own,
        weights_other=weights_other,
        offset=_offsets(pixels[rows, columns].reshape(-1, 2).T, pairs.size, frames, K),
    )


def _stride(pixels: int, maps_per_frame: float) -> int:
    wanted = max(PIXELS_PER_MAP, PIXELS_PER_FRAME / maps_per_frame)
    return max(1, round(math.sqrt(pixels / wanted)))


def _offsets(pixels: Tensor, size: tuple[int, int], frames: int, K: Tensor | None) -> Tensor:
    if K is None:
        centre = pixels.new_tensor([[size[1] / 2], [size[0] / 2]])
        return (pixels - centre).expand(frames, 2, -1)
    homogeneous = torch.cat([pixels, torch.ones_like(pixels[:1])])
    return torch.linalg.solve(K.to(pixels), homogeneous.expand(frames, 3, -1))[:, :2]

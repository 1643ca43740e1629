"""Fitting frames to the size that a model takes, and its results back to the user's pixels."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry import crop_intrinsics, pixel_centres, resize_intrinsics
from jog3r.result_checks import check_unit_frames

EDGE = 0.1
"""Relative difference of depth between neighbours from which on they are two surfaces."""

WHOLE = 0.99
"""Share of a target's pixel that a mask has to cover: one that is half a passer-by is one."""


@dataclass(frozen=True)
class ResizeAndCrop:
    """How a clip was fitted to another size, and the way back.

    The centred part of the source with the target's shape, `crop_size` at (`top`, `left`), was
    resized to the target. Cutting before resizing keeps pixels square to within half a pixel of
    the *source*; the other order would round at the coarser target.

    Args:
        source_size: (height, width) [px] of the user's frames.
        target_size: (height, width) [px] of the model's.
        crop_size: (height, width) [px] of the part of the source that was used.
        top: rows of the source above it.
        left: columns of the source left of it.

    Example:
        >>> mapping = ResizeAndCrop.fit((360, 640), (64, 64))
        >>> mapping.crop_size, mapping.top, mapping.left
        ((360, 360), 0, 140)
    """

    source_size: tuple[int, int]
    target_size: tuple[int, int]
    crop_size: tuple[int, int]
    top: int
    left: int

    @classmethod
    def fit(cls, source_size: tuple[int, int], target_size: tuple[int, int]) -> "ResizeAndCrop":
        """Choose the largest centred part of the source that has the target's aspect ratio.

        Raises:
            InputError: a side below 1 px.
        """
        if min(*source_size, *target_size) < 1:
            raise InputError(f"size: expected at least 1 px, got {source_size} and {target_size}")
        (height, width), (target_height, target_width) = source_size, target_size
        scale = min(height / target_height, width / target_width)
        crop_height = min(height, max(1, round(target_height * scale)))
        crop_width = min(width, max(1, round(target_width * scale)))
        return cls(
            (height, width),
            (target_height, target_width),
            (crop_height, crop_width),
            (height - crop_height) // 2,
            (width - crop_width) // 2,
        )

    def frames_to_target(self, frames: Float[Tensor, "t 3 h w"]) -> Float[Tensor, "t 3 h2 w2"]:
        """Cut and resize frames (bilinear, antialiased).

        Raises:
            InputError: frames that are not of the source's size.
        """
        if tuple(frames.shape[-2:]) != self.source_size:
            raise InputError(
                f"frames: expected (T, 3, {self.source_size[0]}, {self.source_size[1]}),"
                f" got {tuple(frames.shape)}"
            )
        rows, columns = self._used()
        part = frames[..., rows, columns]
        if self.crop_size == self.target_size:
            return part.contiguous()
        resized = F.interpolate(
            part, self.target_size, mode="bilinear", align_corners=False, antialias=True
        )
        return resized.clamp(-1, 1)  # rounding can leave the range by 1e-7

    def masks_to_target(self, masks: Bool[Tensor, "t h w"]) -> Bool[Tensor, "t h2 w2"]:
        """Cut and resize masks (True = use); a pixel that lies partly outside is outside."""
        rows, columns = self._used()
        # Frame by frame: as floats, the masks of a long video would not fit into memory.
        parts = masks[:, rows, columns].split(1)
        shares = (
            F.interpolate(part[None].float(), self.target_size, mode="area") for part in parts
        )
        return torch.cat([share[0] >= WHOLE for share in shares])

    def intrinsics_to_target(self, K: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3 3"]:
        """Return K of the model's frames from that of the user's."""
        cropped = crop_intrinsics(K, self.top, self.left)
        return resize_intrinsics(cropped, self.crop_size, self.target_size)

    def intrinsics_to_source(self, K: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3 3"]:
        """Return K of the user's frames from that of the model's."""
        resized = resize_intrinsics(K, self.target_size, self.crop_size)
        return crop_intrinsics(resized, -self.top, -self.left)

    def depth_to_source(self, depth: Float[Tensor, "t h2 w2"]) -> Float[Tensor, "t h w"]:
        """Give depth in the pixels of the user's frames.

        A pixel without depth (0) stays without, and is never averaged with one that has it. Inside
        a surface values are interpolated; where the four neighbours differ by more than 10 %, an
        edge, the nearest one is taken, so that no point floats between two surfaces. Pixels that
        the centre crop cut off have depth 0.

        Raises:
            InputError: maps that are not of the target's size.
        """
        corners, share = self._neighbours(depth)
        low, high = corners.amin(dim=(0, 1)), corners.amax(dim=(0, 1))
        smooth = (low > 0) & (high <= low * (1 + EDGE))
        # Nothing but whole steps picks the nearest neighbour.
        values = torch.where(smooth, _blend(corners, share), _blend(corners, (share > 0.5).float()))
        return self._into_source(values, 0.0)

    def confidence_to_source(self, confidence: Float[Tensor, "t h2 w2"]) -> Float[Tensor, "t h w"]:
        """Give confidence in the pixels of the user's frames, interpolated.

        Pixels that the centre crop cut off have confidence 1, the least.

        Raises:
            InputError: maps that are not of the target's size.
        """
        return self._into_source(_blend(*self._neighbours(confidence)), 1.0)

    def _used(self) -> tuple[slice, slice]:
        height, width = self.crop_size
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def _neighbours(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the 2x2 target pixels around each used source pixel, and where it lies in them.

        Returns:
            (2 rows, 2 columns, T, crop height, crop width), and (crop height, crop width, x and y).
        """
        if tuple(maps.shape[-2:]) != self.target_size:
            raise InputError(
                f"maps: expected (T, {self.target_size[0]}, {self.target_size[1]}),"
                f" got {tuple(maps.shape)}"
            )
        size, last = torch.tensor(self.target_size[::-1]), torch.tensor(self.target_size[::-1]) - 1
        # Pixel centres lie at +0.5, while indices count them from 0.
        place = pixel_centres(self.crop_size) * (size / torch.tensor(self.crop_size[::-1])) - 0.5
        place = torch.minimum(place.clamp(min=0), last.float())
        first = place.floor().long()
        columns, rows = torch.stack([first, torch.minimum(first + 1, last)]).unbind(dim=-1)
        corners = [torch.stack([maps[:, row, column] for column in columns]) for row in rows]
        return torch.stack(corners), place - first

    def _into_source(self, values: Tensor, outside: float) -> Tensor:
        result = values.new_full((len(values), *self.source_size), outside)
        rows, columns = self._used()
        result[:, rows, columns] = values
        return result


def resize_and_crop(
    frames: Float[Tensor, "t 3 h w"],
    K: Float[Tensor, "*b 3 3"] | None,
    size: tuple[int, int],
) -> tuple[Float[Tensor, "t 3 h2 w2"], Float[Tensor, "*b 3 3"] | None, ResizeAndCrop]:
    """Fit frames to a model's size: centre crop to its aspect ratio, then antialiased resize.

    Args:
        frames: RGB in [-1, 1].
        K: their intrinsics [px], for all frames or for each; None if unknown.
        size: (height, width) [px] wanted.

    Returns:
        The frames, their new K (None if it was), and the mapping that leads results back.

    Raises:
        InputError: wrong shape, dtype, NaN or range of the frames, or a size below 1 px.

    Example:
        >>> frames, K, mapping = resize_and_crop(torch.zeros(2, 3, 36, 64), None, (16, 16))
        >>> frames.shape
        torch.Size([2, 3, 16, 16])
    """
    check_unit_frames("frames", frames)
    mapping = ResizeAndCrop.fit((frames.shape[-2], frames.shape[-1]), size)
    fitted = mapping.frames_to_target(frames)
    return fitted, None if K is None else mapping.intrinsics_to_target(K), mapping


def _blend(corners: Tensor, share: Tensor) -> Tensor:
    """Interpolate between 2x2 neighbours; equal ones give exactly their value."""
    x, y = share.unbind(dim=-1)
    upper, lower = torch.lerp(corners[:, 0], corners[:, 1], x)
    return torch.lerp(upper, lower, y)

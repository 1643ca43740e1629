"""Fitting a whole clip to another size: its pixels, its maps and its intrinsics together."""

from typing import Any

import torch
from torch import Tensor

from jog3r.data.clip import Clip
from jog3r.data.fit import ResizeAndCrop
from jog3r.result_checks import image_size_of

MAPS = ("depth", "points_world")


def fit_clip(clip: Clip, size: tuple[int, int]) -> Clip:
    """Cut the centred part of a shape out of every frame and resize it; K follows.

    Colours are averaged. Depth and pointmaps are looked up at the centre of each new pixel: between
    a surface and what lies behind it there is nothing. A pixel of the mask may be used where all of
    the old ones that it covers may.

    Args:
        clip: Any; one without pixels comes back as it is.
        size: (height, width) wanted [px].

    Raises:
        InputError: A side below 1 px.

    Example:
        >>> frames = torch.zeros(2, 36, 64, 3, dtype=torch.uint8)
        >>> clip = Clip(id="a", source="mine", licence="CC0-1.0", frames=frames)
        >>> fit_clip(clip, (16, 16)).image_size
        (16, 16)
    """
    size = image_size_of(size)
    if clip.image_size in (None, size):
        return clip
    mapping = ResizeAndCrop.fit(clip.image_size, size)
    changed: dict[str, Any] = {}
    if clip.frames is not None:
        changed["frames"] = _frames(clip.frames, mapping)
    for name in MAPS:
        values = getattr(clip, name)
        if values is not None:
            changed[name] = _looked_up(values, mapping)
    if clip.mask is not None:
        changed["mask"] = mapping.masks_to_target(clip.mask)
    if clip.K is not None:
        changed["K"] = mapping.intrinsics_to_target(clip.K)
    return clip.replaced(**changed)


def _frames(frames: Tensor, mapping: ResizeAndCrop) -> Tensor:
    # Frame by frame: as floats, those of a long video would not fit into memory.
    fitted = (
        mapping.frames_to_target(frame.permute(0, 3, 1, 2).float() / 127.5 - 1.0)
        for frame in frames.split(1)
    )
    return torch.cat([((f + 1.0) * 127.5).round().to(torch.uint8) for f in fitted]).permute(
        0, 2, 3, 1
    )


def _looked_up(maps: Tensor, mapping: ResizeAndCrop) -> Tensor:
    rows, columns = (
        (((torch.arange(new) + 0.5) * (old / new)).long() + first)
        for new, old, first in zip(
            mapping.target_size, mapping.crop_size, (mapping.top, mapping.left), strict=True
        )
    )
    return maps[:, rows[:, None], columns]

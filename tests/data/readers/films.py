"""Films for trees of data sets: each frame is grey of its own, so that it tells its number."""

from pathlib import Path

import torch
from torch import Tensor

from jog3r.export.mp4 import write_mp4
from jog3r.results import Video

STEP = 6


def grey_frames(count: int, size: tuple[int, int] = (32, 48), first: int = 0) -> Tensor:
    grey = (STEP * (first + torch.arange(count))).to(torch.uint8)
    return grey[:, None, None, None].expand(-1, *size, 3).contiguous()


def write_film(path: Path, count: int, *, fps: float = 10.0, first: int = 0) -> None:
    """Write a video whose frame k is called first + k."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(path, Video(grey_frames(count, first=first), fps))


def write_images(folder: Path, names: list[str], size: tuple[int, int] = (32, 48)) -> None:
    """Write images, the k-th called k."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in zip(names, grey_frames(len(names), size), strict=True):
        Image.fromarray(frame.numpy()).save(folder / name)


def known(part: Tensor | None) -> Tensor:
    """Return a part of a clip that is there."""
    assert part is not None
    return part


def numbers(frames: Tensor | None) -> list[int]:
    """Read the numbers off the frames."""
    return (known(frames).float().mean(dim=(1, 2, 3)) / STEP).round().int().tolist()

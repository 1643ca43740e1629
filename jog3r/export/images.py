"""The frames of a video as PNG files, for formats that name the image of every camera."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from jog3r.errors import FileError
from jog3r.export.atomic import atomic_file
from jog3r.results import Video


def image_name(index: int) -> str:
    """Return the name of a frame's image; names sort as the frames do.

    Example:
        >>> image_name(7), image_name(10_000)
        ('0007.png', 'x00010000.png')
    """
    return f"{index:04d}.png" if index < 10_000 else f"x{index:08d}.png"


def write_images(folder: Path, video: Video, names: Sequence[str]) -> None:
    """Write every frame without loss, under its name in `folder`.

    Raises:
        SaveError: a file could not be written; nothing partial is left of it.
    """
    from PIL import Image

    for name, frame in zip(names, video.frames.numpy(), strict=True):
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, format="png")
        with atomic_file(folder / name) as file:
            file.write(buffer.getbuffer())


def read_image(path: Path) -> np.ndarray:
    """Read an image as RGB, uint8 (H, W, 3).

    Raises:
        FileError: missing, truncated or foreign file.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FileError(f"{path}: expected a PNG image, got '{error}'") from error


def read_images(folder: Path, names: Sequence[str]) -> UInt8[Tensor, "t h w 3"]:
    """Read the named images, in this order.

    Raises:
        FileError: missing, truncated or foreign file, or images of several sizes.
    """
    images = [read_image(folder / name) for name in names]
    height, width, _ = images[0].shape
    for name, image in zip(names, images, strict=True):
        if image.shape != images[0].shape:
            raise FileError(
                f"{folder / name}: expected images of one size, {width}x{height} px, got"
                f" {image.shape[1]}x{image.shape[0]}"
            )
    return torch.from_numpy(np.stack(images))

"""Single pictures of data sets: colours, and numbers stored as 16-bit PNG."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from jog3r.data.media import opaque_rgb, opened_image
from jog3r.errors import FileError


def read_picture(path: Path) -> UInt8[Tensor, "h w 3"]:
    """Decode a picture as it is stored: turning it upright would leave its camera behind.

    Raises:
        FileError: Missing, truncated or foreign file, more than 8 bits, or transparent pixels.
    """
    with opened_image(path) as image:
        return torch.from_numpy(opaque_rgb(path, image))


def picture_size(path: Path) -> tuple[int, int]:
    """Return (height, width) [px] without decoding the picture.

    Raises:
        FileError: Missing or foreign file.
    """
    with opened_image(path) as image:
        return image.height, image.width


def read_16_bit(path: Path) -> np.ndarray:
    """Decode the single channel of a PNG of 16 bits, uint16.

    Raises:
        FileError: Missing, truncated or foreign file, or one of colours or of 8 bits.
    """
    with opened_image(path) as image:
        numbers = np.array(image)
    if numbers.ndim != 2 or numbers.dtype == np.uint8:
        raise FileError(
            f"{path}: expected one channel of 16 bits, got {numbers.dtype} {numbers.shape}"
        )
    return numbers.astype(np.uint16)


def read_stencil(path: Path) -> UInt8[Tensor, "h w"]:
    """Decode a mask's grey values.

    Raises:
        FileError: Missing, truncated or foreign file.
    """
    with opened_image(path) as image:
        return torch.from_numpy(np.array(image.convert("L")))

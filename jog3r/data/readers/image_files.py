"""Chosen images of one size as the frames of a clip."""

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from jog3r.data.readers.pictures import read_picture
from jog3r.errors import FileError
from jog3r.export.frame_stack import FrameStack


def read_images(files: Sequence[Path]) -> UInt8[Tensor, "t h w 3"]:
    """Decode images as they are stored, without turning them upright.

    Raises:
        FileError: Missing, truncated or foreign file, or images of several sizes.
    """
    with FrameStack() as images:
        for file in files:
            images.append(read_picture(file).numpy())
            if images.sizes[-1] != images.sizes[0]:
                (height, width), (h, w) = images.sizes[0], images.sizes[-1]
                raise FileError(
                    f"{file}: expected {width}x{height} px as {files[0].name}, got {w}x{h}; the"
                    " frames of a clip have one size"
                )
        return images.tensor()

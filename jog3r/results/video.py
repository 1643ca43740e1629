"""Frames as they are shown."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from jog3r.errors import InputError
from jog3r.result_checks import as_path, check_fps, check_suffix, check_tensor, check_unit_frames
from jog3r.results.equality import Result


@dataclass(frozen=True, eq=False, repr=False)
class Video(Result):
    """Frames as they are shown.

    Args:
        frames: RGB, rows from the top.
        fps: frames per second.

    Raises:
        InputError: wrong shape, dtype or device, no frame, or a frame rate outside [0.001, 1000].

    Example:
        >>> Video(torch.zeros(16, 48, 64, 3, dtype=torch.uint8), fps=8)
        Video(16 frames, 64x48 px, 8 fps)
    """

    frames: UInt8[Tensor, "t h w 3"]
    fps: float

    def __post_init__(self) -> None:
        check_tensor("frames", self.frames, ("T", "H", "W", 3), torch.uint8)
        check_fps(self.fps)

    @classmethod
    def from_tensor(cls, frames: Float[Tensor, "t 3 h w"], fps: float) -> "Video":
        """Build a video from the form used inside the library, rounding to 8 bits.

        Args:
            frames: RGB in [-1, 1], on any device.
            fps: frames per second.

        Raises:
            InputError: wrong shape or dtype, NaN, or values outside [-1, 1] (a decoder's output
                has to be clamped by whoever knows that this is meant).
        """
        check_unit_frames("frames", frames)
        rounded = ((frames.detach().float() + 1) * 127.5).round().to(torch.uint8)
        return cls(rounded.permute(0, 2, 3, 1).contiguous().cpu(), fps)

    def tensor(self) -> Float[Tensor, "t 3 h w"]:
        """Return the frames in the form used inside the library: RGB in [-1, 1]."""
        return self.frames.permute(0, 3, 1, 2).float() / 127.5 - 1

    def save(self, path: str | Path) -> Path:
        """Write an mp4 (H.264) and return its path; `.mp4` is added to a name without suffix.

        Raises:
            InputError: another suffix, no name at all, or frames too large for H.264.
            SaveError: the file could not be written; nothing partial is left.
        """
        from jog3r.export.mp4 import write_mp4

        path = as_path("path", path)
        if path.name in ("", ".."):
            raise InputError(f"path: expected a name ending in .mp4, got {str(path)!r}; add one")
        path = path if path.suffix else path.with_suffix(".mp4")
        check_suffix(path, (".mp4",))
        write_mp4(path, self)
        return path

    @property
    def height(self) -> int:
        """Rows [px]."""
        return self.frames.shape[1]

    @property
    def width(self) -> int:
        """Columns [px]."""
        return self.frames.shape[2]

    def __len__(self) -> int:
        return self.frames.shape[0]

    def __repr__(self) -> str:
        return f"Video({len(self)} frames, {self.width}x{self.height} px, {self.fps:g} fps)"

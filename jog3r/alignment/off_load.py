"""One number per pixel of a long video, kept in memory or in a file, written piece by piece.

A file is plain float32 `.npy`. It is written and read with ordinary file access: a full disk is an
error then and not a crash, and nothing that was written stays resident. Only what is handed out at
the end is mapped into memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from jog3r.errors import InputError, SaveError

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class MemoryStore:
    """Frames in memory.

    Args:
        values: where they are.
    """

    values: Float32[Tensor, "t h w"]

    @property
    def shape(self) -> Shape:
        """(T, h, w)."""
        frames, height, width = self.values.shape
        return frames, height, width

    def write(self, first: int, values: Float32[Tensor, "n h w"]) -> None:
        """Store the frames from `first` on."""
        self.values[first : first + len(values)] = values

    def read(self, first: int, stop: int) -> Float32[Tensor, "n h w"]:
        """Return a copy of the frames from `first` to before `stop`."""
        return self.values[first:stop].clone()

    def tensor(self) -> Float32[Tensor, "t h w"]:
        """Return all of it, without a copy."""
        return self.values


@dataclass(frozen=True)
class FileStore:
    """Frames in a `.npy` file.

    Args:
        path: of the file.
        shape: (T, h, w).
        offset: where the first frame begins [bytes].
    """

    path: Path
    shape: Shape
    offset: int

    def write(self, first: int, values: Float32[Tensor, "n h w"]) -> None:
        """Store the frames from `first` on.

        Raises:
            SaveError: the disk is full, or the file cannot be written.
        """
        try:
            with self.path.open("r+b") as file:
                file.seek(self._begin(first))
                file.write(values.contiguous().cpu().numpy().data)
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def read(self, first: int, stop: int) -> Float32[Tensor, "n h w"]:
        """Return a copy of the frames from `first` to before `stop`."""
        _, height, width = self.shape
        count = (stop - first) * height * width
        flat = np.fromfile(self.path, dtype="<f4", count=count, offset=self._begin(first))
        return torch.from_numpy(flat.reshape(-1, height, width))

    def tensor(self) -> Float32[Tensor, "t h w"]:
        """Return all of it as a map of the file: pages are read when they are touched.

        The map is private: to change the tensor does not change the file.
        """
        return torch.from_numpy(np.load(self.path, mmap_mode="c"))

    def _begin(self, frame: int) -> int:
        return self.offset + 4 * frame * self.shape[1] * self.shape[2]


FrameStore = MemoryStore | FileStore
"""Numbers (T, h, w) of a video, zero until they are written."""


def frame_store(path: Path | None, shape: Shape) -> FrameStore:
    """Return an empty store: a new file, or memory where the path is None.

    Raises:
        SaveError: the file cannot be made.
    """
    if path is None:
        return MemoryStore(torch.zeros(shape))
    try:
        header = np.lib.format.open_memmap(path, mode="w+", dtype="<f4", shape=shape)
    except OSError as error:
        raise _cannot_write(path, error) from error
    return FileStore(path, shape, int(header.offset))


@contextmanager
def new_folder(folder: str | Path | None) -> Iterator[Path | None]:
    """Make the folder for the files, which must not hold anything yet; empty it on any failure.

    Args:
        folder: to make; None makes none.

    Raises:
        InputError: a name that holds something.
        SaveError: the folder cannot be made.
    """
    if folder is None:
        yield None
        return
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and next(folder.iterdir(), None) is None):
        raise InputError(f"folder: expected a new or empty folder, got {folder}; choose another")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    try:
        yield folder
    except BaseException:
        for file in folder.iterdir():
            file.unlink()
        raise


def _cannot_write(path: Path, error: OSError) -> SaveError:
    return SaveError(
        f"{path}: expected a place to write to, got '{error.strerror}'; free the disk or choose"
        " another folder"
    )

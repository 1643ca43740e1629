"""Frames stacked as they come; those of a long video wait in a file, not in memory."""

from contextlib import ExitStack
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from jog3r.errors import SaveError

MOST_BYTES = 1 << 28
"""What is kept in memory; a video that is larger goes to a temporary file."""


class FrameStack:
    """Pictures of one size; a context that closes the file, which the tensor outlives.

    Example:
        >>> with FrameStack() as stack:
        ...     stack.append(np.zeros((4, 6, 3), dtype=np.uint8))
        ...     stack.append(np.ones((4, 6, 3), dtype=np.uint8))
        ...     stack.tensor().shape
        torch.Size([2, 4, 6, 3])
    """

    def __init__(self, *, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.sizes: list[tuple[int, int]] = []
        self._frames: list[np.ndarray] = []
        self._file: IO[bytes] | None = None
        self._open = ExitStack()

    def __enter__(self) -> "FrameStack":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def __len__(self) -> int:
        return len(self.sizes)

    def append(self, frame: UInt8[np.ndarray, "h w 3"]) -> None:
        """Add a picture; `sizes` notes its (height, width).

        Raises:
            SaveError: no room for temporary files.
        """
        self.sizes.append((frame.shape[0], frame.shape[1]))
        self._frames.append(frame)
        if frame.nbytes * len(self._frames) > self.most_bytes:
            self._spill()

    def tensor(self) -> UInt8[Tensor, "t h w 3"]:
        """Return all of them; a file is mapped into memory, and gone with the tensor."""
        if self._file is None:
            return torch.from_numpy(np.stack(self._frames))
        self._spill()
        shape = (len(self), *self.sizes[0], 3)
        return torch.from_numpy(np.memmap(self._file, np.uint8, mode="c", shape=shape))

    def _spill(self) -> None:
        try:
            if self._file is None:
                file = TemporaryFile(prefix="jog3r-")  # noqa: SIM115  # __exit__ closes it
                self._file = self._open.enter_context(file)
            for frame in self._frames:
                self._file.write(np.ascontiguousarray(frame).data)
            self._file.flush()
        except OSError as error:
            raise SaveError(
                f"temporary files: expected room for the frames of a long video, got"
                f" '{error.strerror}'; set TMPDIR to another disk, or take fewer frames"
            ) from error
        self._frames.clear()

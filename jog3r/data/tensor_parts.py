"""Tensors of a safetensors file that lies inside another file, read in part."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from jog3r.errors import FileError

DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "BOOL": torch.bool,
}
HEAD = 4096
"""Bytes read first: the header of a record, and more than that only where a caption is long."""
AT_ONCE = 1 << 18
"""Bytes that are read in one go, wanted or not, rather than asked for piece by piece."""


class TensorParts:
    """A safetensors file at an offset of an opened file.

    Args:
        file: Opened for reading without a buffer.
        path: Of that file, for errors.
        offset: Where the safetensors file begins [bytes].

    Raises:
        FileError: The file ends before the header does, or there is none.

    Source: layout as https://huggingface.co/docs/safetensors says it: the header's length in 8
    bytes, the header in JSON, the numbers.
    """

    def __init__(self, file: BinaryIO, path: Path, offset: int) -> None:
        self._file, self.path, self._offset = file, path, offset
        self.name = f"{path} at byte {offset}"
        file.seek(offset)
        head = file.read(HEAD)
        length = int.from_bytes(head[:8], "little")
        self._data = offset + 8 + length
        if len(head) < 8 + length <= 100_000_000:  # as safetensors bounds it
            head += self._bytes(offset + len(head), 8 + length - len(head))
        try:
            self._tensors = json.loads(head[8 : 8 + length])
            self.metadata: dict[str, str] = self._tensors.pop("__metadata__", {})
        except (ValueError, AttributeError, TypeError) as error:
            raise self._broken("another content") from error

    def __contains__(self, tensor: str) -> bool:
        return tensor in self._tensors

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Tell the shape of a tensor.

        Raises:
            FileError: There is no such tensor.
        """
        return self._entry(tensor)[1]

    def read(self, tensor: str, rows: Sequence[int] | None = None) -> Tensor:
        """Read a tensor, or some of its rows in any order.

        Args:
            tensor: Its name.
            rows: Places in its first dimension; None for all.

        Raises:
            FileError: There is no such tensor, or the file ends before it.
        """
        dtype, shape, start = self._entry(tensor)
        row = math.prod(shape[1:]) * dtype.itemsize
        wanted = range(shape[0]) if rows is None else rows
        low, high = min(wanted), max(wanted) + 1
        if rows is None or (high - low) * row <= max(AT_ONCE, len(rows) * row):
            span = _tensor(self._bytes(start + low * row, (high - low) * row), dtype, shape[1:])
            return span if rows is None else span[[each - low for each in rows]]
        pieces = (self._bytes(start + each * row, row) for each in wanted)
        return _tensor(bytearray().join(pieces), dtype, shape[1:])

    def _entry(self, tensor: str) -> tuple[torch.dtype, tuple[int, ...], int]:
        try:
            found = self._tensors[tensor]
            begin = self._data + int(found["data_offsets"][0])
            return DTYPES[found["dtype"]], tuple(found["shape"]), begin
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise self._broken(f"nothing of the name {tensor}") from error

    def _bytes(self, offset: int, size: int) -> bytearray:
        content, done = bytearray(size), 0
        self._file.seek(offset)
        while done < size:
            count = self._file.readinto(memoryview(content)[done:])  # type: ignore[attr-defined]
            if not count:
                raise self._broken("an end of the file before its own")
            done += count
        return content

    def _broken(self, got: str) -> FileError:
        return FileError(
            f"{self.name}: expected a precomputed clip, got {got}; the shard is truncated or"
            " damaged, copy or prepare it again"
        )


def _tensor(content: bytearray, dtype: torch.dtype, row: tuple[int, ...]) -> Tensor:
    return torch.frombuffer(content, dtype=dtype).reshape(-1, *row)

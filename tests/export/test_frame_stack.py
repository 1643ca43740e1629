"""Frames in memory and in a file are the same frames."""

import numpy as np
import pytest
import torch

from jog3r.errors import SaveError
from jog3r.export import frame_stack
from jog3r.export.frame_stack import FrameStack


@pytest.mark.parametrize("most_bytes", [1, 200, 1000, 10**6])
def test_a_file_changes_nothing(most_bytes: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (7, 5, 6, 3), dtype=np.uint8)
    with FrameStack(most_bytes=most_bytes) as stack:
        for frame in frames:
            stack.append(frame[:, ::-1])  # not contiguous
        found, again = stack.tensor(), stack.tensor()
    assert len(stack) == 7
    assert set(stack.sizes) == {(5, 6)}
    assert torch.equal(found, torch.from_numpy(frames[:, :, ::-1].copy()))
    found[0] = 0  # the tensor is its owner's
    assert not torch.equal(again, found)


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**options: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(frame_stack, "TemporaryFile", full)
    with pytest.raises(SaveError, match=r"temporary files: expected room .*No space left"):
        FrameStack(most_bytes=1).append(np.zeros((2, 2, 3), dtype=np.uint8))

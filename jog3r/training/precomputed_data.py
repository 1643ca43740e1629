"""Precomputed clips as a stream of training batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from jog3r.data.precomputed import PrecomputedClip, clip_length
from jog3r.errors import FileError, InputError
from jog3r.training.streams import BatchStream, StreamDataModule


def collate(clips: Sequence[PrecomputedClip]) -> dict[str, Any]:
    """Stack clips of one length and size into a batch.

    Returns:
        `latents` `(B, C, T, h, w)`, `text` `(B, L, E)` and `text_mask` `(B, L)` padded to the
        longest, `depth` `(B, T, H, W)`, `K` `(B, T, 3, 3)`, `world_from_camera` `(B, T, 4, 4)`,
        `caption`, a list of B strings.

    Raises:
        InputError: Clips of different sizes.
    """
    sizes = {
        (tuple(clip.latents.shape), tuple(clip.depth.shape), clip.text.shape[1]) for clip in clips
    }
    if len(sizes) != 1:
        raise InputError(
            f"clips: expected one size of latents and depth and one width of text in a batch,"
            f" got {sorted(sizes)}; encode them alike or keep them in folders of their own"
        )
    names = ("latents", "depth", "K", "world_from_camera")
    return {
        **{name: torch.stack([getattr(clip, name) for clip in clips]) for name in names},
        "text": pad_sequence([clip.text for clip in clips], batch_first=True),
        "text_mask": pad_sequence([clip.text_mask for clip in clips], batch_first=True),
        "caption": [clip.caption for clip in clips],
    }


class PrecomputedBatches(BatchStream):
    """An endless stream of batches; each clip comes once before any comes again.

    Args:
        files: Of the clips.
        frames: Length of the clips in a batch.
        batch_size: Clips per batch.
        strides: Frame strides to draw from; those too long for a clip are left out of its draw.
        reverse_share: Share of the clips that run backwards.
        seed: Of the order, the strides, the starts and the directions.
        place: See `BatchStream`.

    Source: strides and reversal as in JOG3R section 4.
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        frames: int,
        batch_size: int,
        strides: Sequence[int],
        reverse_share: float,
        seed: int,
        **place: int,
    ) -> None:
        super().__init__(**place)
        self.files, self.frames, self.batch_size = list(files), frames, batch_size
        self.strides, self.reverse_share, self.seed = tuple(strides), reverse_share, seed

    def batch(self, index: int) -> dict[str, Any]:
        """Read the index-th batch of the whole stream.

        Raises:
            FileError: A clip that cannot be read, or is shorter than a batch's clips.
            InputError: Clips of different sizes.
        """
        start = index * self.batch_size
        return collate([self.clip(number) for number in range(start, start + self.batch_size)])

    def clip(self, number: int) -> PrecomputedClip:
        """Read the number-th clip of the whole stream."""
        round_, place = divmod(number, len(self.files))
        order = np.random.default_rng([self.seed, 0, round_]).permutation(len(self.files))
        file = self.files[order[place]]
        return PrecomputedClip.load(file, self._draw_frames(file, number))

    def _draw_frames(self, file: Path, number: int) -> list[int]:
        length, rng = clip_length(file), np.random.default_rng([self.seed, 1, number])
        fitting = [s for s in self.strides if (self.frames - 1) * s < length]
        if not fitting:
            raise FileError(
                f"{file}: expected at least {(self.frames - 1) * min(self.strides) + 1} frames for"
                f" clips of {self.frames}, got {length}; remove it, or lower frames or strides"
            )
        stride = int(rng.choice(fitting))
        span = (self.frames - 1) * stride + 1
        first = int(rng.integers(length - span + 1))
        chosen = list(range(first, first + span, stride))
        return chosen[::-1] if rng.random() < self.reverse_share else chosen


class PrecomputedDataModule(StreamDataModule):
    """Training and validation clips from folders of precomputed ones.

    Args:
        folder: Of the training clips, searched through all its sub-folders.
        validation_folder: Of the held-out clips.
        frames: Length of the clips.
        batch_size: Clips per step and process.
        strides: Frame strides to draw from.
        reverse_share: Share of the clips that run backwards.
        seed: Of the stream.
        workers: Reading processes; 0 reads in the training process.

    Raises:
        FileError: A folder without clips.
        InputError: A length, size, stride or share out of range.
    """

    def __init__(
        self,
        *,
        folder: str,
        validation_folder: str,
        frames: int = 16,
        batch_size: int = 1,
        strides: tuple[int, ...] = (1, 2, 4, 8),
        reverse_share: float = 0.5,
        seed: int = 0,
        workers: int = 2,
    ) -> None:
        super().__init__()
        least = min((frames, batch_size, *strides)) if strides else 0
        if least < 1 or not 0.0 <= reverse_share <= 1.0:
            raise InputError(
                "data: expected frames, batch_size and strides of at least 1 and a reverse_share"
                f" from 0 to 1, got {frames}, {batch_size}, {strides} and {reverse_share}"
            )
        self.folder, self.validation_folder = folder, validation_folder
        self.frames, self.batch_size, self.strides = frames, batch_size, strides
        self.reverse_share, self.seed, self.workers = reverse_share, seed, workers

    def train_dataloader(self) -> DataLoader:
        """Give the batches that follow those already used."""
        stream = PrecomputedBatches(
            clips_in(self.folder),
            frames=self.frames,
            batch_size=self.batch_size,
            strides=self.strides,
            reverse_share=self.reverse_share,
            seed=self.seed,
            **self.place_in_stream(),
        )
        return DataLoader(stream, batch_size=None, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader:
        """Give the first frames of the held-out clips, the same every time."""
        files, frames = clips_in(self.validation_folder), range(self.frames)
        clips = [PrecomputedClip.load(file, frames) for file in files]
        # A list is all that a loader needs of a Dataset.
        return DataLoader(clips, batch_size=self.batch_size, collate_fn=collate)  # type: ignore[arg-type]


def clips_in(folder: str | Path) -> list[Path]:
    """List the precomputed clips of a folder and all its sub-folders.

    Raises:
        FileError: There are none.
    """
    files = sorted(Path(folder).rglob("*.safetensors"))
    if not files:
        raise FileError(
            f"{folder}: expected a folder of precomputed clips (.safetensors), got none; make them"
            " with jog3r.training.precompute"
        )
    return files

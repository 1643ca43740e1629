"""Prepared clips as a stream of training batches."""

import logging
import math
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from jog3r.data.precomputed import GEOMETRY, PrecomputedClip
from jog3r.data.sampling import STRIDES, check_sampling, draw_frames, least_length
from jog3r.data.shards import ShardFolder
from jog3r.errors import FileError, InputError
from jog3r.training.streams import BatchStream, StreamDataModule

logger = logging.getLogger(__name__)


def collate(
    clips: Sequence[PrecomputedClip], numbers: Sequence[int] | None = None
) -> dict[str, Any]:
    """Stack clips of one length and size into a batch.

    Args:
        clips: All with geometry or all without.
        numbers: Their places in the stream; None counts from 0.

    Returns:
        `latents` `(B, C, T, h, w)`, `text` `(B, L, E)` and `text_mask` `(B, L)` padded to the
        longest, `caption` and `id`, lists of B strings, `number` `(B,)`; with geometry also `depth`
        `(B, T, H, W)`, `K` `(B, T, 3, 3)` and `world_from_camera` `(B, T, 4, 4)`.

    Raises:
        InputError: Clips of different sizes.
    """
    if len({_size(clip) for clip in clips}) != 1:
        raise InputError(
            "clips: expected one size of latents and depth and one width of text in a batch, got"
            f" {sorted({str(_size(clip)) for clip in clips})}; prepare them alike"
        )
    names = ("latents", *(GEOMETRY if clips[0].has_geometry else ()))
    return {
        **{name: torch.stack([getattr(clip, name) for clip in clips]) for name in names},
        "text": pad_sequence([clip.text for clip in clips], batch_first=True),
        "text_mask": pad_sequence([clip.text_mask for clip in clips], batch_first=True),
        "caption": [clip.caption for clip in clips],
        "id": [clip.id for clip in clips],
        "number": torch.as_tensor(range(len(clips)) if numbers is None else numbers),
    }


def _size(clip: PrecomputedClip) -> tuple[Any, ...]:
    depth = None if clip.depth is None else tuple(clip.depth.shape)
    return tuple(clip.latents.shape), depth, clip.text.shape[1]


class PreparedClips:
    """The clips of some folders of shards that are long enough, by bucket.

    Args:
        folders: That `jog3r data prepare` has made; buckets of one name are joined.
        frames: Length of the clips in a batch.
        strides: Frame strides to draw from.

    Attributes:
        buckets: Of each clip the folder, the number in its bucket there, and the length.

    Raises:
        FileError: A folder that cannot be read, folders of different encodings, or a bucket whose
            clips are all too short.
    """

    def __init__(self, folders: Sequence[str], *, frames: int, strides: Sequence[int]) -> None:
        self.folders = [ShardFolder(folder) for folder in folders]
        encoders = {folder.encoder: str(folder.folder) for folder in self.folders}
        if len(encoders) > 1:
            raise FileError(
                "folder: expected clips of one encoder, since latents of two do not mix, got"
                f" {encoders}; prepare them with the same model"
            )
        self._least = least_length(frames, strides)
        self.buckets = {
            name: self._long_enough(name, frames)
            for name in sorted({name for each in self.folders for name in each.buckets})
        }

    def read(self, bucket: str, place: int, frames: Sequence[int]) -> PrecomputedClip:
        """Read some frames of a clip."""
        folder, number, _ = map(int, self.buckets[bucket][place])
        return self.folders[folder].read(bucket, number, frames)

    def _long_enough(self, name: str, frames: int) -> Int64[np.ndarray, "clips 3"]:
        # One array for all: workers share it, as they would not share a list of objects.
        rows = [
            np.stack([np.full(len(each), folder), np.arange(len(each)), each], axis=1)
            for folder, each in self._lengths(name)
        ]
        clips = np.concatenate(rows)
        kept = clips[clips[:, 2] >= self._least]
        short = len(clips) - len(kept)
        if not len(kept):
            raise FileError(
                f"{name}: expected clips of at least {self._least} frames, for {frames} at the"
                f" smallest stride, got none; the longest of {short} has {clips[:, 2].max()}. Lower"
                " frames or strides"
            )
        if short:
            logger.warning(
                "%s: %d of %d clips are shorter than %d frames and are not used",
                *(name, short, len(clips), self._least),
            )
        return kept

    def _lengths(self, name: str) -> Iterator[tuple[int, Int64[np.ndarray, " clips"]]]:
        for number, folder in enumerate(self.folders):
            if name in folder.buckets:
                yield number, folder.buckets[name].lengths


class PreparedBatches(BatchStream):
    """An endless stream of batches; each clip comes once before any comes again.

    A step's global batch is of one bucket. The steps are divided into rounds; in a round every
    bucket has as many steps as it has clips for, in an order of the round's own, and what does not
    fill a batch is carried over into the next round. Each bucket is a stream of its own, in which
    all of its clips come in an order drawn anew every time.

    Args:
        clips: By bucket.
        frames: Length of the clips in a batch.
        batch_size: Clips per batch and process.
        strides: Frame strides to draw from; those too long for a clip are left out of its draw.
        reverse_share: Share of the clips that run backwards.
        seed: Of the order, the strides, the starts and the directions.
        place: See `BatchStream`.

    Raises:
        InputError: A bucket with fewer clips than a global batch.

    Source: strides and reversal as in JOG3R section 4.
    """

    def __init__(
        self,
        clips: PreparedClips,
        *,
        frames: int,
        batch_size: int,
        strides: Sequence[int],
        reverse_share: float,
        seed: int,
        **place: int,
    ) -> None:
        super().__init__(**place)
        self.clips, self.frames, self.batch_size = clips, frames, batch_size
        self.strides, self.reverse_share, self.seed = tuple(strides), reverse_share, seed
        self.names = list(clips.buckets)
        self.sizes = [len(clips.buckets[name]) for name in self.names]
        self.together = batch_size * self.world_size
        for name, size in zip(self.names, self.sizes, strict=True):
            if size < self.together:
                raise InputError(
                    f"{name}: expected at least {self.together} clips, the batch of all processes,"
                    f" got {size}; lower batch_size, or leave this size out when preparing"
                )

    def batch(self, step: int) -> dict[str, Any]:
        """Read this process' share of a step.

        Raises:
            FileError: A shard that cannot be read any more.
            InputError: Clips of different sizes.
        """
        bucket, before = self._bucket(step)
        numbers = self.numbers(step, self.batch_size)
        first = before * self.together + self.rank * self.batch_size
        clips = [self._clip(bucket, first + place, number) for place, number in enumerate(numbers)]
        return collate(clips, numbers)

    def _bucket(self, step: int) -> tuple[int, int]:
        """Tell which bucket a step is of, and how many steps before it are."""
        round_ = _last_below(step, self._steps_before)
        done = [self._steps_of(bucket, round_) for bucket in range(len(self.sizes))]
        upcoming = [self._steps_of(bucket, round_ + 1) for bucket in range(len(self.sizes))]
        counts = tuple(after - before for before, after in zip(done, upcoming, strict=True))
        order = _order_of_buckets(self.seed, round_, counts)
        place = step - sum(done)
        bucket = int(order[place])
        return bucket, done[bucket] + int((order[:place] == bucket).sum())

    def _steps_before(self, round_: int) -> int:
        return sum(self._steps_of(bucket, round_) for bucket in range(len(self.sizes)))

    def _steps_of(self, bucket: int, round_: int) -> int:
        """Count the steps of a bucket before a round."""
        return round_ * self.sizes[bucket] // self.together

    def _clip(self, bucket: int, index: int, number: int) -> PrecomputedClip:
        """Read a clip, the index-th of its bucket and the number-th of the whole stream."""
        turn, within = divmod(index, self.sizes[bucket])
        order = _order_of_clips(self.seed, bucket, turn, self.sizes[bucket])
        name, place = self.names[bucket], int(order[within])
        frames = draw_frames(
            int(self.clips.buckets[name][place, 2]),
            frames=self.frames,
            strides=self.strides,
            reverse_share=self.reverse_share,
            rng=np.random.default_rng([self.seed, 1, number]),
        )
        assert frames is not None  # clips that are too short are in no bucket
        return self.clips.read(name, place, frames)


@lru_cache(maxsize=4)
def _order_of_clips(seed: int, bucket: int, turn: int, clips: int) -> np.ndarray:
    return np.random.default_rng([seed, 0, bucket, turn]).permutation(clips)


@lru_cache(maxsize=2)
def _order_of_buckets(seed: int, round_: int, counts: tuple[int, ...]) -> np.ndarray:
    steps = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng([seed, 2, round_]).permutation(steps)


def _last_below(step: int, steps_before: Any) -> int:
    """Find the round that a step is in: the last that begins at it or before."""
    low, high = 0, 1
    while steps_before(high) <= step:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if steps_before(middle) <= step else (low, middle)
    return low


class PreparedDataModule(StreamDataModule):
    """Training and validation clips from folders of shards.

    Args:
        folder: Of the training clips, or a list of folders of one encoding.
        validation_folder: Of the held-out clips, likewise.
        frames: Length of the clips.
        batch_size: Clips per step and process.
        strides: Frame strides to draw from.
        reverse_share: Share of the clips that run backwards.
        seed: Of the stream.
        workers: Reading processes; 0 reads in the training process.

    Raises:
        FileError: A folder without clips that are long enough.
        InputError: A length, size, stride or share out of range; a bucket with fewer clips than the
            batch of all processes.
    """

    def __init__(
        self,
        *,
        folder: str | list[str],
        validation_folder: str | list[str],
        frames: int = 16,
        batch_size: int = 1,
        strides: tuple[int, ...] = STRIDES,
        reverse_share: float = 0.5,
        seed: int = 0,
        workers: int = 2,
    ) -> None:
        super().__init__()
        check_sampling(frames=frames, strides=strides, reverse_share=reverse_share)
        if batch_size < 1 or workers < 0 or seed < 0:
            raise InputError(
                "data: expected a batch_size of at least 1, and workers and a seed of at least 0,"
                f" got {batch_size}, {workers} and {seed}"
            )
        self.folder, self.validation_folder = _listed(folder), _listed(validation_folder)
        self.frames, self.batch_size, self.strides = frames, batch_size, tuple(strides)
        self.reverse_share, self.seed, self.workers = reverse_share, seed, workers

    def stream_settings(self) -> dict[str, Any]:
        """Give what decides which clips come when: the clips themselves, and how they are drawn."""
        return {
            "clips": {name: len(places) for name, places in self._clips.buckets.items()},
            "encoder": self._clips.folders[0].encoder,
            "frames": self.frames,
            "strides": list(self.strides),
            "reverse_share": self.reverse_share,
            "seed": self.seed,
        }

    def clips_per_process(self) -> int:
        """Give the clips of a batch."""
        return self.batch_size

    def train_dataloader(self) -> DataLoader:
        """Give the batches that follow those already used."""
        stream = PreparedBatches(
            self._clips,
            frames=self.frames,
            batch_size=self.batch_size,
            strides=self.strides,
            reverse_share=self.reverse_share,
            seed=self.seed,
            **self.place_in_stream(),
        )
        return DataLoader(stream, batch_size=None, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader:
        """Give the first frames of the held-out clips, the same every time, bucket by bucket."""
        clips = PreparedClips(self.validation_folder, frames=self.frames, strides=(1,))
        processes = self.place_in_stream()["world_size"]
        held_out = _HeldOut(
            clips, frames=self.frames, batch_size=self.batch_size, processes=processes
        )
        return DataLoader(held_out, batch_size=None, num_workers=self.workers)

    @cached_property
    def _clips(self) -> PreparedClips:
        return PreparedClips(self.folder, frames=self.frames, strides=self.strides)


class _HeldOut(Dataset[dict[str, Any]]):
    """Batches of the first frames of all clips, bucket by bucket.

    Processes that take them in turn get batches of one bucket and one size at the same time, since
    those that share weights must go through the same passes. So the last clips of a bucket are
    divided among them, and filled up with its first ones where they do not divide.
    """

    def __init__(
        self, clips: PreparedClips, *, frames: int, batch_size: int, processes: int = 1
    ) -> None:
        self._clips, self._frames = clips, range(frames)
        self._batches: list[tuple[str, list[int], int]] = []
        done = 0
        for name, places in clips.buckets.items():
            for first in range(0, len(places), batch_size * processes):
                size = min(batch_size, math.ceil((len(places) - first) / processes))
                for start in range(first, first + size * processes, size):
                    batch = [place % len(places) for place in range(start, start + size)]
                    self._batches.append((name, batch, done))
            done += len(places)

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> dict[str, Any]:
        name, places, before = self._batches[index]
        clips = [self._clips.read(name, place, self._frames) for place in places]
        return collate(clips, [before + place for place in places])


def _listed(folder: str | list[str]) -> list[str]:
    folders = [folder] if isinstance(folder, str) else list(folder)
    if not folders:
        raise InputError("folder: expected at least one folder of shards, got none")
    return folders

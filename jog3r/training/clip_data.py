"""Clips of data sets as they are, decoded while training runs.

Prepared shards (`jog3r.training.prepared_data`) hold latents. Who trains on pixels, as DUSt3R does,
or on latents that span several frames, whose stride cannot be drawn afterwards, reads the clips
themselves.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from jog3r.data.clip import Clip, Part
from jog3r.data.clip_fit import fit_clip
from jog3r.data.readers.interface import ClipEntry, ClipReader
from jog3r.data.readers.registry import open_reader
from jog3r.data.sampling import STRIDES, check_sampling, draw_frames, least_length
from jog3r.errors import FileError, InputError
from jog3r.geometry.transforms import invert
from jog3r.training.streams import BatchStream, StreamDataModule

logger = logging.getLogger(__name__)

GEOMETRY: tuple[Part, ...] = ("frames", "K", "world_from_camera", "depth")
LONGEST_ROW_OF_FAILURES = 20
"""So many unreadable clips one after the other are no accident."""


@dataclass(frozen=True, kw_only=True)
class ClipSource:
    """A data set to draw clips from.

    Args:
        folder: Where it lies; null for a reader that needs none.
        reader: Its layout, as `jog3r data check --as` names it.
        options: Of that reader.
    """

    folder: str | None
    reader: str
    options: dict[str, Any] = field(default_factory=dict)

    def open(self) -> ClipReader:
        """Open it; nothing is decoded yet."""
        return open_reader(self.folder, self.reader, **self.options)


@dataclass(frozen=True)
class UsableClips:
    """The clips of some data sets that have what a training needs.

    Args:
        places: Reader and entry of each, data set by data set.
        parts: What all of them have.
    """

    places: tuple[tuple[ClipReader, ClipEntry], ...]
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, sources: Sequence[ClipSource], parts: Sequence[Part], least: int) -> "UsableClips":
        """Look over data sets; what is left out is counted in the log.

        Args:
            sources: The data sets.
            parts: What every clip must have.
            least: Frames that it must have.

        Raises:
            FileError: A folder is missing, or one has no clip that is left.
            InputError: No such reader, or no data set.
        """
        if not sources:
            raise InputError("data: expected data sets, got none; name one")
        kept: list[tuple[ClipReader, ClipEntry]] = []
        for source in sources:
            reader = source.open()
            entries = reader.index.entries
            usable = [e for e in entries if e.length >= least and e.parts >= set(parts)]
            logger.log(
                logging.WARNING if len(usable) < reader.index.announced else logging.INFO,
                "%s: %d clips announced, %d readable, %d with %s and at least %d frames",
                *(source.folder, reader.index.announced, len(entries), len(usable)),
                *(", ".join(parts), least),
            )
            if not usable:
                raise FileError(
                    f"data: expected clips with {[*parts]} and at least {least} frames in"
                    f" {source.folder}, got none; run jog3r data check, or leave it out"
                )
            kept += [(reader, entry) for entry in usable]
        return cls(tuple(kept), tuple(parts))

    def __len__(self) -> int:
        return len(self.places)

    def read(self, number: int, frames: Sequence[int]) -> Clip:
        """Decode frames of a clip.

        Raises:
            FileError: It is broken.
        """
        reader, entry = self.places[number]
        return reader.read(entry, frames)


class ClipBatches(BatchStream):
    """An endless stream of batches; each clip comes once before any comes again.

    A clip that turns out to be broken is replaced by the next one in the order, and counted in the
    log; the order does not change by it.

    Args:
        clips: To draw from.
        size: Height and width of the frames [px].
        frames: Length of the clips in a batch.
        batch_size: Clips per batch and process.
        strides: Frame strides to draw from.
        reverse_share: Share of the clips that run backwards.
        seed: Of the order, the strides, the starts and the directions.
        place: See `BatchStream`.
    """

    def __init__(
        self,
        clips: UsableClips,
        *,
        size: tuple[int, int],
        frames: int,
        batch_size: int,
        strides: Sequence[int],
        reverse_share: float,
        seed: int,
        **place: int,
    ) -> None:
        super().__init__(**place)
        self.clips, self.size, self.frames = clips, size, frames
        self.batch_size, self.strides = batch_size, tuple(strides)
        self.reverse_share, self.seed, self.skipped = reverse_share, seed, 0

    def batch(self, step: int) -> dict[str, Any]:
        """Read this process' share of a step.

        Raises:
            FileError: Many clips in a row cannot be read.
        """
        numbers = self.numbers(step, self.batch_size)
        clips = [as_tensors(self.clip(number), self.clips.parts) for number in numbers]
        return collate(clips, numbers)

    def clip(self, number: int) -> Clip:
        """Read the number-th clip of the whole stream, fitted to the size.

        Raises:
            FileError: It and the next ones in the order cannot be read.
        """
        round_, place = divmod(number, len(self.clips))
        order = _order_of_clips(self.seed, round_, len(self.clips))
        reasons = []
        for more in range(min(len(order), LONGEST_ROW_OF_FAILURES)):
            candidate = int(order[(place + more) % len(order)])
            try:
                return fit_clip(self._read(candidate, number), self.size)
            # The second of cameras whose centre is not in the part that is cut out.
            except (FileError, InputError) as error:
                reasons.append(str(error))
                self.skipped += 1
                logger.warning("skipped %d clips by now, the last: %s", self.skipped, error)
        raise FileError(
            f"data: expected readable clips, got {len(reasons)} broken ones in a row, the last:"
            f" {reasons[-1]}; run jog3r data check --decode"
        )

    def _read(self, candidate: int, number: int) -> Clip:
        rng = np.random.default_rng([self.seed, 1, number])
        _, entry = self.clips.places[candidate]
        chosen = draw_frames(
            entry.length,
            frames=self.frames,
            strides=self.strides,
            reverse_share=self.reverse_share,
            rng=rng,
        )
        assert chosen is not None, "UsableClips holds none that is too short"
        return self.clips.read(candidate, chosen)


@lru_cache(maxsize=4)
def _order_of_clips(seed: int, round_: int, clips: int) -> np.ndarray:
    return np.random.default_rng([seed, 0, round_]).permutation(clips)


class ClipDataModule(StreamDataModule):
    """Training and validation clips of data sets, decoded while training runs.

    Args:
        sources: Data sets to train on; a clip of a large one comes as often as one of a small one.
        validation_sources: Held-out ones.
        size: Height and width of the frames [px]: centre crop to this shape, then resized.
        parts: What a clip must have to be used; batches hold no more than that.
        frames: Length of the clips.
        batch_size: Clips per step and process.
        strides: Frame strides to draw from; those too long for a clip are left out of its draw.
        reverse_share: Share of the clips that run backwards.
        validation_clips: So many of the held-out clips, spread over all, are validated on.
        seed: Of order, strides, starts and directions.
        workers: Reading processes; 0 reads in the training process.

    Raises:
        InputError: A number out of range, or parts without frames.
    """

    def __init__(
        self,
        *,
        sources: list[ClipSource],
        validation_sources: list[ClipSource],
        size: tuple[int, int] = (512, 512),
        parts: tuple[Part, ...] = GEOMETRY,
        frames: int = 2,
        batch_size: int = 1,
        strides: tuple[int, ...] = STRIDES,
        reverse_share: float = 0.5,
        validation_clips: int = 64,
        seed: int = 0,
        workers: int = 4,
    ) -> None:
        super().__init__()
        check_sampling(frames=frames, strides=strides, reverse_share=reverse_share)
        if min(batch_size, validation_clips, *size) < 1 or "frames" not in parts:
            raise InputError(
                "data: expected batch_size, validation_clips and size of at least 1 and 'frames'"
                f" among the parts, got {batch_size}, {validation_clips}, {size} and {parts}"
            )
        if min(workers, seed) < 0:
            raise InputError(
                f"data: expected workers and a seed of at least 0, got {workers} and {seed}"
            )
        self.sources, self.validation_sources = sources, validation_sources
        self.size, self.parts, self.validation_clips = size, parts, validation_clips
        self.frames, self.strides = frames, strides
        self.reverse_share, self.seed = reverse_share, seed
        self.batch_size, self.workers = batch_size, workers

    def stream_settings(self) -> dict[str, Any]:
        """Give what decides which clips come when."""
        sources = [asdict(source) for source in self.sources]
        return {**self._drawing(), "parts": self.parts, "sources": sources}

    def clips_per_process(self) -> int:
        """Give the clips of a batch."""
        return self.batch_size

    def train_dataloader(self) -> DataLoader:
        """Give the batches that follow those already used."""
        return self._loader(self._stream_of(self.sources, **self.place_in_stream()))

    def val_dataloader(self) -> DataLoader:
        """Give the same held-out clips every time, spread over all of them."""
        stream = self._stream_of(self.validation_sources)
        steps = min(self.validation_clips, len(stream.clips)) // self.batch_size
        # A list is all that a loader needs of a Dataset.
        held_out = _Batches(stream, range(max(steps, 1)))
        return self._loader(cast("Any", held_out))

    def _stream_of(self, sources: Sequence[ClipSource], **place: Any) -> Any:
        least = least_length(self.frames, self.strides)
        clips = UsableClips.of(sources, self.parts, least)
        return ClipBatches(
            clips, size=self.size, batch_size=self.batch_size, **self._drawing(), **place
        )

    def _drawing(self) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "strides": self.strides,
            "reverse_share": self.reverse_share,
            "seed": self.seed,
        }

    def _loader(self, batches: Any) -> DataLoader:
        return DataLoader(batches, batch_size=None, num_workers=self.workers)


@dataclass(frozen=True)
class _Batches:
    """Some steps of a stream, as a data set of batches."""

    stream: Any
    steps: range

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return self.stream.batch(self.steps[place])


def as_tensors(clip: Clip, parts: Sequence[Part]) -> dict[str, Any]:
    """Give what a training step takes of a clip, the world at its first camera.

    Args:
        clip: Has all the parts.
        parts: What is wanted.

    Returns:
        `id` and the parts under their own names, but `frames` as `video` `(T, 3, H, W)` in [-1, 1].
        Depth is 0 where the clip's mask says that a pixel may not be used.
    """
    found: dict[str, Any] = {"id": clip.id, **{part: getattr(clip, part) for part in parts}}
    video = found.pop("frames").permute(0, 3, 1, 2)
    if "world_from_camera" in found:
        cameras = found["world_from_camera"]
        found["world_from_camera"] = invert(cameras[:1]) @ cameras
    if "depth" in found and clip.mask is not None:
        found["depth"] = torch.where(clip.mask, found["depth"], 0.0)
    return {**found, "video": video.float() / 127.5 - 1.0}


def collate(clips: Sequence[dict[str, Any]], numbers: Sequence[int]) -> dict[str, Any]:
    """Stack clips into a batch.

    Args:
        clips: As `as_tensors` gives them.
        numbers: Their places in the stream.
    """
    columns = {name: [clip[name] for clip in clips] for name in clips[0]}
    stacked = {
        name: torch.stack(column) if isinstance(column[0], Tensor) else column
        for name, column in columns.items()
    }
    return {**stacked, "number": torch.as_tensor(numbers)}

"""The controlled world as a stream of training batches, rendered on the fly."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from jog3r.data.world import HELD_OUT, World, WorldClip, WorldConfig
from jog3r.data.world.scene import SceneConfig
from jog3r.errors import InputError
from jog3r.training.streams import BatchStream, StreamDataModule

# A stream owns 2^32 seeds, one per clip. So the streams below this number stay clear of the
# held-out seeds.
_SEEDS_PER_STREAM = 1 << 32
_STREAMS = HELD_OUT // _SEEDS_PER_STREAM


def collate(clips: Sequence[WorldClip], numbers: Sequence[int] | None = None) -> dict[str, Any]:
    """Stack clips into a batch.

    Args:
        clips: Of one length.
        numbers: Their places in the stream; None counts from 0.

    Returns:
        `video` `(B, T, 3, H, W)` float32 in [-1, 1]; `depth` `(B, T, H, W)` [m], 0 where there is
        nothing; `K` `(B, T, 3, 3)` [px]; `world_from_camera` `(B, T, 4, 4)`; `caption` and `id`
        (the seed), lists of B strings; `number` `(B,)`.
    """
    frames = torch.from_numpy(np.stack([clip.frames for clip in clips])).permute(0, 1, 4, 2, 3)
    stack = {
        name: torch.from_numpy(np.stack([getattr(clip, name) for clip in clips]))
        for name in ("depth", "K", "world_from_camera")
    }
    return {
        "video": frames.float() / 127.5 - 1.0,
        **stack,
        "caption": [clip.caption for clip in clips],
        "number": torch.as_tensor(range(len(clips)) if numbers is None else numbers),
        "id": [str(clip.seed) for clip in clips],
    }


class WorldBatches(BatchStream):
    """An endless stream of batches, each depending on the seed and its step alone.

    Args:
        world: Where clips come from.
        seed: Which stream, from 0 to 255.
        frames_per_batch: Frames per batch and process: clips of T frames come
            frames_per_batch / T at a time.
        clip_lengths: Length T -> share of the steps.
        place: See `BatchStream`.
    """

    def __init__(
        self,
        world: World,
        *,
        seed: int,
        frames_per_batch: int,
        clip_lengths: dict[int, float],
        **place: int,
    ) -> None:
        super().__init__(**place)
        self.world, self.seed = world, seed
        self.frames_per_batch, self.clip_lengths = frames_per_batch, clip_lengths

    def batch(self, step: int) -> dict[str, Any]:
        """Render this process' share of a step.

        Raises:
            InputError: The stream has no more seeds.
        """
        rng = np.random.default_rng([self.seed, step])
        lengths = list(self.clip_lengths)
        shares = np.asarray([self.clip_lengths[length] for length in lengths])
        length = int(rng.choice(lengths, p=shares / shares.sum()))
        most = self.frames_per_batch // min(lengths)
        numbers = self.numbers(step, self.frames_per_batch // length, most=most)
        if numbers.stop > _SEEDS_PER_STREAM:
            raise InputError(
                f"data: expected at most {_SEEDS_PER_STREAM} clips of one stream, got to clip"
                f" {numbers.stop} at step {step}; go on with another seed"
            )
        seeds = (self.seed * _SEEDS_PER_STREAM + number for number in numbers)
        return collate(
            [self.world.clip(seed, length, vary_caption=True) for seed in seeds], numbers
        )


class WorldDataModule(StreamDataModule):
    """Training and validation clips of the controlled world.

    Args:
        size: Height and width of the frames [px].
        samples: Rays per pixel and axis for colour.
        shadows: Whether lamps cast shadows.
        photos: Folder of photographs for walls and objects; null for none.
        photo_share: Share of walls and objects that carry a photograph.
        open_share: Share of scenes on open ground.
        seed: Which stream of clips, from 0 to 255.
        frames_per_batch: Frames per batch and process.
        clip_lengths: Clip length -> share of the batches; null for 16 frames always.
        validation_clips: Held-out clips per validation.
        validation_frames: Their length.
        workers: Rendering processes; 0 renders in the training process.

    Raises:
        InputError: A clip length does not divide frames_per_batch, a share is negative, or there is
            no such stream.
        FileError: A folder of photographs without any.
    """

    def __init__(
        self,
        *,
        size: int = 64,
        samples: int = 2,
        shadows: bool = True,
        photos: str | None = None,
        photo_share: float = 0.15,
        open_share: float = 0.25,
        seed: int = 0,
        frames_per_batch: int = 128,
        clip_lengths: dict[int, float] | None = None,
        validation_clips: int = 16,
        validation_frames: int = 16,
        workers: int = 1,
    ) -> None:
        super().__init__()
        lengths = {16: 1.0} if clip_lengths is None else clip_lengths
        _check_stream(seed, frames_per_batch, lengths)
        scene = SceneConfig(photo_share=photo_share, open_share=open_share)
        self.world = World(
            WorldConfig(size=size, samples=samples, shadows=shadows, photos=photos, scene=scene)
        )
        self.seed, self.workers = seed, workers
        self.frames_per_batch, self.clip_lengths = frames_per_batch, lengths
        self.validation_clips, self.validation_frames = validation_clips, validation_frames

    def stream_settings(self) -> dict[str, Any]:
        """Give what decides which clips come when, wherever the photographs lie."""
        world = self.world.config
        photos = world.photos and Path(world.photos).name
        looks = asdict(replace(world, photos=photos))
        return {"seed": self.seed, "clip_lengths": self.clip_lengths, **looks}

    def clips_per_process(self) -> int:
        """Give the frames of a batch."""
        return self.frames_per_batch

    def train_dataloader(self) -> DataLoader:
        """Give the batches that follow those already used."""
        # Compiles the caster before the workers fork, so that they inherit it.
        self.world.clip(HELD_OUT, 1)
        stream = WorldBatches(
            self.world,
            seed=self.seed,
            frames_per_batch=self.frames_per_batch,
            clip_lengths=self.clip_lengths,
            **self.place_in_stream(),
        )
        return DataLoader(
            stream,
            batch_size=None,
            num_workers=self.workers,
            worker_init_fn=_one_thread,
            prefetch_factor=3 if self.workers else None,
        )

    def val_dataloader(self) -> DataLoader:
        """Give the same held-out clips every time, four to a batch."""
        seeds = range(HELD_OUT, HELD_OUT + self.validation_clips)
        clips = [self.world.clip(seed, self.validation_frames) for seed in seeds]
        numbered = list(zip(clips, range(len(clips)), strict=True))
        # A list is all that a loader needs of a Dataset.
        return DataLoader(numbered, batch_size=4, collate_fn=_collate_numbered)  # type: ignore[arg-type]


def _collate_numbered(pairs: Sequence[tuple[WorldClip, int]]) -> dict[str, Any]:
    return collate(*zip(*pairs, strict=True))


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


def _check_stream(seed: int, frames_per_batch: int, clip_lengths: dict[int, float]) -> None:
    if not 0 <= seed < _STREAMS:
        raise InputError(
            f"seed: expected 0 to {_STREAMS - 1}, got {seed}; from {_STREAMS} on are held-out clips"
        )
    if frames_per_batch < 1:
        raise InputError(f"frames_per_batch: expected 1 or more, got {frames_per_batch}")
    shares = clip_lengths.values()
    whole = all(length >= 1 and frames_per_batch % length == 0 for length in clip_lengths)
    if not whole or min(shares, default=-1.0) < 0.0 or sum(shares) <= 0.0:
        raise InputError(
            f"clip_lengths: expected lengths that divide frames_per_batch = {frames_per_batch},"
            f" with shares >= 0, got {clip_lengths}"
        )

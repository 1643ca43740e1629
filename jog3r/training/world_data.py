"""The controlled world as a stream of training batches, rendered on the fly."""

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from jog3r.data.world import HELD_OUT, World, WorldClip, WorldConfig
from jog3r.data.world.scene import SceneConfig
from jog3r.errors import InputError

# Seeds of one batch are consecutive; this many are reserved for it, more than any batch has clips.
_SEEDS_PER_BATCH = 4096


def collate(clips: list[WorldClip]) -> dict[str, Any]:
    """Stack clips into a batch.

    Returns:
        `video` `(B, T, 3, H, W)` float32 in [-1, 1]; `depth` `(B, T, H, W)`, 0 where there is nothing; `K` `(B, T, 3, 3)`;
        `world_from_camera` `(B, T, 4, 4)`; `caption`, a list of B strings.
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
    }


class WorldBatches(IterableDataset[dict[str, Any]]):
    """An endless stream of batches; batch i depends on the seed and i alone, whatever the number of workers and ranks.

    Args:
        world: Where clips come from.
        seed: Which stream.
        frames_per_batch: Frames in a batch: clips of T frames come frames_per_batch / T at a time.
        clip_lengths: Length T -> share of the batches.
        first: Index of the first batch, for resuming.
        rank: Which process this is.
        world_size: How many processes share the stream.
    """

    def __init__(
        self,
        world: World,
        *,
        seed: int,
        frames_per_batch: int,
        clip_lengths: dict[int, float],
        first: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Nothing is rendered before the first batch is asked for."""
        self.world, self.seed, self.first, self.rank, self.world_size = (
            world,
            seed,
            first,
            rank,
            world_size,
        )
        self.frames_per_batch, self.clip_lengths = frames_per_batch, clip_lengths

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield this worker's batches in order."""
        worker = get_worker_info()
        number, count = (worker.id, worker.num_workers) if worker else (0, 1)
        index = self.first + number
        while True:
            yield self.batch(index * self.world_size + self.rank)
            index += count

    def batch(self, index: int) -> dict[str, Any]:
        """The index-th batch of the whole stream."""
        rng = np.random.default_rng([self.seed, index])
        lengths = list(self.clip_lengths)
        shares = np.asarray([self.clip_lengths[length] for length in lengths])
        length = int(rng.choice(lengths, p=shares / shares.sum()))
        start = (self.seed << 32) + index * _SEEDS_PER_BATCH
        seeds = range(start, start + max(self.frames_per_batch // length, 1))
        return collate([self.world.clip(seed, length, vary_caption=True) for seed in seeds])


class WorldDataModule(pl.LightningDataModule):
    """Training and validation clips of the controlled world."""

    def __init__(
        self,
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
        """Plain values, as recipes give them.

        Args:
            size: Height and width of the frames [px].
            samples: Rays per pixel and axis for colour.
            shadows: Whether lamps cast shadows.
            photos: Folder of photographs for walls and objects; null for none.
            photo_share: Share of walls and objects that carry a photograph.
            open_share: Share of scenes on open ground.
            seed: Which stream of clips.
            frames_per_batch: Frames per batch and process.
            clip_lengths: Clip length -> share of the batches; null for 16 frames always.
            validation_clips: Held-out clips per validation.
            validation_frames: Their length.
            workers: Rendering processes; 0 renders in the training process.

        Raises:
            InputError: A clip length does not divide frames_per_batch, or a share is negative.
        """
        super().__init__()
        lengths = clip_lengths or {16: 1.0}
        if any(frames_per_batch % length for length in lengths) or min(lengths.values()) < 0.0:
            raise InputError(
                f"clip_lengths: expected lengths that divide frames_per_batch={frames_per_batch} with shares >= 0, got {lengths}"
            )
        scene = SceneConfig(photo_share=photo_share, open_share=open_share)
        self.world = World(
            WorldConfig(size=size, samples=samples, shadows=shadows, photos=photos, scene=scene)
        )
        self.seed, self.workers = seed, workers
        self.frames_per_batch, self.clip_lengths = frames_per_batch, lengths
        self.validation_clips, self.validation_frames = validation_clips, validation_frames
        self.batches_done = 0

    def train_dataloader(self) -> DataLoader:
        """Batches that follow those already used."""
        self.world.clip(
            HELD_OUT, 1
        )  # compiles the caster before the workers fork, so that they inherit it
        trainer = self.trainer
        stream = WorldBatches(
            self.world,
            seed=self.seed,
            frames_per_batch=self.frames_per_batch,
            clip_lengths=self.clip_lengths,
            first=self.batches_done,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
        )
        return DataLoader(
            stream,
            batch_size=None,
            num_workers=self.workers,
            worker_init_fn=_one_thread,
            prefetch_factor=3 if self.workers else None,
        )

    def val_dataloader(self) -> DataLoader:
        """The same held-out clips every time, four to a batch."""
        seeds = range(HELD_OUT, HELD_OUT + self.validation_clips)
        clips = [self.world.clip(seed, self.validation_frames) for seed in seeds]
        return DataLoader(clips, batch_size=4, collate_fn=collate)  # type: ignore[arg-type]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Count what training has used, so that a resumed run goes on with the next batch."""
        if self.trainer and self.trainer.training:
            self.batches_done += 1
        return batch

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: how many batches are done."""
        return {"batches_done": self.batches_done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the last batch."""
        self.batches_done = int(state_dict["batches_done"])


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


def frames_of(batch: dict[str, Any]) -> Tensor:
    """All frames of a batch, `(B * T, 3, H, W)`."""
    return batch["video"].flatten(0, 1)

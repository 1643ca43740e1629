from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader

from jog3r.data.world import World, WorldConfig
from jog3r.errors import InputError
from jog3r.training.world_data import WorldBatches, WorldDataModule, collate


@pytest.fixture(scope="module")
def world() -> World:
    made = World(WorldConfig(size=16, samples=1, shadows=False))
    made.clip(0, 1)  # compiles before processes fork
    return made


def stream(world: World, **changed: int) -> WorldBatches:
    lengths = {1: 0.3, 2: 0.3, 4: 0.4}
    return WorldBatches(world, seed=3, frames_per_batch=8, clip_lengths=lengths, **changed)


def test_a_batch_is_what_the_model_takes(world: World) -> None:
    clips = [world.clip(seed, 3) for seed in (1, 2)]
    batch = collate(clips)
    assert batch["video"].shape == (2, 3, 3, 16, 16)
    back = ((batch["video"] + 1.0) * 127.5).round().to(torch.uint8).permute(0, 1, 3, 4, 2)
    assert torch.equal(back[1], torch.from_numpy(clips[1].frames))
    assert batch["depth"].shape == (2, 3, 16, 16)
    assert batch["K"].shape == (2, 3, 3, 3)
    assert batch["world_from_camera"].shape == (2, 3, 4, 4)
    assert batch["caption"] == [clip.caption for clip in clips]


def test_every_batch_has_the_same_number_of_frames(world: World) -> None:
    batches = [stream(world).batch(index) for index in range(8)]
    sizes = {tuple(batch["video"].shape[:2]) for batch in batches}
    assert sizes == {(8, 1), (4, 2), (2, 4)}


def test_a_batch_tells_its_clips(world: World) -> None:
    stream = WorldBatches(world, seed=3, frames_per_batch=8, clip_lengths={4: 1.0})
    batch = stream.batch(5)
    assert batch["number"].tolist() == [10, 11]
    assert batch["id"] == [str((3 << 32) + number) for number in (10, 11)]
    seed = int(batch["id"][1])
    assert batch["caption"][1] == world.clip(seed, 4, vary_caption=True).caption


def test_processes_divide_the_same_clips(world: World) -> None:
    """One process with twice the frames sees in every step what two see together."""
    for step in range(6):
        shares = [stream(world, rank=rank, world_size=2).batch(step) for rank in (0, 1)]
        whole = WorldBatches(
            world, seed=3, frames_per_batch=16, clip_lengths={1: 0.3, 2: 0.3, 4: 0.4}
        ).batch(step)
        assert torch.equal(torch.cat([each["video"] for each in shares]), whole["video"])
        assert torch.equal(torch.cat([each["number"] for each in shares]), whole["number"])
        assert shares[0]["id"] + shares[1]["id"] == whole["id"]


def test_a_stream_ends_before_the_next_one(world: World) -> None:
    with pytest.raises(InputError, match="expected at most 4294967296 clips of one stream"):
        stream(world).batch(1 << 29)


def test_held_out_clips_are_numbered() -> None:
    data = WorldDataModule(size=16, validation_clips=6, validation_frames=2, workers=0)
    numbers = torch.cat([batch["number"] for batch in data.val_dataloader()])
    assert numbers.tolist() == list(range(6))


@pytest.mark.parametrize("workers", [1, 2])
def test_rendering_processes_change_nothing(world: World, workers: int) -> None:
    loader = DataLoader(
        stream(world), batch_size=None, num_workers=workers, multiprocessing_context="fork"
    )
    alone = islice(stream(world), 4)
    for one, other in zip(alone, islice(loader, 4), strict=True):
        assert torch.equal(one["video"], other["video"])
        assert torch.equal(one["depth"], other["depth"])
        assert one["caption"] == other["caption"]


def test_batches_share_no_clip(world: World) -> None:
    seen = [frame for i in range(4) for frame in stream(world).batch(i)["video"][:, 0]]
    for i, first in enumerate(seen):
        assert not any(torch.equal(first, other) for other in seen[i + 1 :])

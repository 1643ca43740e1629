"""Streams of prepared clips: every clip in turn, the same whatever reads them."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DistributedSampler

from jog3r.data.precomputed import PrecomputedClip
from jog3r.data.shard_writing import new_portion, write_manifest, write_shards
from jog3r.errors import FileError, InputError
from jog3r.training.prepared_data import (
    PreparedBatches,
    PreparedClips,
    PreparedDataModule,
    _HeldOut,
)

LENGTH = 9
K = torch.tensor([[8.0, 0.0, 4.0], [0.0, 8.0, 4.0], [0.0, 0.0, 1.0]])


def made(
    number: int, *, length: int = LENGTH, tokens: int = 3, geometry: bool = True, side: int = 8
) -> PrecomputedClip:
    """Return a clip whose latents say which clip and which frame they are of."""
    latents = torch.arange(length)[None, :, None, None] + 100.0 * number
    poses = torch.eye(4).repeat(length, 1, 1)
    poses[:, 0, 3] = torch.arange(length)
    known: dict[str, Any] = {}
    if geometry:
        known = {"depth": torch.ones(length, side, side), "K": K.expand(length, -1, -1)}
        known["world_from_camera"] = poses
    return PrecomputedClip(
        id=str(number),
        latents=latents.expand(2, -1, side // 4, side // 4),
        text=torch.full((tokens, 4), float(number)),
        text_mask=torch.ones(tokens, dtype=torch.bool),
        caption=f"clip {number}",
        **known,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five clips of one size."""
    folder = tmp_path_factory.mktemp("five")
    clips = [made(number, tokens=number + 1) for number in range(5)]
    write_shards(folder, clips, size=(8, 8), encoder="mine")
    return folder


@pytest.fixture(scope="module")
def buckets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nineteen clips in three buckets: 10 of 8x8, 6 of 16x16, 3 without geometry."""
    folder = tmp_path_factory.mktemp("buckets")
    with new_portion(folder, 0) as portion:
        for number in range(10):
            portion.add(number, made(number), (8, 8))
        for number in range(10, 16):
            portion.add(number, made(number, side=16), (16, 16))
        for number in range(16, 19):
            portion.add(number, made(number, geometry=False), (8, 8))
    write_manifest(folder, 1, settings={"encoder": "mine"})
    return folder


def stream(*folders: Path, **changed: Any) -> PreparedBatches:
    given = {"frames": 3, "batch_size": 2, "strides": (1, 2, 8), "reverse_share": 0.5, "seed": 1}
    given |= changed
    clips = PreparedClips(
        [str(folder) for folder in folders], frames=given["frames"], strides=given["strides"]
    )
    return PreparedBatches(clips, **given)


def test_every_clip_comes_once_a_round(folder: Path) -> None:
    batches = [stream(folder).batch(i) for i in range(10)]
    ids = [id_ for batch in batches for id_ in batch["id"]]
    rounds = [ids[i : i + 5] for i in range(0, 20, 5)]
    assert all(sorted(each) == [str(n) for n in range(5)] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1
    assert torch.cat([batch["number"] for batch in batches]).tolist() == list(range(20))


def test_strides_and_directions(folder: Path) -> None:
    steps: Counter[int] = Counter()
    batches = stream(folder)
    for index in range(60):
        batch = batches.batch(index)
        assert batch["latents"].shape == (2, 2, 3, 2, 2)
        frames = batch["latents"][:, 0, :, 0, 0]
        step = frames.diff(dim=1)
        assert torch.equal(step[:, 0], step[:, 1])
        steps.update(step[:, 0].int().tolist())
        torch.testing.assert_close(batch["world_from_camera"][:, 1, 0, 3], step[:, 0])
    # Stride 8 does not fit nine frames; the other four come equally often.
    assert set(steps) == {-2, -1, 1, 2}
    assert min(steps.values()) > 15


def test_options_change_what_is_drawn(folder: Path) -> None:
    assert stream(folder, reverse_share=0.0).batch(0)["latents"].diff(dim=2).min() > 0
    assert stream(folder, strides=(2,)).batch(0)["latents"].diff(dim=2).abs().min() == 2
    orders = {tuple(stream(folder, seed=seed, batch_size=5).batch(0)["id"]) for seed in range(4)}
    assert len(orders) > 1


def test_texts_are_padded_to_the_longest(folder: Path) -> None:
    batch = stream(folder, batch_size=5).batch(0)
    assert batch["text"].shape == (5, 5, 4)
    lengths = [int(caption[-1]) + 1 for caption in batch["caption"]]
    assert batch["text_mask"].sum(dim=1).tolist() == lengths
    assert not batch["text"][~batch["text_mask"]].any()


def test_a_stream_goes_on_where_it_stopped(folder: Path) -> None:
    whole = iter(stream(folder))
    batches = [next(whole) for _ in range(4)]
    rest = iter(stream(folder, first=2))
    for batch in batches[2:]:
        assert torch.equal(next(rest)["latents"], batch["latents"])


class TestBuckets:
    def test_a_batch_is_of_one_bucket(self, buckets: Path) -> None:
        batches = stream(buckets)
        for step in range(12):
            batch = batches.batch(step)
            wanted = {"0": 2, "1": 4}[str(int(batch["latents"].shape[-1] == 4))]
            assert batch["latents"].shape[-1] == wanted
            without = all(int(id_) >= 16 for id_ in batch["id"])
            assert ("depth" in batch) != without
            assert ("K" in batch) == ("depth" in batch)

    @pytest.mark.parametrize("batch_size", [1, 2, 3])
    def test_buckets_come_in_proportion(self, buckets: Path, batch_size: int) -> None:
        """After the steps of six rounds every clip has come six times."""
        batches = stream(buckets, batch_size=batch_size)
        steps = 6 * 19 // batch_size
        counts = Counter(id_ for step in range(steps) for id_ in batches.batch(step)["id"])
        assert set(counts.values()) == {6}
        # Two rounds are a third of that, and whole but for one batch of each bucket.
        early = Counter(batches._bucket(step)[0] for step in range(steps // 3))
        for bucket, size in enumerate(batches.sizes):
            assert abs(early[bucket] - 2 * size / batch_size) < 1

    @pytest.mark.parametrize(("processes", "batch_size"), [(2, 1), (3, 1)])
    def test_processes_divide_what_one_has(
        self, buckets: Path, processes: int, batch_size: int
    ) -> None:
        alone = stream(buckets, batch_size=processes * batch_size)
        shares = [
            stream(buckets, batch_size=batch_size, rank=rank, world_size=processes)
            for rank in range(processes)
        ]
        for step in range(20):
            whole, parts = alone.batch(step), [share.batch(step) for share in shares]
            assert whole["id"] == [id_ for part in parts for id_ in part["id"]]
            assert torch.equal(whole["latents"], torch.cat([part["latents"] for part in parts]))
            assert torch.equal(whole["number"], torch.cat([part["number"] for part in parts]))

    def test_workers_divide_them_too(self, buckets: Path) -> None:
        def first(workers: int) -> list[list[str]]:
            data = data_module(buckets, frames=3, batch_size=2, workers=workers)
            batches = iter(data.train_dataloader())
            return [next(batches)["id"] for _ in range(6)]

        assert first(2) == first(0)

    def test_a_bucket_with_fewer_clips_than_a_batch(self, buckets: Path) -> None:
        with pytest.raises(InputError, match=r"8x8-generation: expected .* 4 clips, .* got 3"):
            stream(buckets, batch_size=4)
        with pytest.raises(InputError, match=r"8x8-generation: expected .* 4 clips, .* got 3"):
            stream(buckets, batch_size=2, world_size=2)

    def test_two_folders_are_one(self, folder: Path, buckets: Path) -> None:
        clips = PreparedClips([str(folder), str(buckets)], frames=3, strides=(1,))
        assert {name: len(each) for name, each in clips.buckets.items()} == {
            "16x16": 6,
            "8x8": 15,
            "8x8-generation": 3,
        }
        batches = stream(folder, buckets, batch_size=3)
        counts = Counter(id_ for step in range(8) for id_ in batches.batch(step)["id"])
        assert counts.total() == 24
        assert counts["0"] + counts["16"] + counts["10"] > 0


def data_module(folder: Path, **changed: Any) -> PreparedDataModule:
    given: dict[str, Any] = {"folder": str(folder), "validation_folder": str(folder)}
    return PreparedDataModule(**{**given, "frames": 4, "batch_size": 2, "workers": 0, **changed})


class TestModule:
    def test_training_and_validation(self, folder: Path) -> None:
        data = data_module(folder)
        batch = next(iter(data.train_dataloader()))
        assert batch["depth"].shape == (2, 4, 8, 8)
        held_out = list(data.val_dataloader())
        assert [len(each["caption"]) for each in held_out] == [2, 2, 1]
        assert held_out[0]["latents"][0, 0, :, 0, 0].tolist() == [0, 1, 2, 3]
        assert torch.cat([each["number"] for each in held_out]).tolist() == [0, 1, 2, 3, 4]

    def test_it_resumes_in_the_middle_of_a_round(self, folder: Path) -> None:
        data = data_module(folder)
        data.load_state_dict({**data.state_dict(), "batches_done": 3})
        later = next(iter(data.train_dataloader()))
        wanted = stream(folder, frames=4, strides=(1, 2, 4, 8), seed=0).batch(3)
        assert torch.equal(later["latents"], wanted["latents"])

    def test_a_checkpoint_of_another_stream(self, folder: Path, buckets: Path) -> None:
        kept = data_module(buckets).state_dict()
        with pytest.raises(InputError, match="data: expected the stream of the checkpoint"):
            data_module(folder).load_state_dict(kept)
        with pytest.raises(InputError, match="'seed': 3"):
            data_module(folder, seed=3).load_state_dict(data_module(folder).state_dict())

    def test_all_buckets_are_validated(self, buckets: Path) -> None:
        batches = list(data_module(buckets, batch_size=4).val_dataloader())
        assert [len(batch["id"]) for batch in batches] == [4, 2, 4, 4, 2, 3]
        ids = [id_ for batch in batches for id_ in batch["id"]]
        assert sorted(ids, key=int) == [str(number) for number in range(19)]

    @pytest.mark.parametrize("processes", [1, 2, 3])
    def test_processes_validate_one_bucket_at_a_time(self, buckets: Path, processes: int) -> None:
        """Those that share weights would wait for each other for ever in different passes."""
        clips = PreparedClips([str(buckets)], frames=4, strides=(1,))
        held_out = _HeldOut(clips, frames=4, batch_size=2, processes=processes)
        # As Lightning divides them.
        places = [
            [*DistributedSampler(held_out, processes, rank, shuffle=False)]
            for rank in range(processes)
        ]
        whole = _HeldOut(clips, frames=4, batch_size=19)
        names = [id_ for place in range(len(whole)) for id_ in whole[place]["id"]]
        seen: Counter[str] = Counter()
        for step in zip(*places, strict=True):
            batches = [held_out[place] for place in step]
            assert len({(batch["latents"].shape, "depth" in batch) for batch in batches}) == 1
            numbers = torch.cat([batch["number"] for batch in batches]).tolist()
            ids = [id_ for batch in batches for id_ in batch["id"]]
            assert [names[number] for number in numbers] == ids
            seen.update(ids)
        assert len(seen) == 19
        assert sum(seen.values()) - 19 < 3 * processes  # of each bucket, what does not divide

    def test_lightning_trains_on_it(self, buckets: Path) -> None:
        seen: list[str] = []

        class Watching(pl.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.weight = torch.nn.Parameter(torch.zeros(1))

            def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
                seen.extend(batch["id"])
                return (self.weight * batch["latents"].mean()).sum()

            def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None: ...

            def configure_optimizers(self) -> Any:
                return torch.optim.SGD(self.parameters(), lr=0.1)

        quiet = dict.fromkeys(
            ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
        )
        trainer = pl.Trainer(max_steps=3, accelerator="cpu", limit_val_batches=0, **quiet)
        data = data_module(buckets, frames=3)
        trainer.fit(Watching(), data)
        wanted = stream(buckets, strides=(1, 2, 4, 8), seed=0)
        assert seen == [id_ for step in range(3) for id_ in wanted.batch(step)["id"]]
        assert data.state_dict()["batches_done"] == 3


class TestWrongData:
    def test_clips_that_are_all_too_short(self, folder: Path) -> None:
        with pytest.raises(FileError, match=r"8x8: expected clips of at least 10 frames.* has 9"):
            stream(folder, frames=10)
        with pytest.raises(FileError, match=r"8x8: expected clips of at least 13 frames.* has 9"):
            stream(folder, frames=4, strides=(4,))

    def test_some_that_are_too_short_are_counted(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        clips = [made(number, length=2 + number) for number in range(5)]
        write_shards(tmp_path / "mixed", clips, size=(8, 8), encoder="mine")
        with caplog.at_level(logging.WARNING):
            batches = stream(tmp_path / "mixed", frames=4, batch_size=1)
        assert "8x8: 2 of 5 clips are shorter than 4 frames and are not used" in caplog.text
        assert {batches.batch(step)["id"][0] for step in range(6)} == {"2", "3", "4"}

    @pytest.mark.parametrize("change", [{"text": torch.zeros(3, 5)}, {"side": 16}])
    def test_clips_of_two_sizes(self, tmp_path: Path, change: dict[str, Any]) -> None:
        odd = made(1, **change) if "side" in change else None
        odd = odd or PrecomputedClip(**{**vars(made(1)), **change})
        write_shards(tmp_path / "two", [made(0), odd], size=(8, 8), encoder="mine")
        with pytest.raises(InputError, match="clips: expected one size of latents and depth"):
            stream(tmp_path / "two").batch(0)

    def test_latents_of_two_encoders_do_not_mix(self, folder: Path, tmp_path: Path) -> None:
        write_shards(tmp_path / "other", [made(0)], size=(8, 8), encoder="another")
        with pytest.raises(FileError, match=r"folder: expected clips of one encoder.*'another'"):
            stream(folder, tmp_path / "other")

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(FileError, match="expected a folder of shards"):
            data_module(tmp_path).train_dataloader()
        with pytest.raises(InputError, match="folder: expected at least one folder"):
            PreparedDataModule(folder=[], validation_folder="held_out")

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"frames": 0}, "sampling: expected"),
            ({"strides": ()}, "sampling: expected"),
            ({"reverse_share": 1.5}, "sampling: expected"),
            ({"batch_size": 0}, "data: expected a batch_size"),
            ({"workers": -1}, "data: expected a batch_size"),
            ({"seed": -1}, "data: expected a batch_size"),
        ],
    )
    def test_settings_out_of_range(
        self, folder: Path, changed: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            data_module(folder, **changed)

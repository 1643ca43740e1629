"""Clips of data sets as training batches: every clip in turn, and broken ones counted."""

import json
import logging
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from jog3r.data.clip import Clip
from jog3r.data.readers.world import WorldClips
from jog3r.data.world import HELD_OUT
from jog3r.errors import FileError, InputError
from jog3r.geometry.pointmaps import pointmap_from_depth
from jog3r.training.clip_data import (
    ClipBatches,
    ClipDataModule,
    ClipSource,
    UsableClips,
    as_tensors,
)
from tests.data.readers.films import numbers, write_images

NAMES = [f"{number}.png" for number in range(6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return five folders of six frames, and one of two."""
    for number in range(5):
        write_images(tmp_path / f"clip_{number}", NAMES, (16, 24))
    write_images(tmp_path / "short", NAMES[:2], (16, 24))
    return tmp_path


def usable(folder: Path, least: int = 3) -> UsableClips:
    return UsableClips.of([ClipSource(folder=str(folder), reader="videos")], ("frames",), least)


def stream(folder: Path, **changed: Any) -> Any:
    given: dict[str, Any] = {"size": (16, 16), "frames": 3, "batch_size": 2, "strides": (1, 2)}
    given |= {"reverse_share": 0.5, "seed": 1}
    return ClipBatches(usable(folder), **{**given, **changed})


def frames_of(batch: dict[str, Any]) -> list[list[int]]:
    pixels = ((batch["video"] + 1.0) * 127.5).permute(0, 1, 3, 4, 2)
    return [numbers(clip) for clip in pixels]


class TestStream:
    def test_every_clip_comes_once_a_round(self, folder: Path) -> None:
        ids = [id for step in range(10) for id in stream(folder).batch(step)["id"]]
        rounds = [ids[start : start + 5] for start in range(0, 20, 5)]
        assert all(sorted(each) == [f"clip_{n}" for n in range(5)] for each in rounds)
        assert len({tuple(each) for each in rounds}) > 1

    def test_strides_and_directions(self, folder: Path) -> None:
        seen = [clip for step in range(15) for clip in frames_of(stream(folder).batch(step))]
        strides = {tuple(b - a for a, b in pairwise(clip)) for clip in seen}
        assert strides == {(1, 1), (2, 2), (-1, -1), (-2, -2)}
        ahead = stream(folder, reverse_share=0.0, strides=(2,)).batch(0)
        assert all(clip[1] - clip[0] == 2 for clip in frames_of(ahead))

    def test_processes_divide_the_same_clips(self, folder: Path) -> None:
        whole = stream(folder, batch_size=4).batch(3)
        halves = [stream(folder, rank=rank, world_size=2).batch(3) for rank in (0, 1)]
        assert torch.equal(torch.cat([half["video"] for half in halves]), whole["video"])
        assert halves[0]["id"] + halves[1]["id"] == whole["id"]
        assert whole["number"].tolist() == [12, 13, 14, 15]

    def test_the_seed_decides(self, folder: Path) -> None:
        one, other = stream(folder).batch(0), stream(folder, seed=2).batch(0)
        assert not torch.equal(one["video"], other["video"])


class TestBrokenClips:
    def test_the_next_one_takes_its_place_and_it_is_counted(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        whole = [stream(folder).batch(step)["id"] for step in range(5)]
        clips = stream(folder)
        (folder / "clip_2" / NAMES[0]).write_bytes(b"nothing")
        for name in NAMES[1:]:
            (folder / "clip_2" / name).write_bytes(b"nothing")
        with caplog.at_level(logging.WARNING):
            ids = [clips.batch(step)["id"] for step in range(5)]
        assert clips.skipped == 2
        assert "skipped 2 clips by now, the last: " in caplog.messages[-1]
        for before, after in zip(chain(*whole), chain(*ids), strict=True):
            assert after != "clip_2"
            assert before in (after, "clip_2")

    def test_nothing_but_broken_ones(self, folder: Path) -> None:
        clips = stream(folder)
        for file in folder.rglob("*.png"):
            file.write_bytes(b"nothing")
        with pytest.raises(FileError, match=r"data: expected readable clips, got 5 broken ones"):
            clips.batch(0)

    def test_a_camera_whose_centre_is_cut_off_counts_as_broken(self, tmp_path: Path) -> None:
        """Of a picture of 16 x 48 the middle third is used; one camera looks at its left end."""
        frames = {name: {"file_path": f"{name}.png"} for name in ("0", "1", "2")}
        poses = [{"transform_matrix": torch.eye(4).tolist(), **f} for f in frames.values()]
        lens = {"fl_x": 20.0, "fl_y": 20.0, "cy": 8.0, "w": 48, "h": 16}
        for scene, cx in (("askew", 4.0), ("straight", 24.0)):
            write_images(tmp_path / scene, [f"{name}.png" for name in frames], (16, 48))
            told = json.dumps({**lens, "cx": cx, "frames": poses})
            (tmp_path / scene / "transforms.json").write_text(told)
        source = ClipSource(folder=str(tmp_path), reader="nerfstudio")
        parts = ("frames", "K", "world_from_camera")
        given = {"frames": 3, "strides": (1,), "reverse_share": 0.0, "seed": 1, "batch_size": 2}
        clips = ClipBatches(UsableClips.of([source], parts, 3), size=(16, 16), **given)
        assert clips.batch(0)["id"] == ["straight", "straight"]
        assert clips.skipped == 1

    def test_short_ones_are_counted(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            assert len(usable(folder)) == 5
        assert "6 clips announced, 6 readable, 5 with frames and at least 3 frames" in caplog.text
        assert len(usable(folder, least=2)) == 6

    def test_a_data_set_that_gives_nothing(self, folder: Path) -> None:
        """The world has depth, videos have none."""
        sources = [
            ClipSource(folder=None, reader="world", options={"clips": 2, "size": (16, 16)}),
            ClipSource(folder=str(folder), reader="videos"),
        ]
        with pytest.raises(FileError, match=f"with .*'depth'.* in {folder}, got none"):
            UsableClips.of(sources, ("frames", "depth"), 3)
        with pytest.raises(InputError, match="data: expected data sets, got none"):
            UsableClips.of([], ("frames",), 3)

    def test_none_is_long_enough(self, folder: Path) -> None:
        with pytest.raises(FileError, match=r"data: expected clips with .* at least 7 frames"):
            usable(folder, least=7)


def test_what_a_step_takes_of_a_clip() -> None:
    reader = WorldClips(clips=1, first_seed=HELD_OUT, frames=4, size=(16, 16))
    clip = reader.read(reader.index.entries[0], [2, 1, 0])
    assert clip.depth is not None
    mask = clip.depth < clip.depth.median()
    found = as_tensors(clip.replaced(mask=mask), ("frames", "K", "world_from_camera", "depth"))
    assert set(found) == {"video", "K", "world_from_camera", "depth", "id"}
    assert found["video"].shape == (3, 3, 16, 16)
    torch.testing.assert_close(found["world_from_camera"][0], torch.eye(4), atol=1e-5, rtol=0)
    assert torch.equal(found["depth"] > 0, mask & (clip.depth > 0))
    # Moving the world keeps the points where they are, seen from any camera.
    assert clip.world_from_camera is not None
    assert clip.K is not None
    before, after = (
        pointmap_from_depth(clip.depth, clip.K, cameras)
        for cameras in (clip.world_from_camera, found["world_from_camera"])
    )
    lengths = [torch.linalg.vector_norm(each[1] - each[0], dim=-1) for each in (before, after)]
    torch.testing.assert_close(*lengths, atol=1e-3, rtol=1e-3)
    assert set(as_tensors(clip, ("frames", "caption"))) == {"video", "caption", "id"}
    assert isinstance(clip, Clip)


class TestDataModule:
    def data(self, **changed: Any) -> ClipDataModule:
        options = {"clips": 6, "frames": 4, "size": (16, 16)}
        train = ClipSource(folder=None, reader="world", options=options)
        held_out = ClipSource(
            folder=None, reader="world", options={**options, "first_seed": HELD_OUT}
        )
        given: dict[str, Any] = {"sources": [train], "validation_sources": [held_out]}
        given |= {"size": (8, 8), "frames": 2, "batch_size": 2, "workers": 0}
        return ClipDataModule(**{**given, **changed})

    def test_batches_hold_what_was_asked_for(self) -> None:
        batch = next(iter(self.data().train_dataloader()))
        assert batch["video"].shape == (2, 2, 3, 8, 8)
        assert batch["depth"].shape == (2, 2, 8, 8)
        assert "caption" not in batch
        batch = next(iter(self.data(parts=("frames", "caption")).train_dataloader()))
        assert set(batch) == {"video", "caption", "id", "number"}

    def test_it_goes_on_where_it_stopped(self) -> None:
        whole = iter(self.data().train_dataloader())
        third = [next(whole) for _ in range(3)][2]
        again = self.data()
        again.load_state_dict({**again.state_dict(), "batches_done": 2})
        assert torch.equal(next(iter(again.train_dataloader()))["video"], third["video"])

    def test_another_stream_does_not_go_on(self) -> None:
        with pytest.raises(InputError, match="expected the stream of the checkpoint"):
            self.data(frames=3).load_state_dict(self.data().state_dict())

    def test_held_out_clips_are_the_same_every_time(self) -> None:
        first, second = (list(self.data().val_dataloader()) for _ in range(2))
        assert [batch["id"] for batch in first] == [batch["id"] for batch in second]
        ids = sorted(id for batch in first for id in batch["id"])
        assert ids == [f"seed-{HELD_OUT + number}" for number in range(6)]
        assert len(list(self.data(validation_clips=2).val_dataloader())) == 1

    @pytest.mark.parametrize(
        "changed",
        [
            {"batch_size": 0},
            {"workers": -1},
            {"seed": -1},
            {"validation_clips": 0},
            {"size": (0, 8)},
            {"parts": ("caption",)},
            {"frames": 0},
            {"strides": ()},
        ],
    )
    def test_bad_values(self, changed: dict[str, Any]) -> None:
        with pytest.raises(InputError, match=r"(data|sampling): expected"):
            self.data(**changed)

    def test_no_such_data(self, tmp_path: Path) -> None:
        missing = [ClipSource(folder=str(tmp_path / "none"), reader="videos")]
        with pytest.raises(FileError, match="expected a folder of videos, got none"):
            self.data(sources=missing).train_dataloader()
        with pytest.raises(InputError, match="data set: expected one of"):
            self.data(sources=[ClipSource(folder=None, reader="film")]).train_dataloader()

"""From data sets to shards: what is made, what is left out and why, and what survives a kill."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from jog3r.data.clip import Clip
from jog3r.data.readers.interface import ClipEntry, ClipReader, Index, Problem
from jog3r.data.readers.registry import open_reader
from jog3r.data.shards import ShardFolder
from jog3r.data.world import World, WorldConfig
from jog3r.errors import FileError, InputError
from jog3r.model import JOG3R
from jog3r.training.prepare import Preparation, PrepareSettings, encoder_hash, nearest_size

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = PrepareSettings(sizes=((16, 16),), clips_per_portion=3)


class Given(ClipReader):
    """Clips at hand; an error in the place of one is what reading it raises."""

    name, source, licence, needs_folder = "given", "mine", "CC0-1.0", False

    def __init__(self, clips: Mapping[str, Clip | Exception], *problems: Problem) -> None:
        super().__init__(None)
        self.clips, self.problems = clips, problems

    def _look_over(self) -> Index:
        entries = tuple(
            ClipEntry(
                id=name,
                length=len(clip) if isinstance(clip, Clip) else 4,
                parts=frozenset(),
                place=name,
            )
            for name, clip in self.clips.items()
        )
        lost = sum(problem.lost for problem in self.problems)
        return Index(announced=len(entries) + lost, entries=entries, problems=self.problems)

    def read(self, entry: ClipEntry, frames: Sequence[int] | None = None) -> Clip:
        clip = self.clips[entry.place]
        if isinstance(clip, Exception):
            raise clip
        return clip if frames is None else clip.select(frames)


@pytest.fixture(scope="module")
def clip() -> Clip:
    """A clip of the world whose camera moves enough to tell the unit of depth."""
    made = World(WorldConfig(size=64, samples=1, shadows=False)).clip(5, 8)
    return Clip(
        id="good",
        source="mine",
        licence="CC0-1.0",
        frames=torch.from_numpy(made.frames),
        K=torch.from_numpy(made.K),
        world_from_camera=torch.from_numpy(made.world_from_camera),
        depth=torch.from_numpy(made.depth),
        caption="a red cube",
    )


def prepared(
    clips: dict[str, Clip | Exception],
    model: JOG3R,
    folder: Path,
    settings: PrepareSettings = SMALL,
    **more: Any,
) -> dict[str, Any]:
    given = {
        name: clip.replaced(id=name) if isinstance(clip, Clip) else clip
        for name, clip in clips.items()
    }
    manifest = Preparation(Given(given), model, folder, settings, **more).run()
    assert manifest is not None
    return manifest


def test_what_is_encoded_is_what_the_model_makes_of_it(
    tiny_model: JOG3R, clip: Clip, tmp_path: Path
) -> None:
    manifest = prepared({"a": clip}, tiny_model, tmp_path, PrepareSettings(sizes=((64, 64),)))
    assert manifest["clips"] == 1
    assert manifest["by_bucket"] == {"64x64": {"clips": 1, "frames": 8}}
    read = ShardFolder(tmp_path).read("64x64", 0)
    assert clip.frames is not None
    assert clip.depth is not None
    frames = clip.frames.permute(0, 3, 1, 2).float() / 127.5 - 1.0
    with torch.no_grad():
        latents = tiny_model.autoencoder.encode(frames[None])[0]
        text, _ = tiny_model.text_encoder(["a red cube"])
    torch.testing.assert_close(read.latents, latents, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(read.text, text[0], atol=2e-2, rtol=1e-2)
    torch.testing.assert_close(read.depth, clip.depth, atol=0, rtol=1e-3)
    torch.testing.assert_close(read.K, clip.K)
    assert (read.id, read.source, read.licence) == ("a", "mine", "CC0-1.0")


def test_a_far_horizon_is_unknown(tiny_model: JOG3R, clip: Clip, tmp_path: Path) -> None:
    assert clip.depth is not None
    far = clip.depth.clone()
    far[:, :8] = 3e5  # beyond the numbers of half precision
    prepared({"a": clip.replaced(depth=far)}, tiny_model, tmp_path)
    depth = ShardFolder(tmp_path).read("16x16", 0).depth
    assert depth is not None
    assert (depth[:, :2] == 0).all()
    assert (depth[:, 2:] > 0).any()


@pytest.fixture(scope="module")
def manifest(
    tiny_model: JOG3R, clip: Clip, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    assert clip.depth is not None
    assert clip.frames is not None
    assert clip.K is not None
    wide = torch.cat([clip.frames, clip.frames], dim=2)
    at_the_edge = clip.K.clone()
    at_the_edge[:, 0, 2] = 4.0  # the square in the middle begins at 32
    clips: dict[str, Clip | Exception] = {
        "askew": clip.replaced(frames=wide, K=at_the_edge, depth=None),
        "bare": clip.replaced(K=None, world_from_camera=None, depth=None),
        "broken": FileError("broken: expected a video, got a truncated one; copy it again"),
        "contradiction": InputError("K: expected another"),
        "empty": clip.replaced(depth=torch.zeros_like(clip.depth)),
        "frameless": clip.replaced(frames=None),
        "gone": PermissionError(13, "Permission denied"),
        "good": clip,
        "inches": clip.replaced(depth=clip.depth * 1000),
        "silent": clip.replaced(caption=None),
        "wordy": clip.replaced(caption="red cube " * 200),
    }
    given = {n: c.replaced(id=n) if isinstance(c, Clip) else c for n, c in clips.items()}
    lost = Problem(kind="no-video", where="list.csv", what="expected 7 more videos", lost=7)
    odd = Problem(kind="odd", where="list.csv", what="expected no comment", lost=0)
    folder = tmp_path_factory.mktemp("left_out")
    manifest = Preparation(Given(given, lost, odd), tiny_model, folder, SMALL).run()
    assert manifest is not None
    return manifest


class TestLeftOut:
    """One run over good and bad clips; nothing is lost from the books."""

    def test_every_clip_is_in_the_books(self, manifest: dict[str, Any]) -> None:
        skipped = sum(kind["clips"] for kind in manifest["skipped"].values())
        assert manifest["clips"] + skipped == manifest["settings"]["announced"] == 18

    def test_each_is_skipped_for_its_own_reason(self, manifest: dict[str, Any]) -> None:
        ids = {kind: sorted(each["ids"]) for kind, each in manifest["skipped"].items()}
        assert ids == {
            "cannot-be-encoded": ["wordy"],
            "cannot-be-fitted": ["askew"],
            "depth-unit": ["inches"],
            "no-caption": ["silent"],
            "no-frames": ["frameless"],
            "no-video": ["list.csv"],
            "unreadable": ["broken", "contradiction", "gone"],
        }
        assert "fits times 0.001" in manifest["skipped"]["depth-unit"]["ids"]["inches"]

    def test_clips_without_geometry_train_generation(self, manifest: dict[str, Any]) -> None:
        counts = {name: each["clips"] for name, each in manifest["by_bucket"].items()}
        assert counts == {"16x16": 1, "16x16-generation": 2}
        assert manifest["notes"] == {
            "generation only: no cameras": 1,
            "generation only: no depth": 1,
        }


class TestSettings:
    def test_clips_go_to_the_nearest_shape(
        self, tiny_model: JOG3R, clip: Clip, tmp_path: Path
    ) -> None:
        assert clip.frames is not None
        bare = clip.replaced(K=None, world_from_camera=None, depth=None)
        wide = bare.replaced(frames=clip.frames[:, 16:48])
        tall = bare.replaced(frames=clip.frames[:, :, 20:44])
        settings = PrepareSettings(sizes=((16, 16), (16, 32), (32, 16)))
        manifest = prepared({"a": bare, "b": wide, "c": tall}, tiny_model, tmp_path, settings)
        buckets = {name: each["clips"] for name, each in manifest["by_bucket"].items()}
        wanted = ("16x16-generation", "16x32-generation", "32x16-generation")
        assert buckets == dict.fromkeys(wanted, 1)

    def test_uncaptioned_clips_can_be_kept(
        self, tiny_model: JOG3R, clip: Clip, tmp_path: Path
    ) -> None:
        settings = PrepareSettings(sizes=((16, 16),), uncaptioned="keep")
        prepared({"a": clip.replaced(caption=None)}, tiny_model, tmp_path, settings)
        read = ShardFolder(tmp_path).read("16x16", 0)
        empty, _ = tiny_model.text_encoder([""])
        torch.testing.assert_close(read.text, empty[0], atol=2e-2, rtol=1e-2)
        assert read.caption == ""

    def test_captions_from_elsewhere(self, tiny_model: JOG3R, clip: Clip, tmp_path: Path) -> None:
        manifest = prepared(
            {"a": clip, "b": clip}, tiny_model, tmp_path, captions={"a": "a blue ball", "b": " "}
        )
        assert ShardFolder(tmp_path).read("16x16", 0).caption == "a blue ball"
        assert list(manifest["skipped"]["no-caption"]["ids"]) == ["b"]

    def test_longest_clip(self, tiny_model: JOG3R, clip: Clip, tmp_path: Path) -> None:
        settings = PrepareSettings(sizes=((16, 16),), max_frames=5)
        manifest = prepared({"a": clip}, tiny_model, tmp_path, settings)
        assert manifest["frames"] == 5
        assert manifest["notes"] == {"frames beyond max_frames": 3}

    def test_generation_only(self, tiny_model: JOG3R, clip: Clip, tmp_path: Path) -> None:
        settings = PrepareSettings(sizes=((16, 16),), depth="none")
        manifest = prepared({"a": clip}, tiny_model, tmp_path, settings)
        assert list(manifest["by_bucket"]) == ["16x16-generation"]
        assert manifest["notes"] == {"generation only: depth not wanted": 1}

    @pytest.mark.parametrize(
        "changed",
        [{"sizes": ()}, {"sizes": ((0, 16),)}, {"max_frames": 0}, {"clips_per_portion": 0}],
    )
    def test_out_of_range(self, changed: dict[str, Any]) -> None:
        with pytest.raises(InputError, match="prepare: expected sizes, max_frames"):
            PrepareSettings(**{"sizes": ((16, 16),), **changed})

    @pytest.mark.parametrize(
        ("size", "wanted"),
        [((720, 720), (32, 32)), ((20, 20), (16, 16)), ((9, 9), (16, 16)), ((90, 30), (32, 16))],
    )
    def test_nearest_size(self, size: tuple[int, int], wanted: tuple[int, int]) -> None:
        assert nearest_size(size, [(16, 16), (32, 32), (16, 32), (32, 16)]) == wanted


class TestRefused:
    def test_a_size_that_the_model_does_not_take(
        self, tiny_model: JOG3R, clip: Clip, tmp_path: Path
    ) -> None:
        settings = PrepareSettings(sizes=((16, 18),))
        with pytest.raises(InputError, match="sizes: expected multiples of 4 px"):
            Preparation(Given({"good": clip}), tiny_model, tmp_path, settings)

    def test_other_settings_weights_or_clips(
        self, tiny_model: JOG3R, clip: Clip, tmp_path: Path
    ) -> None:
        prepared({"a": clip}, tiny_model, tmp_path)
        other = JOG3R(tiny_model.config, tiny_model.text_encoder.tokenizer)
        assert encoder_hash(other) != encoder_hash(tiny_model)
        with pytest.raises(InputError, match=r"were begun with, \{'encoder'"):
            prepared({"a": clip}, other, tmp_path)
        settings = PrepareSettings(sizes=((16, 16),), clips_per_portion=3, max_frames=2)
        with pytest.raises(InputError, match=r"were begun with, \{'max_frames': None\}"):
            prepared({"a": clip}, tiny_model, tmp_path, settings)
        with pytest.raises(InputError, match="were begun with"):
            prepared({"b": clip}, tiny_model, tmp_path)
        (tmp_path / "settings.json").write_text("[]")
        with pytest.raises(FileError, match="expected the settings of a preparation"):
            prepared({"a": clip}, tiny_model, tmp_path)

    def test_nothing_to_prepare(self, tiny_model: JOG3R, tmp_path: Path) -> None:
        lost = Problem(kind="no-video", where="list.csv", what="expected videos")
        with pytest.raises(FileError, match=r"got none that can be used: \{'no-video': 1\}"):
            Preparation(Given({}, lost), tiny_model, tmp_path, SMALL)

    def test_no_such_part(self, tiny_model: JOG3R, clip: Clip, tmp_path: Path) -> None:
        preparation = Preparation(Given({"good": clip}), tiny_model, tmp_path, SMALL)
        with pytest.raises(InputError, match="part: expected 0 to 1 of 2, got 2"):
            preparation.run(2, 2)

    def test_an_estimator_that_nobody_asked_for(
        self, tiny_model: JOG3R, clip: Clip, tmp_path: Path
    ) -> None:
        settings = PrepareSettings(sizes=((16, 16),), depth="estimator")
        with pytest.raises(InputError, match="estimator: expected one with depth 'estimator'"):
            Preparation(Given({"good": clip}), tiny_model, tmp_path, settings)


def test_the_last_of_all_parts_writes_the_manifest(
    tiny_model: JOG3R, clip: Clip, tmp_path: Path
) -> None:
    clips = {str(n): clip.replaced(id=str(n)) for n in range(7)}
    preparation = Preparation(Given(clips), tiny_model, tmp_path, SMALL)
    told: list[tuple[int, int]] = []
    assert preparation.run(0, 2, report=lambda *said: told.append(said)) is None
    assert told == [(0, 3), (2, 3)]
    with pytest.raises(FileError, match="got an unfinished one"):
        ShardFolder(tmp_path)
    manifest = preparation.run(1, 2)
    assert manifest is not None
    assert manifest["clips"] == 7


@pytest.fixture(scope="module")
def runs(tiny_model: JOG3R, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    tiny_model.save_pretrained(folder / "model")
    program = Path(__file__).with_name("killed_preparation.py")
    # Forking is safe in a process of one thread.
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, program, folder],
        cwd=REPOSITORY,
        env=os.environ | single,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


class TestKilled:
    """Processes that are killed at any moment, and a disk that is full, in one program."""

    def test_the_bytes_are_those_of_an_uninterrupted_run(self, runs: Path) -> None:
        report = json.loads((runs / "report.json").read_text())
        assert report["kills"] >= 3
        whole, killed = (
            {
                file.relative_to(runs / name): file.read_bytes()
                for file in (runs / name).rglob("*")
                if file.is_file()
            }
            for name in ("whole", "killed")
        )
        assert whole.keys() == killed.keys()
        assert whole == killed
        manifest = json.loads((runs / "whole" / "manifest.json").read_text("utf-8"))
        assert manifest["clips"] == 30
        assert len(manifest["shards"]) == 10

    def test_a_full_disk_leaves_whole_portions_only(self, runs: Path) -> None:
        report = json.loads((runs / "report.json").read_text())
        assert report["status"] == 0
        assert "000001: expected to write it whole, got 'File too large'" in report["full"]
        left = json.loads((runs / "left.json").read_text())
        assert left == [*(f"{number:06d}" for number in range(0, 10, 2)), "settings.json"]

    def test_it_goes_on_when_there_is_room(self, runs: Path, tiny_model: JOG3R) -> None:
        reader = open_reader(None, "world", clips=30, frames=4, size=(16, 16))
        assert Preparation(reader, tiny_model, runs / "full", SMALL).run() is not None
        one, two = (runs / name / "000009" / "16x16.tar" for name in ("full", "whole"))
        assert one.read_bytes() == two.read_bytes()

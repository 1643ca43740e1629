"""Checking data sets: the books balance, and depth in the wrong unit is found."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from jog3r.data.check import SAMPLE, check_data
from jog3r.data.clip import Clip
from jog3r.data.depth_unit import check_depth_units
from jog3r.data.readers.interface import ClipEntry, ClipReader, Index, Problem
from jog3r.data.readers.videos import Videos
from jog3r.data.readers.world import WorldClips
from jog3r.data.world import HELD_OUT
from jog3r.errors import FileError, InputError
from tests.data.readers.films import write_film


class Millimetres(WorldClips):
    """The world, with depth in millimetres from some clip on."""

    first_wrong = HELD_OUT

    def read(self, entry: ClipEntry, frames: Sequence[int] | None = None) -> Clip:
        clip = super().read(entry, frames)
        assert clip.depth is not None
        return clip.replaced(depth=clip.depth * (1000 if entry.place >= self.first_wrong else 1))


def test_depth_in_the_wrong_unit_stops_a_data_set() -> None:
    check = check_data(Millimetres(clips=2, first_seed=HELD_OUT))
    assert [problem.kind for problem in check.problems] == ["depth-unit", "depth-unit"]
    assert "times 0.001" in check.problems[0].what
    assert check.used == ()
    assert check.unexplained == 0
    with pytest.raises(FileError, match=r"got 2 of 2 clips whose depth fits when .* 0\.001"):
        check_depth_units(check.units)


def test_one_clip_in_the_wrong_unit_is_left_out() -> None:
    reader = Millimetres(clips=6, first_seed=HELD_OUT)
    reader.first_wrong = HELD_OUT + 5
    check = check_data(reader)
    assert [entry.place for entry in check.used] == [HELD_OUT + place for place in range(5)]
    assert check.unexplained == 0
    check_depth_units(check.units)


def test_only_a_sample_is_decoded_unless_all_is_asked_for() -> None:
    reader = WorldClips(clips=2 * SAMPLE + 1, frames=2, size=(16, 16))
    assert check_data(reader, frames=2).decoded == SAMPLE
    assert check_data(reader, frames=2, decode=True).decoded == 2 * SAMPLE + 1


def test_every_clip_is_used_or_explained(tmp_path: Path) -> None:
    for name, frames in (("good", 20), ("short", 3), ("dark", 20)):
        write_film(tmp_path / f"{name}.mp4", frames)
    (tmp_path / "broken.mp4").write_bytes(b"x")
    content = bytearray((tmp_path / "dark.mp4").read_bytes())
    start = content.find(b"mdat") + 4
    content[start : start + 200] = bytes(200)
    (tmp_path / "dark.mp4").write_bytes(content)
    check = check_data(Videos(tmp_path), decode=True)
    assert [entry.id for entry in check.used] == ["good"]
    assert sorted(problem.kind for problem in check.problems) == [
        "broken-video",
        "too-short",
        "unreadable",
    ]
    assert check.index.announced == 4
    assert check.unexplained == 0
    assert check_data(Videos(tmp_path), frames=2, strides=(1,)).used[-1].id == "short"


def test_long_clips_are_decoded_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jog3r.data.check.AT_ONCE", 8)
    write_film(tmp_path / "long.mp4", 20)
    asked: list[Sequence[int]] = []

    class Noted(Videos):
        def read(self, entry: ClipEntry, frames: Sequence[int] | None = None) -> Clip:
            asked.append(frames or ())
            return super().read(entry, frames)

    assert check_data(Noted(tmp_path), decode=True).decoded == 1
    assert asked == [range(8), range(8, 16), range(16, 20)]


def test_lost_clips_that_nobody_explains_are_told() -> None:
    problem = Problem(kind="no-video", where="a", what="gone")
    assert Index(announced=3, entries=(), problems=(problem,)).unexplained == 2
    assert Index(announced=0, entries=()).coverage == 0.0


def test_frames_that_cannot_be_drawn_are_refused(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", 3)
    with pytest.raises(InputError, match="sampling"):
        check_data(Videos(tmp_path), frames=0)


def test_a_reader_without_folder_works_where_the_process_is() -> None:
    reader: ClipReader = WorldClips()
    assert reader.folder == Path()

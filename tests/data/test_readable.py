"""Going through a data set: what is broken is noted, the rest is yielded."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from jog3r.data.readable import readable_clips
from jog3r.data.readers.interface import Problem
from jog3r.data.readers.video_table import VideoTable
from tests.data.readers.films import write_film


@pytest.fixture
def reader(tmp_path: Path) -> VideoTable:
    (tmp_path / "t.csv").write_text("videoid,name\n" + "".join(f"{n},clip {n}\n" for n in "abcd"))
    for name in "abcd":
        write_film(tmp_path / f"{name}.mp4", 4)
    reader = VideoTable(tmp_path)
    assert len(reader.index.entries) == 4
    # Broken behind the header, so that only decoding tells.
    content = bytearray((tmp_path / "b.mp4").read_bytes())
    start = content.find(b"mdat") + 4
    content[start : start + 200] = bytes(200)
    (tmp_path / "b.mp4").write_bytes(content)
    (tmp_path / "c.mp4").unlink()
    return reader


def test_a_broken_video_among_others_is_noted(
    reader: VideoTable, caplog: pytest.LogCaptureFixture
) -> None:
    problems: list[Problem] = []
    with caplog.at_level(logging.WARNING):
        read = [e.id for e, clip in readable_clips(reader, reader.index.entries, problems)]
    assert read == ["a", "d"]
    assert [(p.where, p.kind, p.lost) for p in problems] == [
        ("b", "unreadable", 1),
        ("c", "unreadable", 1),
    ]
    assert "c.mp4" in problems[1].what
    assert caplog.text.count("clip left out, unreadable") == 2


def test_a_clip_that_is_not_what_was_announced_is_noted(reader: VideoTable) -> None:
    problems: list[Problem] = []
    first = reader.index.entries[0]
    promised = replace(first, parts=first.parts | {"depth", "K"})
    assert list(readable_clips(reader, [promised], problems)) == []
    assert problems[0].kind == "not-as-announced"
    assert "got 4 and no K, depth" in problems[0].what


def test_what_is_not_the_clips_fault_stops(
    reader: VideoTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reader, "read", full)
    with pytest.raises(OSError, match="No space"):
        list(readable_clips(reader, reader.index.entries, []))

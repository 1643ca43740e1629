"""Plain videos and folders of frames, found wherever they are."""

from pathlib import Path

import pytest

from jog3r.data.readers.registry import open_reader
from jog3r.data.readers.videos import Videos
from jog3r.errors import FileError
from tests.data.readers.films import numbers, write_film, write_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_film(tmp_path / "day" / "shot.mp4", 5)
    (tmp_path / "day" / "shot.txt").write_text("a yard\n")
    write_images(tmp_path / "frames" / "walk", ["2.png", "10.png", "9.png"])
    (tmp_path / "frames" / "walk.txt").write_text(" ")
    return tmp_path


def test_videos_and_folders_of_frames_are_clips(folder: Path) -> None:
    reader = open_reader(folder, "videos")
    assert [entry.id for entry in reader.index.entries] == ["day/shot", "frames/walk"]
    assert reader.index.counted() == {"empty-caption": 1}
    assert reader.index.unexplained == 0
    shot, walk = (reader.read(entry) for entry in reader.index.entries)
    assert numbers(shot.frames) == [0, 1, 2, 3, 4]
    assert (shot.caption, shot.fps, shot.licence) == ("a yard", 10.0, "unknown")
    # In natural order: 2, 9, 10.
    assert numbers(walk.frames) == [0, 2, 1]
    assert (walk.caption, walk.fps) == (None, None)
    assert numbers(reader.read(reader.index.entries[1], [2, 0]).frames) == [1, 0]


def test_options_are_in_the_records(folder: Path) -> None:
    reader = Videos(folder, fps=25.0, source="Mine", licence="CC0-1.0", size=(16, 24))
    walk = reader.read(reader.index.entries[1])
    assert (walk.source, walk.licence, walk.fps) == ("Mine", "CC0-1.0", 25.0)
    assert walk.image_size == (16, 24)
    assert "fps" in reader.index.entries[1].parts


def test_what_is_broken_or_foreign_is_counted(folder: Path) -> None:
    (folder / "broken.mp4").write_bytes(b"nothing")
    (folder / "film.ts").write_bytes(b"x")
    (folder / "notes.txt").write_text("not a caption")
    (folder / ".hidden.mp4").write_bytes(b"x")
    (folder / "day" / "shot.webm").symlink_to(folder / "day" / "shot.mp4")
    (folder / "day" / "shot.txt").write_bytes(b"\xff\xfe\xff")
    write_images(folder / "gone", ["1.png"])
    (folder / "gone" / "2.png").symlink_to(folder / "nothing.png")
    reader = Videos(folder)
    assert reader.index.announced == 5
    assert reader.index.unexplained == 0
    assert reader.index.counted() == {
        "other-file": 2,
        "broken-caption": 2,
        "broken-video": 1,
        "broken-frames": 1,
        "empty-caption": 1,
        "duplicate-id": 1,
    }


def test_frames_of_several_sizes_are_found_when_read(folder: Path) -> None:
    write_images(folder / "frames" / "walk", ["11.png"], size=(16, 16))
    reader = Videos(folder)
    assert reader.index.entries[1].length == 4
    with pytest.raises(FileError, match=r"11\.png: expected 48x32 px as 2\.png, got 16x16"):
        reader.read(reader.index.entries[1])
    assert numbers(reader.read(reader.index.entries[1], [0, 1]).frames) == [0, 2]


def test_a_folder_of_frames_is_a_clip_of_its_own_name(tmp_path: Path) -> None:
    write_images(tmp_path / "walk", ["1.jpg", "2.jpg"])
    assert [e.id for e in Videos(tmp_path / "walk").index.entries] == ["walk"]


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    write_film(tmp_path / "disk" / "a.mp4", 2)
    here = tmp_path / "here"
    here.mkdir()
    (here / "part").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "loop").symlink_to(here)
    assert [entry.id for entry in Videos(here).index.entries] == ["part/a"]


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="laid out as videos, got nothing"):
        _ = Videos(tmp_path).index

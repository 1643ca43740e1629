"""RealEstate10K: every public layout on films whose frames tell their number, and real clips."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from jog3r.data.readers.realestate10k import RealEstate10K
from jog3r.data.readers.registry import open_reader
from jog3r.errors import FileError, InputError
from tests.data.readers.films import known, numbers, write_film, write_images

YOUTUBE = "QShWPZxTDoE"
# 30 frames per second from the 2nd second on, as in the public files.
TIMES = [2_000_000 + round(k * 1e6 / 30) for k in range(8)]


def camera_lines(times: list[int] = TIMES, url: str = YOUTUBE) -> list[str]:
    lines = [f"https://www.youtube.com/watch?v={url}"]
    for k, time in enumerate(times):
        lens = "0.5 0.75 0.5 0.5 0 0"
        lines.append(f"{time} {lens} 1 0 0 {-0.1 * k} 0 1 0 0 0 0 1 0")
    return lines


def write_cameras(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def kinds(reader: RealEstate10K) -> dict[str, int]:
    assert reader.index.unexplained == 0
    return reader.index.counted()


def test_the_whole_film_is_read_by_time(tmp_path: Path) -> None:
    write_cameras(tmp_path / "train" / "aaaa.txt", camera_lines())
    # 10 frames per second less than the cameras have would not do: 30 of them.
    write_film(tmp_path / "videos" / f"{YOUTUBE}.mp4", 40, fps=10.0)
    slow = RealEstate10K(tmp_path)
    with pytest.raises(FileError, match="of another frame rate"):
        slow.read(slow.index.entries[0])
    times = [1_000_000 + 200_000 * k for k in range(8)]
    write_cameras(tmp_path / "train" / "aaaa.txt", camera_lines(times))
    reader = RealEstate10K(tmp_path)
    clip = reader.read(reader.index.entries[0])
    assert numbers(clip.frames) == [10, 12, 14, 16, 18, 20, 22, 24]
    assert clip.fps == pytest.approx(5.0)
    assert clip.id == "aaaa"
    assert clip.source == "RealEstate10K"
    assert "CC BY 4.0" in clip.licence
    assert clip.missing == ("depth", "points_world", "mask", "caption")
    assert clip.scale == "relative"
    assert torch.equal(known(clip.K)[3], torch.tensor([[24.0, 0, 24], [0, 24.0, 16], [0, 0, 1]]))
    # camera_from_world has x = -0.1 k, so the camera stands at +0.1 k.
    assert torch.allclose(known(clip.world_from_camera)[:, 0, 3], 0.1 * torch.arange(8))
    some = reader.read(reader.index.entries[0], [5, 1])
    assert numbers(some.frames) == [20, 12]
    assert torch.allclose(known(some.world_from_camera)[:, 0, 3], torch.tensor([0.5, 0.1]))
    assert some.fps == pytest.approx(1.25)


@pytest.mark.parametrize("place", ["videos/aaaa.mp4", f"video_clips/{YOUTUBE}/aaaa.mp4"])
def test_a_clip_cut_out_goes_by_order(tmp_path: Path, place: str) -> None:
    write_cameras(tmp_path / "pose_files" / "aaaa.txt", camera_lines())
    write_film(tmp_path / place, 8, fps=7.0)
    reader = RealEstate10K(tmp_path)
    assert kinds(reader) == {}
    clip = reader.read(reader.index.entries[0], [0, 2, 4])
    assert numbers(clip.frames) == [0, 2, 4]
    assert clip.fps == pytest.approx(15.0, rel=1e-4)


def test_a_clip_of_another_length_goes_by_time_from_the_first_camera(tmp_path: Path) -> None:
    times = [5_000_000 + 300_000 * k for k in range(4)]
    write_cameras(tmp_path / "train" / "aaaa.txt", camera_lines(times))
    write_film(tmp_path / "videos" / "aaaa.mp4", 12, fps=10.0)
    reader = RealEstate10K(tmp_path)
    assert numbers(reader.read(reader.index.entries[0]).frames) == [0, 3, 6, 9]
    write_film(tmp_path / "videos" / "aaaa.mp4", 9, fps=10.0)
    short = RealEstate10K(tmp_path)
    assert kinds(short) == {"broken-video": 1}
    assert "reaches 0.90 s, got 0.90 s" in short.index.problems[0].what


@pytest.mark.parametrize("place", ["frames/aaaa", "frames/test/aaaa", "test/aaaa"])
def test_images_are_found_by_time(tmp_path: Path, place: str) -> None:
    write_cameras(tmp_path / "test" / "aaaa.txt", camera_lines())
    write_images(tmp_path / place, [f"{time}.jpg" for time in TIMES])
    reader = RealEstate10K(tmp_path)
    assert kinds(reader) == {}
    assert reader.index.entries[0].length == 8
    assert numbers(reader.read(reader.index.entries[0], [7, 0]).frames) == [7, 0]


def test_images_of_other_names_count_where_they_are_as_many_as_cameras(tmp_path: Path) -> None:
    write_cameras(tmp_path / "test" / "aaaa.txt", camera_lines())
    write_images(tmp_path / "frames" / "aaaa", [f"frame{k}.png" for k in range(8)])
    reader = RealEstate10K(tmp_path)
    assert numbers(reader.read(reader.index.entries[0]).frames) == [*range(8)]
    (tmp_path / "frames" / "aaaa" / "frame7.png").unlink()
    lacking = RealEstate10K(tmp_path)
    assert kinds(lacking) == {"broken-frames": 1}
    assert "or as many as these, 8; got 7 such as frame0.png" in lacking.index.problems[0].what


@pytest.mark.parametrize(
    ("present", "used"),
    [([0, 1, 4, 5, 6, 7], [4, 5, 6, 7]), ([0, 2, 4, 6], [0, 2, 4, 6]), ([3], [3])],
    ids=str,
)
def test_the_longest_even_run_of_images_is_used_and_the_rest_is_counted(
    tmp_path: Path, present: list[int], used: list[int]
) -> None:
    write_cameras(tmp_path / "train" / "aaaa.txt", camera_lines())
    write_images(tmp_path / "frames" / "aaaa", [f"{TIMES[k]}.jpg" for k in present])
    reader = RealEstate10K(tmp_path)
    assert kinds(reader) == {"missing-frames": 1}
    assert f"{len(used)} of them, is used" in reader.index.problems[0].what
    clip = reader.read(reader.index.entries[0])
    assert numbers(clip.frames) == [present.index(k) for k in used]
    assert torch.allclose(known(clip.world_from_camera)[:, 0, 3], 0.1 * torch.tensor(used))


def test_missing_videos_are_tolerated_and_coverage_is_told(tmp_path: Path) -> None:
    for clip in ("aaaa", "bbbb", "cccc", "dddd"):
        write_cameras(tmp_path / "train" / f"{clip}.txt", camera_lines(url=f"{clip}-------"))
    write_film(tmp_path / "videos" / "bbbb.mp4", 8)
    reader = RealEstate10K(tmp_path)
    assert reader.index.announced == 4
    assert [entry.id for entry in reader.index.entries] == ["bbbb"]
    assert reader.index.coverage == 0.25
    assert kinds(reader) == {"no-video": 3}


def test_what_is_broken_is_counted_and_the_rest_is_used(tmp_path: Path) -> None:
    lines = camera_lines()
    trees = {
        "columns": [*lines[:3], lines[3] + " 1", *lines[4:]],
        "truncated": [*lines[:-1], lines[-1][:30]],
        "empty": [],
        "no_cameras": lines[:1],
        "no_url": lines[1:],
        "backwards": [lines[0], *lines[:0:-1]],
        "endless": [lines[0], "9" * 5000 + lines[1][7:], *lines[2:]],
        "good": lines,
        "cut": lines,
    }
    for name, content in trees.items():
        write_cameras(tmp_path / "train" / f"{name}.txt", content)
        write_film(tmp_path / "videos" / f"{name}.mp4", 8)
    cut = tmp_path / "videos" / "cut.mp4"
    cut.write_bytes(cut.read_bytes()[:-300])
    reader = RealEstate10K(tmp_path)
    assert [entry.id for entry in reader.index.entries] == ["good"]
    assert kinds(reader) == {"broken-cameras": 7, "broken-video": 1}
    said = {Path(problem.where).stem: problem.what for problem in reader.index.problems}
    assert "line 4: expected 19 columns" in said["columns"]
    assert "times that rise" in said["backwards"]
    assert "insert a first line" in said["no_url"]


def test_numbers_that_make_no_camera_are_found_with_the_frames(tmp_path: Path) -> None:
    lines = camera_lines()
    lines[2] = lines[2].replace(" 1 0 0 ", " 1 nan 0 ", 1)
    write_cameras(tmp_path / "train" / "aaaa.txt", lines)
    write_film(tmp_path / "videos" / "aaaa.mp4", 8)
    reader = RealEstate10K(tmp_path)
    with pytest.raises(FileError, match=r"line 3, column 9 \(m01\): expected a finite number"):
        reader.read(reader.index.entries[0])


def test_a_clip_in_two_splits_is_used_once(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_cameras(tmp_path / split / "aaaa.txt", camera_lines())
    write_film(tmp_path / "videos" / "aaaa.mp4", 8)
    reader = RealEstate10K(tmp_path)
    assert len(reader.index.entries) == 1
    assert kinds(reader) == {"duplicate-id": 1}


def test_a_split_can_be_chosen(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_cameras(tmp_path / split / f"{split}1.txt", camera_lines())
        write_film(tmp_path / "videos" / f"{split}1.mp4", 8)
    assert [e.id for e in RealEstate10K(tmp_path).index.entries] == ["test1", "train1"]
    assert [e.id for e in RealEstate10K(tmp_path, split="test").index.entries] == ["test1"]
    with pytest.raises(FileError, match=r"split: expected a folder of txt files .* 'dev'"):
        RealEstate10K(tmp_path, split="dev")


def captions(content: Any, suffix: str) -> str:
    if suffix == ".json":
        return json.dumps(content)
    if suffix == ".jsonl":
        return "\n".join(
            json.dumps({"clip_path": f"video_clips/x/{clip}.mp4", "caption": text})
            for clip, text in content.items()
        )
    return "clip_name,caption\n" + "".join(f'{clip},"{text}"\n' for clip, text in content.items())


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv"])
def test_captions_are_read_and_empty_ones_counted(tmp_path: Path, suffix: str) -> None:
    for clip in ("aaaa", "bbbb", "cccc"):
        write_cameras(tmp_path / "train" / f"{clip}.txt", camera_lines())
        write_film(tmp_path / "videos" / f"{clip}.mp4", 8)
    content = {"aaaa": "a kitchen, with a stove", "bbbb": "  "}
    (tmp_path / f"captions{suffix}").write_text(captions(content, suffix))
    reader = RealEstate10K(tmp_path)
    assert kinds(reader) == {"empty-caption": 1}
    assert [reader.read(entry, [0]).caption for entry in reader.index.entries] == [
        "a kitchen, with a stove",
        None,
        None,
    ]
    assert ["caption" in entry.parts for entry in reader.index.entries] == [True, False, False]
    elsewhere = tmp_path / "mine.json"
    elsewhere.write_text(json.dumps({"bbbb": ["a hall"]}))
    other = RealEstate10K(tmp_path, captions=elsewhere)
    assert other.read(other.index.entries[1], [0]).caption == "a hall"


def test_the_size_asked_for_crops_and_takes_k_along(tmp_path: Path) -> None:
    write_cameras(tmp_path / "train" / "aaaa.txt", camera_lines())
    write_film(tmp_path / "videos" / "aaaa.mp4", 8)  # 32 x 48
    reader = RealEstate10K(tmp_path, size=(16, 16))
    clip = reader.read(reader.index.entries[0])
    assert clip.image_size == (16, 16)
    # 48 wide -> 32 in the middle -> half.
    assert torch.allclose(known(clip.K)[0], torch.tensor([[12.0, 0, 8], [0, 12.0, 8], [0, 0, 1]]))


def test_what_cannot_be_asked_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="expected a folder laid out as re10k, got nothing"):
        _ = RealEstate10K(tmp_path).index
    with pytest.raises(FileError, match="expected a folder of re10k, got none"):
        open_reader(tmp_path / "none", "re10k")
    with pytest.raises(InputError, match="folder: expected a folder of re10k, got none; name it"):
        open_reader(None, "re10k")
    with pytest.raises(InputError, match="image_size"):
        open_reader(tmp_path, "re10k", size=(0, 1))
    write_cameras(tmp_path / "train" / "aaaa.txt", camera_lines())
    write_film(tmp_path / "videos" / "aaaa.mp4", 8)
    reader = RealEstate10K(tmp_path)
    for frames in ([], [8], [-1]):
        with pytest.raises(InputError, match="aaaa: expected some of the frames 0 to 7"):
            reader.read(reader.index.entries[0], frames)


def test_real_clips_have_the_cameras_that_were_checked_by_epipolar_lines(
    shared: Path, tmp_path: Path
) -> None:
    source = shared / "data" / "re10k_clips"
    (tmp_path / "test").mkdir()
    (tmp_path / "videos").mkdir()
    for folder in (path for path in source.iterdir() if path.is_dir()):
        shutil.copy(folder / "original_cameras.txt", tmp_path / "test" / f"{folder.name}.txt")
        shutil.copy(folder / "clip.mp4", tmp_path / "videos" / f"{folder.name}.mp4")
    reader = open_reader(tmp_path, "re10k")
    assert len(reader.index.entries) == 5
    assert reader.index.problems == ()
    for entry in reader.index.entries:
        known = json.loads((source / entry.id / "cameras.json").read_text())["frames"]
        clip = reader.read(entry, [0, 8, 15])
        assert clip.image_size == (256, 384)
        for frame, at in enumerate((0, 8, 15)):
            for name in ("K", "world_from_camera"):
                value = getattr(clip, name)[frame]
                assert torch.allclose(value, torch.tensor(known[at][name]), atol=2e-4)

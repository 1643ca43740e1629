"""Frames of videos by number and time: each frame is grey of its own, so that it tells its name."""

from pathlib import Path

import pytest
import torch

from jog3r.errors import FileError, InputError
from jog3r.export.mp4 import read_mp4, write_mp4
from jog3r.export.video_frames import probe_video, read_frames, read_frames_at
from jog3r.results import Video

COUNT, FPS = 40, 10.0


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    grey = (6 * torch.arange(COUNT)).to(torch.uint8)
    write_mp4(path, Video(grey[:, None, None, None].expand(-1, 32, 48, 3).contiguous(), FPS))
    return path


def names(frames: torch.Tensor) -> list[int]:
    return (frames.float().mean(dim=(1, 2, 3)) / 6).round().int().tolist()


def test_the_header_tells_length_and_rate(film: Path) -> None:
    assert probe_video(film) == (COUNT, FPS, COUNT / FPS)


def test_frames_by_number_come_in_the_order_asked(film: Path) -> None:
    assert names(read_frames(film, [7, 3, 39, 3])) == [7, 3, 39, 3]
    every = read_frames(film, range(COUNT))
    assert torch.equal(every, read_mp4(film).frames)


def test_frames_by_time_are_the_nearest(film: Path) -> None:
    assert names(read_frames_at(film, [0.0, 0.14, 3.9])) == [0, 1, 39]
    # Behind a later key frame, and backwards.
    assert names(read_frames_at(film, [3.44, 3.3, 3.16])) == [34, 33, 32]


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_other_containers_are_counted(film: Path, tmp_path: Path, suffix: str) -> None:
    import av

    path = tmp_path / f"film{suffix}"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=10, width=48, height=32)
        for frame in read_mp4(film, max_frames=12).frames.numpy():
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())
    assert probe_video(path).frames == 12
    assert names(read_frames_at(path, [0.5]))[0] in (4, 5, 6)


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
def test_frames_behind_key_frames_keep_their_time(film: Path, tmp_path: Path, codec: str) -> None:
    import av

    path = tmp_path / ("film.mp4" if codec == "libx264" else "film.webm")
    options = {"bf": "2", "x264-params": "open-gop=1"} if codec == "libx264" else {}
    with av.open(str(path), "w", options={}) as out:
        stream = out.add_stream(codec, rate=10, width=48, height=32, options=options)
        stream.gop_size = 6
        stream.pix_fmt = "yuv420p"
        for frame in read_mp4(film).frames.numpy():
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())
    assert probe_video(path).frames == COUNT
    for first in range(0, 36, 5):
        wanted = [first, first + 1, first + 3]
        assert names(read_frames_at(path, [n / FPS for n in wanted])) == wanted
        assert names(read_frames(path, wanted)) == wanted


def test_what_is_not_there_is_an_error(film: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"at least 51 frames, got 40"):
        read_frames(film, [50])
    with pytest.raises(FileError, match=r"a frame of its own at 4\.200 s, got the nearest at 3\.9"):
        read_frames_at(film, [4.2])
    with pytest.raises(FileError, match="of another frame rate"):
        read_frames_at(film, [0.99, 1.01])
    with pytest.raises(InputError, match="numbers: expected frames from 0 on"):
        read_frames(film, [])
    with pytest.raises(InputError, match="times_s: expected times from 0 on"):
        read_frames_at(film, [-1.0])
    for read in (probe_video, lambda p: read_frames(p, [0]), lambda p: read_frames_at(p, [0.0])):
        with pytest.raises(FileError, match="got no file of this name"):
            read(tmp_path / "none.mp4")


def test_broken_files_are_an_error(film: Path, tmp_path: Path) -> None:
    cut, text, empty = tmp_path / "cut.mp4", tmp_path / "text.mp4", tmp_path / "empty.mp4"
    cut.write_bytes(film.read_bytes()[:-400])
    text.write_text("no video")
    empty.touch()
    for path in (cut, text, empty):
        with pytest.raises(FileError, match="truncated"):
            probe_video(path)
        with pytest.raises(FileError, match="truncated"):
            read_frames(path, range(COUNT))
    with pytest.raises(FileError, match="truncated"):
        read_frames_at(text, [0.0])

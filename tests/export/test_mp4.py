import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from jog3r import FileError, InputError, SaveError, Video
from jog3r.export.mp4 import read_mp4, write_mp4


def smooth_video(frames: int = 6, height: int = 48, width: int = 64, fps: float = 10) -> Video:
    """Slowly changing colours, so that what is lost is rounding only; frame t is t steps of 8."""
    y, x = np.mgrid[:height, :width]
    ramp = np.stack([60 + y, 60 + x, 120 + 0 * x], -1)
    clip = np.stack([ramp + 8 * t for t in range(frames)]).clip(0, 255).astype(np.uint8)
    return Video(torch.from_numpy(clip), fps)


def brightness(video: Video) -> list[int]:
    """Which frames of a smooth video these are."""
    first = 120.0
    return [round((float(f[..., 2].float().mean()) - first) / 8) for f in video.frames]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return smooth_video(30, 16, 16, 30).save(tmp_path / "clip.mp4")


@pytest.fixture
def web_clip(clip: Path, tmp_path: Path) -> Path:
    """The same with its index in front, as players on the web want it."""
    path = tmp_path / "web.mp4"
    with (
        av.open(str(clip)) as source,
        av.open(str(path), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return path


# Writing


@pytest.mark.parametrize("size", [(48, 64), (47, 63), (9, 64), (2, 2)])
def test_size_number_rate_and_colours_survive(tmp_path: Path, size: tuple[int, int]) -> None:
    video = smooth_video(6, *size, 7.5)
    loaded = read_mp4(video.save(tmp_path / "clip.mp4"))
    assert loaded.frames.shape == video.frames.shape
    assert loaded.fps == 7.5
    difference = loaded.frames.float() - video.frames.float()
    assert difference.abs().mean() < 2
    # No drift: reading and writing again and again must not darken or tint the picture.
    assert difference.mean(dim=(0, 1, 2)).abs().max() < 1
    assert brightness(loaded) == list(range(6))


def test_a_copy_of_another_size_is_read_whole(tmp_path: Path) -> None:
    """ffmpeg copies our note of the size to pictures that it has resized."""
    own = smooth_video(6, 47, 63).save(tmp_path / "own.mp4")
    with av.open(str(own)) as source:
        note = source.metadata["comment"]
    large = tmp_path / "large.mp4"
    with av.open(str(large), "w", options={"movflags": "use_metadata_tags"}) as target:
        target.metadata["comment"] = note
        stream = target.add_stream("h264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for frame in smooth_video(6, 96, 128).frames.numpy():
            target.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        target.mux(stream.encode())
    assert read_mp4(large).frames.shape == (6, 96, 128, 3)


def test_another_reader_finds_what_players_need(tmp_path: Path) -> None:
    video = smooth_video(6, 47, 63)
    with av.open(str(video.save(tmp_path / "clip.mp4"))) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.width, stream.height) == (64, 48)  # padded to even numbers
        assert stream.average_rate == Fraction(10)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == 6
    # The padding repeats the border, it is not black.
    assert np.abs(frames[0][-1].astype(float) - frames[0][-2]).mean() < 3


@pytest.mark.parametrize("fps", [0.5, 24000 / 1001, 29.97, 240.0])
def test_frame_rates(tmp_path: Path, fps: float) -> None:
    assert read_mp4(smooth_video(3, fps=fps).save(tmp_path / "a.mp4")).fps == pytest.approx(fps)


def test_a_long_video_keeps_its_order(tmp_path: Path) -> None:
    video = smooth_video(15, 16, 16)
    assert brightness(read_mp4(video.save(tmp_path / "a.mp4"))) == list(range(15))


def test_writing_where_nothing_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SaveError, match=r"file/a\.mp4: expected to write it whole"):
        write_mp4(tmp_path / "file" / "a.mp4", smooth_video())


@pytest.mark.parametrize("size", [(64, 17_000), (20_000, 8)])
def test_frames_too_large_for_the_encoder(tmp_path: Path, size: tuple[int, int]) -> None:
    video = Video(torch.zeros(1, *size, 3, dtype=torch.uint8), 8)
    with pytest.raises(InputError, match=rf"at most 16384 px .* got {size[1]}x{size[0]}"):
        video.save(tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


# Reading


def test_stride_and_max_frames(clip: Path) -> None:
    thinned = read_mp4(clip, stride=4)
    assert brightness(thinned)[:4] == [0, 4, 8, 12]
    assert len(thinned) == 8
    assert thinned.fps == 7.5
    assert brightness(read_mp4(clip, stride=2, max_frames=3)) == [0, 2, 4]
    assert len(read_mp4(clip, max_frames=99)) == 30


def test_fps_takes_the_frame_shown_at_each_time(clip: Path) -> None:
    thinned = read_mp4(clip, fps=10)
    assert brightness(thinned)[:4] == [0, 3, 6, 9]
    assert len(thinned) == 10
    assert thinned.fps == 10
    # 30 to 12 frames per second: 0, 2.5, 5, 7.5, ...
    assert brightness(read_mp4(clip, fps=12, max_frames=6)) == [0, 2, 5, 7, 10, 12]
    assert brightness(read_mp4(clip, fps=30, max_frames=5)) == [0, 1, 2, 3, 4]


def test_fps_refuses_to_invent_frames(clip: Path) -> None:
    with pytest.raises(InputError, match=r"fps: expected at most 30, the rate of .*, got 60"):
        read_mp4(clip, fps=60)
    with pytest.raises(InputError, match="stride, fps: expected only one of them"):
        read_mp4(clip, fps=10, stride=2)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_rotation_noted_by_phones_is_applied(tmp_path: Path, turns: int) -> None:
    upright = torch.zeros(4, 32, 64, 3, dtype=torch.uint8)
    upright[:, :16, :32] = 255  # a white upper left corner
    path = Video(upright, 10).save(tmp_path / "a.mp4")
    # The matrix of the track header says how a player turns the picture (clockwise here).
    a, b = [(1, 0), (0, 1), (-1, 0), (0, -1)][turns]
    matrix = struct.pack(">9i", a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30)
    data = path.read_bytes()
    start = data.index(struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30), 400)
    path.write_bytes(data[:start] + matrix + data[start + 36 :])
    loaded = read_mp4(path).frames[0].float().mean(dim=-1)
    expected = torch.rot90(upright[0, ..., 0], -turns).float()
    assert loaded.shape == expected.shape
    assert (loaded - expected).abs().mean() < 8


def test_a_mirrored_picture_is_refused(tmp_path: Path) -> None:
    path = smooth_video().save(tmp_path / "a.mp4")
    data = path.read_bytes()
    plain = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    mirror = struct.pack(">9i", -1 << 16, 0, 0, 0, 1 << 16, 0, 64 << 16, 0, 1 << 30)
    start = data.index(plain, 400)
    path.write_bytes(data[:start] + mirror + data[start + 36 :])
    with pytest.raises(FileError, match=r"a\.mp4: .* got one to be shown mirrored"):
        read_mp4(path)


def test_a_colon_in_a_name_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    smooth_video().save("12:30:05.mp4")
    assert len(read_mp4("12:30:05.mp4")) == 6
    Path("pipe:0.mp4").write_text("no video")
    with pytest.raises(FileError, match=r"^pipe:0\.mp4: expected a readable video"):
        read_mp4("pipe:0.mp4")


def write_container(path: Path, codec: str, pixels: str = "yuv420p", frames: int = 20) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, width=32, height=32)
        stream.pix_fmt = pixels
        for frame in smooth_video(frames, 32, 32).frames.numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_flv_announces_its_length(tmp_path: Path) -> None:
    path = write_container(tmp_path / "a.flv", "flv1")
    assert len(read_mp4(path)) == 20
    with av.open(str(path)) as container:
        last = [packet.pos for packet in container.demux() if packet.size][-4]
    assert last is not None
    path.write_bytes(path.read_bytes()[:last])  # between two frames: none is damaged
    with pytest.raises(FileError, match="got a truncated file"):
        read_mp4(path)


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [("a.ts", "libx264", "yuv420p"), ("a.gif", "gif", "rgb8"), ("a.h264", "libx264", "yuv420p")],
)
def test_containers_without_an_announced_length(
    tmp_path: Path, name: str, codec: str, pixels: str
) -> None:
    assert len(read_mp4(write_container(tmp_path / name, codec, pixels))) == 20


def test_other_containers(tmp_path: Path) -> None:
    for name, codec in (("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx-vp9")):
        assert len(read_mp4(write_container(tmp_path / name, codec))) == 20
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: int(0.6 * len(data))])
        with pytest.raises(FileError, match=name):
            read_mp4(tmp_path / name)


def test_real_clip(shared: Path) -> None:
    for path in (shared / "data/re10k_clips").glob("*/clip.mp4"):
        video = read_mp4(path)
        assert video.frames.shape == (16, 256, 384, 3)
        assert video.fps == 8


# What is refused


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_truncated(clip: Path, web_clip: Path, share: float) -> None:
    for path in (clip, web_clip):
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(FileError, match=r"\.mp4: expected"):
            read_mp4(path)


def test_truncated_by_one_byte(web_clip: Path) -> None:
    assert len(read_mp4(web_clip)) == 30
    web_clip.write_bytes(web_clip.read_bytes()[:-1])
    with pytest.raises(FileError, match="got a truncated file"):
        read_mp4(web_clip)


def test_a_truncated_file_may_be_read_up_to_the_damage(web_clip: Path) -> None:
    web_clip.write_bytes(web_clip.read_bytes()[:-1])
    assert len(read_mp4(web_clip, max_frames=5)) == 5


def test_damaged_in_the_middle(web_clip: Path) -> None:
    data = bytearray(web_clip.read_bytes())
    start = data.index(b"mdat") + 1000
    data[start : start + 400] = bytes(400)
    web_clip.write_bytes(data)
    with pytest.raises(FileError, match=r"web\.mp4: expected (intact frames|a readable video)"):
        read_mp4(web_clip)


def test_foreign_and_missing(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="expected a video file, got no file of this name"):
        read_mp4(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("this is no video" * 100)
    with pytest.raises(FileError, match="expected a readable video, got 'Invalid data"):
        read_mp4(tmp_path / "text.mp4")


def test_sound_only(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(FileError, match="expected a video stream, got none; is it a sound file"):
        read_mp4(tmp_path / "a.mp4")


def test_without_any_frame(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=10, width=32, height=32)
        stream.pix_fmt = "yuv420p"
        container.start_encoding()
    with pytest.raises(FileError, match=r"a\.mkv: expected"):
        read_mp4(tmp_path / "a.mkv")

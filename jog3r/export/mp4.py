"""Video files: writing mp4 (H.264), and decoding whatever FFmpeg reads.

Writing is lossy by nature: 8-bit YUV 4:2:0 halves the resolution of colour. A quality is chosen at
which the loss is not seen. H.264 in this form needs even sizes; an odd one is padded by repeating
its last row or column, the true size is kept in the file's comment, and our reader crops to it
(other players show the extra row or column).
"""

import io
import re
import struct
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

from jog3r.errors import FileError, InputError, MissingPackageError
from jog3r.export.atomic import atomic_file
from jog3r.export.frame_stack import FrameStack
from jog3r.result_checks import as_path
from jog3r.results import Video

try:
    import av
    from av.container import InputContainer
    from av.error import FFmpegError
    from av.video.reformatter import ColorRange, Colorspace, Interpolation
except ImportError as error:  # pragma: no cover
    raise MissingPackageError(
        f"av: expected PyAV for video files, got '{error}'; pip install av"
    ) from error

QUALITY = "12"
"""H.264 constant rate factor: 0 is lossless, about 17 is called visually lossless."""

_BT709 = 1  # as colour matrix, primaries and transfer function alike
# Without these swscale rounds downwards, and every round trip darkens the picture by one level.
_EXACT = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.BITEXACT
)
_LARGEST_SIDE = 16_384  # [px], of the encoder
_SIZE_COMMENT = re.compile(r"jog3r size=(\d+)x(\d+)")


def write_mp4(path: str | Path, video: Video) -> None:
    """Write a video at high quality.

    Args:
        path: to create or replace.
        video: to write.

    Raises:
        InputError: frames larger than the encoder takes.
        SaveError: the file could not be written; nothing partial is left.
    """
    if max(video.height, video.width) > _LARGEST_SIDE:
        raise InputError(
            f"video: expected at most {_LARGEST_SIDE} px a side for H.264, got"
            f" {video.width}x{video.height}; resize it, or save the frames as images"
        )
    height, width = video.height + video.height % 2, video.width + video.width % 2
    buffer = io.BytesIO()
    options = {"movflags": "use_metadata_tags"}
    with av.open(buffer, "w", format="mp4", options=options) as container:
        container.metadata["comment"] = f"jog3r size={video.width}x{video.height}"
        rate = Fraction(video.fps).limit_denominator(100_000)
        stream = container.add_stream("libx264", rate=rate, width=width, height=height)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": QUALITY, "preset": "slow"}
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = ColorRange.MPEG
        for frame in video.frames.numpy():
            padded = np.pad(
                frame, ((0, height - video.height), (0, width - video.width), (0, 0)), mode="edge"
            )
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(padded), format="rgb24")
            container.mux(stream.encode(_to_yuv(picture)))
        container.mux(stream.encode())
    with atomic_file(path) as file:
        file.write(buffer.getbuffer())


def read_mp4(
    path: str | Path,
    *,
    stride: int = 1,
    max_frames: int | None = None,
    fps: float | None = None,
) -> Video:
    """Decode a video file of any container and codec that FFmpeg knows.

    Rotation stored by phones is applied; the pixels' aspect ratio is not (frames come as stored).

    Args:
        path: to read.
        stride: keep every stride-th frame.
        max_frames: stop after so many kept frames; the rest of the file is not looked at.
        fps: frames per second wanted, at most the file's own: at each of the times k / fps the
            frame shown then is kept.

    Returns:
        The frames, with the rate at which they were kept.

    Raises:
        InputError: `fps` above the file's own, or together with `stride`.
        FileError: missing, corrupt, truncated or foreign file, or one without any video frame.
    """
    if fps is not None and stride != 1:
        raise InputError(f"stride, fps: expected only one of them, got {stride} and {fps}")
    if not as_path("path", path).is_file():
        raise FileError(f"{path}: expected a video file, got no file of this name")
    with FrameStack() as kept:
        try:
            # file: else FFmpeg takes what stands before a colon in a name for a protocol.
            with av.open(f"file:{path}", metadata_errors="replace") as container:
                stream = video_stream(path, container)
                own_rate = float(stream.average_rate or 0)
                if fps is not None and fps > own_rate * (1 + 1e-6):
                    raise InputError(
                        f"fps: expected at most {own_rate:g}, the rate of {path}, got {fps:g}"
                    )
                size = true_size(container.metadata.get("comment", ""))
                for frame in _thinned(path, decoded(path, container, stream), stride, fps):
                    kept.append(to_rgb(path, frame, size))
                    if len(kept) == max_frames:
                        break
        except FFmpegError as error:
            raise FileError(
                f"{path}: expected a readable video, got '{error.strerror}' after {len(kept)} kept"
                " frames; is the file corrupt or truncated?"
            ) from error
        if not kept:
            raise FileError(f"{path}: expected at least one video frame, got none")
        sizes = sorted(set(kept.sizes))
        if len(sizes) > 1:
            raise FileError(f"{path}: expected frames of one size, got (height, width) {sizes}")
        return Video(kept.tensor(), own_rate / stride if fps is None else fps)


def video_stream(path: str | Path, container: InputContainer) -> av.VideoStream:
    """Return the first video stream of an open file.

    Raises:
        FileError: none, or one without a frame rate.
    """
    if not container.streams.video:
        raise FileError(f"{path}: expected a video stream, got none; is it a sound file?")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    if not stream.average_rate:
        raise FileError(f"{path}: expected a frame rate and frames, got none; re-encode the file")
    return stream


def decoded(
    path: str | Path, container: InputContainer, stream: av.VideoStream
) -> Iterator[av.VideoFrame]:
    """Yield every frame, then check that the file reached as far as it announced.

    Raises:
        FileError: a damaged frame, or a file that ends too early.
    """
    end_s = 0.0
    for packet in container.demux(stream):
        if packet.pts is not None:
            end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        for frame in packet.decode():
            assert isinstance(frame, av.VideoFrame)  # the demuxer was given a video stream
            if frame.is_corrupt:
                raise FileError(
                    f"{path}: expected intact frames, got a damaged one at"
                    f" {frame.time or 0.0:.2f} s; re-encode or replace the file"
                )
            yield frame
    announced_s = _announced_s(container, stream)
    if end_s < announced_s - 1.5 / float(stream.average_rate or 1) or box_is_cut(path):
        raise FileError(
            f"{path}: expected {announced_s:.2f} s of video, got a truncated file"
            f" ({end_s:.2f} s readable); copy it again"
        )


def _announced_s(container: InputContainer, stream: av.VideoStream) -> float:
    """Return where the header says that the stream ends, 0 if it does not."""
    if stream.duration is not None:
        return float(((stream.start_time or 0) + stream.duration) * (stream.time_base or 0))
    match = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))  # Matroska
    if match is not None:
        return 3600 * int(match[1]) + 60 * int(match[2]) + float(match[3])
    # The whole file's length tells that of the video only where no sound may be longer.
    alone = len(container.streams) == 1
    return (container.duration or 0) / av.time_base if alone else 0.0


def box_is_cut(path: str | Path) -> bool:
    """Tell whether the last box of an mp4 or mov reaches beyond the end of the file.

    A file cut short by a few frames announces no wrong time: pictures are stored out of order.
    """
    with Path(path).open("rb") as file:
        end = file.seek(0, io.SEEK_END)
        start = 0
        while start < end:
            file.seek(start)
            size, kind, large = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
            if start == 0 and kind != b"ftyp":
                return False  # another kind of container
            size = {0: end - start, 1: large}.get(size, size)
            start += max(size, 8)
        return start > end


def _thinned(
    path: str | Path, frames: Iterator[av.VideoFrame], stride: int, fps: float | None
) -> Iterator[av.VideoFrame]:
    """Yield every stride-th frame, or the frame shown at each of the times k / fps."""
    if fps is None:
        yield from islice(frames, 0, None, stride)
        return
    count, start, shown = 0, None, None
    for frame in frames:
        if frame.time is None:
            raise FileError(f"{path}: expected time stamps for fps, got none; use stride instead")
        start = frame.time if start is None else start
        while shown is not None and count / fps < frame.time - start - 1e-6:
            yield shown
            count += 1
        shown = frame
    if shown is not None and count / fps <= (shown.time or 0.0) - (start or 0.0) + 1e-6:
        yield shown


def _to_yuv(frame: av.VideoFrame) -> av.VideoFrame:
    return frame.reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        interpolation=_EXACT,
    )


def to_rgb(path: str | Path, frame: av.VideoFrame, size: tuple[int, int] | None) -> np.ndarray:
    """Return a frame upright as (H, W, 3), cropped where `true_size` says so.

    Raises:
        FileError: a mirrored frame, or one turned by other than quarter turns.
    """
    _check_not_mirrored(path, frame)
    if frame.rotation % 90:
        raise FileError(f"{path}: expected rotation in quarter turns, got {frame.rotation} deg")
    rgb = frame.reformat(
        format="rgb24", dst_color_range=ColorRange.JPEG, interpolation=_EXACT
    ).to_ndarray()
    # Other programs copy our comment to pictures that they have resized.
    if size is not None and rgb.shape[:2] == tuple(side + side % 2 for side in size):
        rgb = rgb[: size[0], : size[1]]
    return np.ascontiguousarray(np.rot90(rgb, frame.rotation // 90))


def _check_not_mirrored(path: str | Path, frame: av.VideoFrame) -> None:
    """Refuse a mirrored picture, whose `frame.rotation` says nothing of the mirror."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return
    a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32).astype(float)
    if a * d - b * c < 0:
        raise FileError(
            f"{path}: expected a picture as it was filmed, got one to be shown mirrored;"
            " re-encode the file"
        )


def true_size(comment: str) -> tuple[int, int] | None:
    """Return (height, width) before our writer padded it to even numbers."""
    match = _SIZE_COMMENT.fullmatch(comment)
    return None if match is None else (int(match[2]), int(match[1]))

"""Single frames of video files: by number and by time, and what a header says without decoding.

`read_mp4` reads a video from its start; a data set asks for sixteen frames of a film of an hour.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError
from jaxtyping import UInt8
from torch import Tensor

from jog3r.errors import FileError, InputError
from jog3r.export.frame_stack import FrameStack
from jog3r.export.mp4 import box_is_cut, decoded, to_rgb, true_size, video_stream
from jog3r.result_checks import as_path


class VideoFacts(NamedTuple):
    """What the header of a file says."""

    frames: int
    fps: float
    seconds: float


def probe_video(path: str | Path) -> VideoFacts:
    """Read a file's header; where it does not count the frames, count them without decoding.

    Raises:
        FileError: missing, foreign or truncated file, or one without any video frame.
    """
    with _opened(path) as (container, stream):
        fps = float(stream.average_rate or 0)
        frames = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
    if not frames or box_is_cut(path):
        raise FileError(
            f"{path}: expected a whole video, got a truncated or empty file; copy it again"
        )
    return VideoFacts(frames, fps, frames / fps)


def read_frames(path: str | Path, numbers: Sequence[int]) -> UInt8[Tensor, "t h w 3"]:
    """Decode some frames; what lies behind the last of them is not looked at.

    Args:
        path: to read.
        numbers: of the frames from 0, in any order.

    Raises:
        InputError: no number, or one below 0.
        FileError: missing, corrupt, truncated or foreign file, or one with fewer frames.
    """
    if not numbers or min(numbers) < 0:
        raise InputError(f"numbers: expected frames from 0 on, got {[*numbers]}")
    wanted = sorted(set(numbers))
    with FrameStack() as kept, _opened(path) as (container, stream):
        size, number = true_size(container.metadata.get("comment", "")), -1
        for number, frame in enumerate(decoded(path, container, stream)):
            # One frame more than needed: behind the last of all, the file's end is checked.
            if number > wanted[-1]:
                break
            if number == wanted[len(kept)]:
                kept.append(to_rgb(path, frame, size))
        if len(kept) < len(wanted):
            raise FileError(
                f"{path}: expected at least {wanted[-1] + 1} frames, got {number + 1}; copy it"
                " again"
            )
        return _in_order(_stacked(path, kept), wanted, numbers)


def read_frames_at(path: str | Path, times_s: Sequence[float]) -> UInt8[Tensor, "t h w 3"]:
    """Decode the frames that are shown at some times, from the key frame before the first of them.

    Args:
        path: to read.
        times_s: from the start of the video, in any order [s].

    Raises:
        InputError: no time, or one below 0.
        FileError: missing, corrupt or foreign file, or one that has no frame of its own within half
            a frame of each time, for example of another frame rate, or that ends before.
    """
    if not times_s or min(times_s) < 0:
        raise InputError(f"times_s: expected times from 0 on, got {[*times_s]}")
    wanted = sorted(set(times_s))
    with FrameStack() as kept, _opened(path) as (container, stream):
        size = true_size(container.metadata.get("comment", ""))
        tolerance = 0.5 / float(stream.average_rate or 1) + 1e-3
        used = -1.0
        for time, found, frame in _nearest(_timed(container, stream, wanted[0]), wanted):
            if abs(found - time) > tolerance or found == used or frame.is_corrupt:
                raise FileError(
                    f"{path}: expected a frame of its own at {time:.3f} s, got the nearest at"
                    f" {found:.3f} s; is the video cut, damaged or of another frame rate?"
                )
            used = found
            kept.append(to_rgb(path, frame, size))
        if not kept:
            raise FileError(f"{path}: expected frames from {wanted[0]:.3f} s on, got none")
        return _in_order(_stacked(path, kept), wanted, times_s)


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    if not as_path("path", path).is_file():
        raise FileError(f"{path}: expected a video file, got no file of this name")
    try:
        # file: else FFmpeg takes what stands before a colon in a name for a protocol.
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            yield container, video_stream(path, container)
    except FFmpegError as error:
        raise FileError(
            f"{path}: expected a readable video, got '{error.strerror}'; is the file corrupt or"
            " truncated?"
        ) from error


def _timed(
    container: InputContainer, stream: av.VideoStream, first_s: float
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield frames with their times, from a key frame at or before the first time wanted."""
    base, start = float(stream.time_base or 1), stream.start_time or 0
    container.seek(int(first_s / base) + start, stream=stream)
    for frame in container.decode(stream):
        assert isinstance(frame, av.VideoFrame)  # the demuxer was given a video stream
        if frame.pts is not None:
            yield (frame.pts - start) * base, frame


def _nearest(
    frames: Iterator[tuple[float, av.VideoFrame]], times: Sequence[float]
) -> Iterator[tuple[float, float, av.VideoFrame]]:
    """Yield for each of the rising times the nearest frame and the frame's time."""
    left, before = list(times), None
    for now, frame in frames:
        here = (now, frame)
        while left and left[0] <= now:
            time = left.pop(0)
            nearer = before is not None and time - before[0] < now - time
            yield time, *(before if nearer and before is not None else here)
        if not left:
            return
        before = here
    if before is not None:
        for time in left:
            yield time, *before


def _stacked(path: str | Path, kept: FrameStack) -> Tensor:
    sizes = sorted(set(kept.sizes))
    if len(sizes) > 1:
        raise FileError(f"{path}: expected frames of one size, got (height, width) {sizes}")
    return kept.tensor()


def _in_order(frames: Tensor, places: Sequence[float], asked: Sequence[float]) -> Tensor:
    """Return the frames, found at rising places, in the order in which they were asked for."""
    if list(places) == list(asked):
        return frames
    return frames[torch.from_numpy(np.searchsorted(places, asked))]

"""Reading the user's clips: video files, folders of images, arrays and tensors.

Fitting them to a model's size, and its results to theirs, is `jog3r.data.fit`, handed on here.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from jog3r.data.fit import ResizeAndCrop, resize_and_crop
from jog3r.errors import FileError, InputError
from jog3r.export.frame_stack import FrameStack
from jog3r.result_checks import as_path, check_fps, check_unit_frames, whole_number
from jog3r.results import Video

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ResizeAndCrop", "image_names", "read_masks", "read_video", "resize_and_crop"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MIN_SIDE = 8
"""Smallest height and width [px] of a clip: below there is nothing to reconstruct."""
MOST_FRAMES = 1_000_000_000
"""Largest number that is taken for one of frames."""
DEFAULT_FPS = 10.0
"""Frame rate given to images, which have none of their own."""


def read_video(
    source: object,
    *,
    stride: int = 1,
    max_frames: int | None = None,
    fps: float | None = None,
) -> Video:
    """Read a clip from whatever the user has.

    Args:
        source: one of

            * a video file of any kind that FFmpeg reads;
            * a folder of images (jpg, png, webp, bmp), all of one size, in natural order
              (`2.jpg` before `10.jpg`), hidden and other files ignored; or one image file;
            * a numpy array or tensor, either uint8 `(T, H, W, 3)` in [0, 255] or floating point
              `(T, 3, H, W)` in [-1, 1]; nothing else, so that no form is ever mistaken;
            * a `Video`.
        stride: keep every stride-th frame.
        max_frames: keep at most so many frames, from the start.
        fps: frames per second of the result. A video file is thinned to it (at most its own
            rate; not together with `stride`); for the others it is the label of what was kept,
            None meaning 10, or the rate of the `Video` divided by the stride.

    Returns:
        RGB frames; at least one (who needs two says so).

    Raises:
        InputError: unusable arguments, wrong shape or dtype, NaN, values out of range.
        FileError: missing, corrupt, truncated, empty or foreign file or folder, images of
            several sizes, or frames below 8x8 px.

    Example:
        >>> read_video(torch.zeros(5, 16, 24, 3, dtype=torch.uint8), stride=2)
        Video(3 frames, 24x16 px, 10 fps)
    """
    _check_thinning(stride, max_frames, fps)
    if isinstance(source, str | Path):
        try:
            video = _read_path(as_path("source", source), stride, max_frames, fps)
        except OSError as error:  # for example a name too long, or a folder that may not be listed
            raise FileError(
                f"{source}: expected a video file or a folder of images, got '{error.strerror}'"
            ) from error
        if min(video.height, video.width) < MIN_SIDE:
            raise FileError(
                f"{source}: expected at least {MIN_SIDE}x{MIN_SIDE} px, got"
                f" {video.width}x{video.height}"
            )
        return video
    if isinstance(source, Video):
        frames, rate = source.frames, source.fps / stride
    else:
        frames, rate = _frames_of(source), DEFAULT_FPS
    if min(frames.shape[1:3]) < MIN_SIDE:
        raise InputError(
            f"source: expected at least {MIN_SIDE}x{MIN_SIDE} px, got"
            f" {frames.shape[2]}x{frames.shape[1]}"
        )
    return Video(frames[::stride][:max_frames].contiguous(), rate if fps is None else fps)


def read_masks(
    source: str | Path,
    *,
    stride: int = 1,
    max_frames: int | None = None,
    fps: float | None = None,
) -> Tensor:
    """Read masks from a video file or a folder of images.

    Args:
        source: as in `read_video`.
        stride: as in `read_video`, so that frames and their masks are thinned alike.
        max_frames: likewise.
        fps: likewise.

    Returns:
        `(T, H, W)` bool, True where any channel is above half: white counts, black does not.

    Raises:
        InputError: as `read_video`.
        FileError: as `read_video`.
    """
    video = read_video(source, stride=stride, max_frames=max_frames, fps=fps)
    return video.frames.amax(dim=-1) > 127


def image_names(folder: Path) -> list[str]:
    """Name the images of a folder, in the order in which `read_video` takes them.

    Raises:
        FileError: there are none, or one is a folder or a link to nothing.
    """
    return [path.name for path in _images_in(folder)]


def _check_thinning(stride: object, max_frames: object, fps: object) -> None:
    for name, value in (("stride", stride), ("max_frames", max_frames)):
        optional = name == "max_frames" and value is None
        if not optional and not 1 <= whole_number(name, value) <= MOST_FRAMES:
            raise InputError(f"{name}: expected a number from 1 to {MOST_FRAMES}, got {value!r}")
    if fps is not None:
        check_fps(fps)


def _frames_of(source: object) -> Tensor:
    """Return the frames of an array or tensor as uint8 (T, H, W, 3) on the CPU."""
    if isinstance(source, np.ndarray):
        try:
            source = torch.from_numpy(np.ascontiguousarray(source))
        except (TypeError, ValueError) as error:
            raise InputError(f"source: expected uint8 or floating point, got {source.dtype}") from (
                error
            )
    if not isinstance(source, Tensor):
        raise InputError(
            "source: expected a video file, a folder of images, an array or a tensor, got"
            f" {type(source).__name__}; stack frames into one uint8 array (T, H, W, 3)"
        )
    if source.dtype == torch.uint8:
        if source.ndim != 4 or source.shape[-1] != 3 or source.numel() == 0:
            raise InputError(
                f"source: expected uint8 (T, H, W, 3), got {tuple(source.shape)}; permute the"
                " dimensions, colours last"
            )
        return source.cpu().clone()  # what the caller does to it later is no longer ours
    if source.is_floating_point():
        if source.ndim == 4 and source.shape[1] != 3 and source.shape[-1] == 3:
            raise InputError(
                f"source: expected floating point as (T, 3, H, W) in [-1, 1], got"
                f" {tuple(source.shape)}; for values in [0, 1] pass (255 * frames).round() as uint8"
            )
        if source.ndim == 5:
            raise InputError(
                f"source: expected one clip (T, 3, H, W), got {tuple(source.shape)}; pass the"
                " clips of a batch one by one, batch[0]"
            )
        check_unit_frames("source", source)
        return Video.from_tensor(source, DEFAULT_FPS).frames
    raise InputError(
        f"source: expected uint8 (T, H, W, 3) or floating point (T, 3, H, W) in [-1, 1], got"
        f" {source.dtype} {tuple(source.shape)}; convert it to uint8"
    )


def _read_path(path: Path, stride: int, max_frames: int | None, fps: float | None) -> Video:
    if path.is_dir():
        return _read_images(_images_in(path), stride, max_frames, fps)
    if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        return _read_images([path], stride, max_frames, fps)
    from jog3r.export.mp4 import read_mp4

    return read_mp4(path, stride=stride, max_frames=max_frames, fps=fps)


def _images_in(folder: Path) -> list[Path]:
    names = [path for path in folder.iterdir() if not path.name.startswith(".")]
    images = [path for path in names if path.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        found = ", ".join(sorted(path.name for path in names)[:3]) or "an empty folder"
        raise FileError(
            f"{folder}: expected images ({' '.join(IMAGE_SUFFIXES)}), got {found}; give the folder"
            " that holds them, or the video file itself"
        )
    for path in images:  # a frame left out would move all those behind it
        if not path.is_file():
            raise FileError(
                f"{path}: expected an image, got a folder or a link to nothing; move it elsewhere"
            )
    return sorted(images, key=lambda path: natural_order(path.name))


def natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a key that sorts numbers inside names by value: 2.jpg before 10.jpg.

    Example:
        >>> sorted(["10.jpg", "2.jpg", "1.jpg"], key=natural_order)
        ['1.jpg', '2.jpg', '10.jpg']
    """
    parts = re.split(r"([0-9]+)", name.lower())
    key = [(int(part), "") if index % 2 else (0, part) for index, part in enumerate(parts)]
    return key, name  # the name itself decides between 1.png and 01.png


def _read_images(
    paths: Sequence[Path], stride: int, max_frames: int | None, fps: float | None
) -> Video:
    kept = paths[::stride][:max_frames]
    with FrameStack() as images:
        for path in kept:
            images.append(_read_image(path))
        sizes = Counter(images.sizes)
        if len(sizes) > 1:
            counted = ", ".join(f"{n} of {w}x{h}" for (h, w), n in sizes.most_common(4))
            usual = sizes.most_common(1)[0][0]
            odd = next(path for path, size in zip(kept, images.sizes, strict=True) if size != usual)
            raise FileError(
                f"{odd.parent}: expected images of one size, got {counted} (for example"
                f" {odd.name}); resize or crop them to one size first"
            )
        return Video(images.tensor(), DEFAULT_FPS if fps is None else fps)


def _read_image(path: Path) -> np.ndarray:
    """Read one image upright, as its camera noted it."""
    from PIL import ImageOps

    with opened_image(path) as stored:
        return opaque_rgb(path, ImageOps.exif_transpose(stored))


@contextmanager
def opened_image(path: Path) -> "Iterator[Image]":
    """Open an image; what it cannot decode inside the context is an error that names the file.

    Raises:
        FileError: missing, truncated or foreign file.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path}: expected a readable image, got '{error}'") from error


def opaque_rgb(path: Path, image: "Image") -> np.ndarray:
    """Return the colours of an image, (H, W, 3) uint8.

    Raises:
        FileError: more than 8 bits, or transparent pixels.
    """
    if image.mode.startswith(("I", "F")):
        raise FileError(f"{path}: expected 8-bit colours, got mode {image.mode}; convert it")
    if image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if alpha.min() < 255:
            raise FileError(
                f"{path}: expected an opaque image, got transparent pixels; lay it over a"
                " background first"
            )
    return np.array(image.convert("RGB"))

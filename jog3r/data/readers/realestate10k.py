"""RealEstate10K: camera paths of YouTube videos, with the frames or videos that could be had."""

import re
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor

from jog3r.data.clip import Clip, Part, fps_of_frames
from jog3r.data.clip_fit import fit_clip
from jog3r.data.media import IMAGE_SUFFIXES
from jog3r.data.readers.image_files import read_images
from jog3r.data.readers.interface import (
    ClipEntry,
    ClipReader,
    Index,
    Problem,
    clip_of_files,
    wanted_frames,
)
from jog3r.data.readers.tables import TABLES, read_captions
from jog3r.data.readers.video_files import VideoFiles
from jog3r.data.sampling import even_run
from jog3r.errors import FileError
from jog3r.export.realestate10k import COLUMNS, read_realestate10k
from jog3r.export.text import read_text
from jog3r.result_checks import image_size_of

CAMERA_FOLDERS = ("train", "test", "validation", "pose_files")
VIDEO_FOLDERS = ("videos", "video_clips")
_YOUTUBE = re.compile(r"(?:v=|youtu\.be/|embed/|shorts/)([\w-]{11})")
_TIME = re.compile(r"[0-9]{1,18}")
_ANY_SIZE = (1000, 1000)

How = Literal["images", "clip", "film"]


class Place(NamedTuple):
    """Where a clip's frames are: `rows` of the `lines` of a camera file, and images or a video."""

    cameras: str
    lines: int
    how: How
    media: str
    first_us: int
    rows: range


class RealEstate10K(ClipReader):
    """RealEstate10K as it is published, and as the tools that fetch its frames leave it.

    Layout::

        train/<clip>.txt  test/<clip>.txt        or pose_files/<clip>.txt, or the txt files alone
        frames/<clip>/<time>.jpg                 or frames/train/<clip>/, or train/<clip>/
        videos/<youtube id>.mp4                  the whole film, or
        videos/<clip>.mp4                        the clip cut out; video_clips/ and sub-folders too
        captions.json                            or .jsonl, .csv; optional, see `read_captions`

    A txt starts with the film's URL; then one line per frame: time [us], fx/W fy/H cx/W cy/H, 0 0,
    and the 3x4 camera_from_world. Images are named by the time of their line; images under other
    names must be as many as the lines, and count in their natural order. A clip that was cut out
    goes by order where it has as many frames as the txt has lines, else by time from the first
    line on. K follows the pixels that a video or image really has, whatever size was fetched.

    Most of the films are gone from YouTube for somebody: a clip whose frames are nowhere is a
    problem `no-video`, and `Index.coverage` the share of the others. Of a clip that lacks some
    images the longest evenly spaced run is used.

    Args:
        folder: As above.
        split: One of the folders of txt files; None for all there are.
        captions: Table of captions; None takes captions.json, .jsonl or .csv of the folder.
        size: (height, width) [px] that every frame is fitted to; None keeps what is stored.

    Raises:
        FileError: No such folder, split or table.
        InputError: A malformed size.

    Source: Zhou et al., "Stereo Magnification" (SIGGRAPH 2018), and the data set's page.
    """

    name = "re10k"
    source = "RealEstate10K"
    licence = "cameras CC BY 4.0 (Google LLC); frames belong to the uploaders of the films"

    def __init__(
        self,
        folder: str | Path | None,
        *,
        split: str | None = None,
        captions: str | Path | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(folder)
        self.split, self.size = split, None if size is None else image_size_of(size)
        self.captions = self._captions_file() if captions is None else Path(captions)
        if split is not None and not (self.folder / split).is_dir():
            raise FileError(
                f"split: expected a folder of txt files in {self.folder}, got none of the name"
                f" {split!r}"
            )

    def _captions_file(self) -> Path | None:
        names = (self.folder / f"captions{suffix}" for suffix in TABLES)
        return next((name for name in names if name.is_file()), None)

    @cached_property
    def _captions(self) -> tuple[dict[str, str], list[Problem]]:
        return ({}, []) if self.captions is None else read_captions(self.captions)

    def _look_over(self) -> Index:
        cameras = self._camera_files()
        videos = VideoFiles(*(self.folder / name for name in VIDEO_FOLDERS))
        problems = [*self._captions[1], *videos.duplicates]
        found = [self._entry(file, videos) for file in cameras]
        entries = tuple(each for each in found if isinstance(each, ClipEntry))
        problems += [each for each in found if isinstance(each, Problem)]
        problems += [gap for entry in entries for gap in _gaps(entry)]
        return Index(announced=len(cameras), entries=entries, problems=tuple(problems))

    def _camera_files(self) -> list[Path]:
        names = CAMERA_FOLDERS if self.split is None else (self.split,)
        folders = [self.folder / name for name in names if (self.folder / name).is_dir()]
        return [file for place in folders or [self.folder] for file in sorted(place.glob("*.txt"))]

    def _entry(self, cameras: Path, videos: VideoFiles) -> ClipEntry | Problem:
        where = cameras.relative_to(self.folder).as_posix()
        try:
            url, times_us = _camera_times(cameras)
        except FileError as error:
            return Problem(kind="broken-cameras", where=where, what=str(error))
        try:
            place = self._place(cameras, url, times_us, videos)
        except FileError as error:
            kind = "broken-frames" if self._frames_folder(cameras) else "broken-video"
            return Problem(kind=kind, where=where, what=str(error))
        if place is None:
            what = f"expected frames/{cameras.stem} or a video of it or of {url}, got neither"
            return Problem(kind="no-video", where=where, what=what)
        parts: set[Part] = {"frames", "fps", "K", "world_from_camera"}
        if cameras.stem in self._captions[0]:
            parts.add("caption")
        return ClipEntry(
            id=cameras.stem, length=len(place.rows), parts=frozenset(parts), place=place
        )

    def _place(
        self, cameras: Path, url: str, times_us: list[int], videos: VideoFiles
    ) -> Place | None:
        rows, first = range(len(times_us)), times_us[0]
        folder = self._frames_folder(cameras)
        if folder is not None:
            kept = even_run(sorted(_images_of_rows(folder, times_us)))
            return Place(str(cameras), len(rows), "images", str(folder), first, kept)
        clip = videos.named(cameras.stem)
        if clip is not None:
            facts = videos.facts(clip)
            if facts.frames != len(rows):
                _check_long_enough(clip, facts.seconds, (times_us[-1] - first) / 1e6, facts.fps)
                return Place(str(cameras), len(rows), "film", str(clip), first, rows)
            return Place(str(cameras), len(rows), "clip", str(clip), first, rows)
        match = _YOUTUBE.search(url)
        film = videos.named(match[1]) if match else None
        if film is None:
            return None
        facts = videos.facts(film)
        _check_long_enough(film, facts.seconds, times_us[-1] / 1e6, facts.fps)
        return Place(str(cameras), len(rows), "film", str(film), 0, rows)

    def _frames_folder(self, cameras: Path) -> Path | None:
        clip, split = cameras.stem, cameras.parent.name
        frames = self.folder / "frames"
        places = (frames / clip, frames / split / clip, cameras.parent / clip)
        return next((place for place in places if place.is_dir()), None)

    def read(self, entry: ClipEntry, frames: Sequence[int] | None = None) -> Clip:
        """Decode a clip, or some of its frames in any order.

        Args:
            entry: Of this reader's index.
            frames: Which; None for all.

        Raises:
            FileError: A file of it is missing, broken or contradicts another.
            InputError: Frames that the clip does not have.
        """
        place: Place = entry.place
        chosen = wanted_frames(entry, frames)
        rows = [place.rows[frame] for frame in chosen]
        _, times_us = _camera_times(Path(place.cameras))
        pictures = _pictures(place, rows, times_us)
        read = read_realestate10k(place.cameras, image_size=(pictures.shape[1], pictures.shape[2]))
        clip = clip_of_files(
            entry,
            source=self.source,
            licence=self.licence,
            frames=pictures,
            fps=fps_of_frames(_fps(times_us, place.rows), chosen),
            K=read.cameras.K[rows],
            world_from_camera=read.cameras.world_from_camera[rows],
            caption=self._captions[0].get(entry.id),
        )
        return clip if self.size is None else fit_clip(clip, self.size)


def _pictures(place: Place, rows: Sequence[int], times_us: Sequence[int]) -> Tensor:
    from jog3r.export.video_frames import read_frames, read_frames_at

    if place.how == "images":
        files = _images_of_rows(Path(place.media), times_us)
        return read_images([files[row] for row in rows])
    if place.how == "clip":
        return read_frames(place.media, rows)
    return read_frames_at(place.media, [(times_us[row] - place.first_us) / 1e6 for row in rows])


def _camera_times(path: Path) -> tuple[str, list[int]]:
    """Read the URL and the times of a camera file; the numbers behind them wait for the frames.

    Raises:
        FileError: No camera file, another number of columns, or times that do not rise.
    """
    first_line, *lines = read_text(path).splitlines() or [""]
    rows = [line.split() for line in lines]
    plain = all(len(row) == len(COLUMNS) and _TIME.fullmatch(row[0]) for row in rows)
    if plain and rows and len(first_line.split()) < len(COLUMNS):
        times = [int(row[0]) for row in rows]
    else:  # reads what is odd but right, and says what is wrong
        times = list(read_realestate10k(path, image_size=_ANY_SIZE).timestamps_us)
    if any(after <= before for before, after in pairwise(times)):
        raise FileError(f"{path}: expected times that rise from line to line, got others")
    return first_line.strip(), times


def _images_of_rows(folder: Path, times_us: Sequence[int]) -> dict[int, Path]:
    """Map rows of a camera file to their images, as far as there are any.

    Raises:
        FileError: None of the images belongs to a row.
    """
    from jog3r.data.media import image_names

    files = [folder / name for name in image_names(folder)]
    by_time = {int(file.stem): file for file in files if _TIME.fullmatch(file.stem)}
    found = {row: by_time[time] for row, time in enumerate(times_us) if time in by_time}
    if not found and len(files) == len(times_us):
        found = dict(enumerate(files))
    if not found:
        raise FileError(
            f"{folder}: expected images ({' '.join(IMAGE_SUFFIXES)}) named by the times of the"
            f" cameras, or as many as these, {len(times_us)}; got {len(files)} such as"
            f" {files[0].name}"
        )
    return found


def _gaps(entry: ClipEntry) -> list[Problem]:
    """Say of a clip of images how many of its frames are not used."""
    place: Place = entry.place
    if len(place.rows) == place.lines:
        return []
    what = (
        f"expected an image for each of {place.lines} cameras, got gaps; the longest even run,"
        f" {len(place.rows)} of them, is used"
    )
    return [Problem(kind="missing-frames", where=entry.id, what=what, lost=0)]


def _check_long_enough(video: Path, seconds: float, needed_s: float, fps: float) -> None:
    # The frame at the needed time begins half a frame around it.
    if seconds < needed_s + 0.5 / fps:
        raise FileError(
            f"{video}: expected a video that reaches {needed_s:.2f} s, got {seconds:.2f} s; it is"
            " cut, or another one"
        )


def _fps(times_us: Sequence[int], rows: range) -> float | None:
    """Return the mean frame rate of some rows."""
    if len(rows) < 2:
        return None
    return (len(rows) - 1) * 1e6 / (times_us[rows[-1]] - times_us[rows[0]])

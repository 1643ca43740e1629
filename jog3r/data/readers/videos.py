"""Plain videos: files and folders of frames, wherever they lie below a folder."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor

from jog3r.data.clip import Clip, Part, fps_of_frames
from jog3r.data.clip_fit import fit_clip
from jog3r.data.media import IMAGE_SUFFIXES, image_names
from jog3r.data.readers.image_files import read_images
from jog3r.data.readers.interface import (
    ClipEntry,
    ClipReader,
    Index,
    Problem,
    clip_of_files,
    wanted_frames,
)
from jog3r.data.readers.tables import caption_text, empty_caption
from jog3r.data.readers.video_files import VIDEO_SUFFIXES, files_below
from jog3r.errors import FileError
from jog3r.export.text import read_text
from jog3r.result_checks import image_size_of

CAPTION_SUFFIX = ".txt"
How = Literal["video", "images"]


class Place(NamedTuple):
    """A video file, or a folder of frames."""

    path: str
    how: How
    fps: float | None
    caption: str | None


class Videos(ClipReader):
    """Every video file and every folder of images below a folder, each a clip.

    Layout::

        anything/shot.mp4                    a clip `anything/shot`
        anything/shot.txt                    its caption; optional
        frames/walk/0001.jpg 0002.jpg ...    a clip `frames/walk`, in natural order

    Hidden files and folders are left out. Other files are counted as `other-file`, so that a video
    under an unknown suffix does not vanish. A broken video is a problem `broken-video`; images of
    several sizes are found when they are read.

    Args:
        folder: As above.
        fps: Frame rate of the folders of images, which have none of their own; None: not known.
        source: Name of the data set.
        licence: Of the material.
        size: (height, width) [px] that every frame is fitted to; None keeps what is stored.

    Raises:
        FileError: No such folder.
        InputError: A malformed size.
    """

    name = "videos"

    def __init__(
        self,
        folder: str | Path | None,
        *,
        fps: float | None = None,
        source: str = "videos",
        licence: str = "unknown",
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(folder)
        self.fps, self.source, self.licence = fps, source, licence
        self.size = None if size is None else image_size_of(size)

    def _look_over(self) -> Index:
        found = list(self._found())
        entries = tuple(each for each in found if isinstance(each, ClipEntry))
        problems = tuple(each for each in found if isinstance(each, Problem))
        lost = sum(problem.lost for problem in problems)
        return Index(announced=len(entries) + lost, entries=entries, problems=problems)

    def _found(self) -> Iterator[ClipEntry | Problem]:
        for folder, group in groupby(files_below(self.folder), key=lambda file: file.parent):
            files = list(group)
            videos = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
            images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
            for video in videos:
                yield from self._video(video)
            if images:
                yield from self._images(folder)
            for file in sorted({*files} - {*videos, *images}):
                if not _is_caption(file, videos):
                    yield self._other(file)

    def _video(self, file: Path) -> Iterator[ClipEntry | Problem]:
        from jog3r.export.video_frames import probe_video

        try:
            facts = probe_video(file)
        except FileError as error:
            yield Problem(kind="broken-video", where=self._inside(file), what=str(error))
            return
        yield from self._clip(file.with_suffix(""), file, "video", facts.frames, facts.fps)

    def _images(self, folder: Path) -> Iterator[ClipEntry | Problem]:
        try:
            count = len(image_names(folder))
        except FileError as error:
            yield Problem(kind="broken-frames", where=self._inside(folder), what=str(error))
            return
        yield from self._clip(folder, folder, "images", count, self.fps)

    def _clip(
        self, name: Path, path: Path, how: How, length: int, fps: float | None
    ) -> Iterator[ClipEntry | Problem]:
        caption, problems = self._caption(name.with_name(name.name + CAPTION_SUFFIX))
        yield from problems
        known: dict[Part, object] = {"frames": path, "fps": fps, "caption": caption}
        yield ClipEntry(
            id=self._inside(name) if name != self.folder else self.folder.resolve().name,
            length=length,
            parts=frozenset(part for part, value in known.items() if value is not None),
            place=Place(str(path), how, fps, caption),
        )

    def _caption(self, sidecar: Path) -> tuple[str | None, list[Problem]]:
        if not sidecar.is_file():
            return None, []
        where = self._inside(sidecar)
        try:
            caption = caption_text(read_text(sidecar))
        except FileError as error:
            return None, [Problem(kind="broken-caption", where=where, what=str(error), lost=0)]
        return caption, [] if caption else [empty_caption(where)]

    def _other(self, file: Path) -> Problem:
        what = f"expected a video ({' '.join(VIDEO_SUFFIXES)}) or an image, got another file"
        return Problem(kind="other-file", where=self._inside(file), what=what, lost=0)

    def _inside(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

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
        clip = clip_of_files(
            entry,
            source=self.source,
            licence=self.licence,
            frames=_frames(place, chosen),
            fps=fps_of_frames(place.fps, chosen),
            caption=place.caption,
        )
        return clip if self.size is None else fit_clip(clip, self.size)


def _frames(place: Place, chosen: Sequence[int]) -> Tensor:
    if place.how == "video":
        from jog3r.export.video_frames import read_frames

        return read_frames(place.path, chosen)
    names = image_names(Path(place.path))
    return read_images([Path(place.path, names[frame]) for frame in chosen])


def _is_caption(file: Path, videos: Sequence[Path]) -> bool:
    """Tell whether a file describes a video or the folder beside it."""
    name = file.with_suffix("")
    of_video = name in {video.with_suffix("") for video in videos}
    return file.suffix == CAPTION_SUFFIX and (of_video or name.is_dir())

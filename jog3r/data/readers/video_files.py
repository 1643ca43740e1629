"""Video files of a data set by name, and what their headers say, each opened once."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jog3r.data.readers.interface import Problem
from jog3r.errors import FileError

if TYPE_CHECKING:
    from jog3r.export.video_frames import VideoFacts

VIDEO_SUFFIXES = (".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v")


class VideoFiles:
    """The videos in some folders and all their sub-folders; hidden ones are left out.

    Args:
        folders: To search; those that do not exist hold nothing.
    """

    def __init__(self, *folders: Path) -> None:
        below = (file for folder in folders for file in files_below(folder))
        self.files = [file for file in below if file.suffix.lower() in VIDEO_SUFFIXES]
        self._by_name: dict[str, Path] = {}
        self._facts: dict[Path, VideoFacts | FileError] = {}
        for file in self.files:
            self._by_name.setdefault(file.stem, file)

    @property
    def duplicates(self) -> list[Problem]:
        """Videos that have the name of another; they cannot be found by it."""
        what = "expected one video of this name, got {} as well, which is used"
        return [
            Problem(
                kind="duplicate-video",
                where=str(file),
                what=what.format(self._by_name[file.stem]),
                lost=0,
            )
            for file in self.files
            if self._by_name[file.stem] != file
        ]

    def named(self, name: str) -> Path | None:
        """Find the video of a name without suffix."""
        return self._by_name.get(name)

    def facts(self, file: Path) -> "VideoFacts":
        """Tell the length and rate of a video.

        Raises:
            FileError: Missing, foreign or truncated file.
        """
        if file not in self._facts:
            self._facts[file] = _facts_of(file)
        found = self._facts[file]
        if isinstance(found, FileError):
            raise found
        return found


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and its sub-folders, sorted, without hidden ones.

    Links to folders are followed, as data sets lie on several disks; a folder is entered once.
    """
    entered: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        known = len(entered)
        entered.add(os.path.realpath(place))
        if len(entered) == known:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def _facts_of(file: Path) -> "VideoFacts | FileError":
    from jog3r.export.video_frames import probe_video

    try:
        return probe_video(file)
    except FileError as error:
        return error

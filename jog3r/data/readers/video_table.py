"""Videos with a table of captions, as WebVid and its successors come."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jog3r.data.clip import Clip, Part, fps_of_frames
from jog3r.data.clip_fit import fit_clip
from jog3r.data.readers.interface import (
    ClipEntry,
    ClipReader,
    Index,
    Problem,
    clip_of_files,
    wanted_frames,
)
from jog3r.data.readers.tables import TABLES, Row, caption_text, empty_caption, read_rows
from jog3r.data.readers.video_files import VideoFiles
from jog3r.errors import FileError
from jog3r.result_checks import image_size_of


class Place(NamedTuple):
    """A row: its video and what the table says of it."""

    video: str
    fps: float
    caption: str | None
    licence: str


class VideoTable(ClipReader):
    """Videos and one table that names and describes them.

    Layout::

        results_2M_train.csv                 videoid,contentUrl,duration,page_dir,name
        videos/<page_dir>/<videoid>.mp4      or anywhere else in the folder, by its name

    The table is a csv or tsv file with a first line of column names, a jsonl file, or a json list.
    A row without its video is a problem `no-video`, one with another number of columns
    `wrong-columns`, a second row of the same id `duplicate-id`; all of these cost the clip. A
    caption of zero length is counted as `empty-caption` and the clip has none; a video without a
    row is counted as `no-row` and not used.

    Args:
        folder: As above.
        table: Path of the table; None takes the only one that lies directly in the folder.
        id_column: Column of the name of the video without suffix.
        caption_column: Column of the caption.
        path_column: Column of the video's path in the folder, for tables that have one; None finds
            videos by their id.
        licence_column: Column of each video's licence, for tables that have one.
        source: Name of the data set.
        licence: Of all videos without one of their own.
        size: (height, width) [px] that every frame is fitted to; None keeps what is stored.

    Raises:
        FileError: No such folder, or no table or several in it.
        InputError: A malformed size.

    Source: Bain et al., "Frozen in Time" (ICCV 2021), the WebVid page.
    """

    name = "video-table"

    def __init__(
        self,
        folder: str | Path | None,
        *,
        table: str | Path | None = None,
        id_column: str = "videoid",
        caption_column: str = "name",
        path_column: str | None = None,
        licence_column: str | None = None,
        source: str = "WebVid",
        licence: str = "unknown",
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(folder)
        self.table = self._only_table() if table is None else Path(table)
        self.id_column, self.caption_column = id_column, caption_column
        self.path_column, self.licence_column = path_column, licence_column
        self.source, self.licence = source, licence
        self.size = None if size is None else image_size_of(size)

    def _only_table(self) -> Path:
        tables = sorted(f for f in self.folder.iterdir() if f.suffix.lower() in TABLES)
        if len(tables) != 1:
            raise FileError(
                f"{self.folder}: expected one table ({' '.join(TABLES)}), got"
                f" {[file.name for file in tables]}; name it with table="
            )
        return tables[0]

    def _look_over(self) -> Index:
        rows, broken = read_rows(self.table)
        self._check_columns(rows)
        videos = VideoFiles(self.folder)
        files = [self._video(row, videos) for row in rows]
        used = {*files}
        found = [self._entry(*pair, videos) for pair in zip(rows, files, strict=True)]
        entries = tuple(each for each in found if isinstance(each, ClipEntry))
        problems = [*broken, *(each for each in found if isinstance(each, Problem))]
        problems += self._empty_captions(rows, found)
        problems += videos.duplicates if self.path_column is None else []
        problems += [_without_row(file) for file in videos.files if file not in used]
        announced = len(rows) + len(broken)
        return Index(announced=announced, entries=entries, problems=tuple(problems))

    def _empty_captions(
        self, rows: Sequence[Row], found: Sequence[ClipEntry | Problem]
    ) -> list[Problem]:
        return [
            empty_caption(self._where(row))
            for row, each in zip(rows, found, strict=True)
            if isinstance(each, ClipEntry) and each.place.caption is None
        ]

    def _check_columns(self, rows: Sequence[Row]) -> None:
        wanted = {self.id_column, self.caption_column, self.path_column, self.licence_column}
        there = Counter(name for row in rows for name in row.cells)
        missing = sorted(name for name in wanted - {None} if name and not there[name])
        if rows and missing:
            raise FileError(
                f"{self.table}: expected columns {missing}, got {[*there]}; name them with"
                " id_column= and caption_column="
            )

    def _where(self, row: Row) -> str:
        return f"{self.table.name}: line {row.line}"

    def _id(self, row: Row) -> str:
        return str(row.cells.get(self.id_column) or "").strip()

    def _video(self, row: Row, videos: VideoFiles) -> Path | None:
        if self.path_column is None:
            return videos.named(self._id(row))
        # The name may be longer than one can be, which is_file() takes for an error.
        file = str(self.folder / str(row.cells.get(self.path_column) or ""))
        return Path(file) if os.path.isfile(file) else None  # noqa: PTH113

    def _entry(self, row: Row, video: Path | None, videos: VideoFiles) -> ClipEntry | Problem:
        id_, where = self._id(row), self._where(row)
        if not id_:
            what = f"expected an id in the column {self.id_column}, got none"
            return Problem(kind="no-id", where=where, what=what)
        if video is None:
            what = f"expected a video of {id_} in {self.folder}, got none"
            return Problem(kind="no-video", where=where, what=what)
        try:
            facts = videos.facts(video)
        except FileError as error:
            return Problem(kind="broken-video", where=where, what=str(error))
        caption = caption_text(row.cells.get(self.caption_column))
        licence = str(row.cells.get(self.licence_column or "") or self.licence)
        known: tuple[Part, ...] = ("frames", "fps", "caption")
        return ClipEntry(
            id=id_,
            length=facts.frames,
            parts=frozenset(known if caption else known[:2]),
            place=Place(str(video), facts.fps, caption, licence),
        )

    def read(self, entry: ClipEntry, frames: Sequence[int] | None = None) -> Clip:
        """Decode a clip, or some of its frames in any order.

        Args:
            entry: Of this reader's index.
            frames: Which; None for all.

        Raises:
            FileError: A video is missing, broken or shorter than its header says.
            InputError: Frames that the clip does not have.
        """
        from jog3r.export.video_frames import read_frames

        place: Place = entry.place
        chosen = wanted_frames(entry, frames)
        clip = clip_of_files(
            entry,
            source=self.source,
            licence=place.licence,
            frames=read_frames(place.video, chosen),
            fps=fps_of_frames(place.fps, chosen),
            caption=place.caption,
        )
        return clip if self.size is None else fit_clip(clip, self.size)


def _without_row(file: Path) -> Problem:
    what = "expected a row of the table, got none; the video is not used"
    return Problem(kind="no-row", where=str(file), what=what, lost=0)

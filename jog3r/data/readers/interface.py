"""What all readers of data sets have in common.

A reader looks over a folder once, without decoding anything (`index`), and reads single clips on
demand (`read`). What is broken is not an error of the folder but a `Problem` that is counted, since
one bad video among thousands must neither stop a training nor vanish.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from jog3r.data.clip import Clip, Part
from jog3r.errors import FileError, InputError


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something in a folder that cannot be used, or only in part.

    Args:
        kind: One of few words that problems are counted by, such as `no-video`.
        where: File or clip.
        what: Expected, got, what to do.
        lost: Clips that cannot be used for it; 0 for what is only odd.
    """

    kind: str
    where: str
    what: str
    lost: int = 1


@dataclass(frozen=True, kw_only=True)
class ClipEntry:
    """A clip that a folder holds, before anything of it is decoded.

    Args:
        id: Unique within its source.
        length: Frames.
        parts: What will be known of it.
        place: What its reader needs to find it again; plain values, of meaning to the reader only.
    """

    id: str
    length: int
    parts: frozenset[Part]
    place: Any


@dataclass(frozen=True, kw_only=True)
class Index:
    """What looking over a folder has found.

    Args:
        announced: Clips that the data set says it has; those without their videos count.
        entries: Clips that can be used, sorted by id.
        problems: Why the others cannot, and what is odd about those that can.
    """

    announced: int
    entries: tuple[ClipEntry, ...]
    problems: tuple[Problem, ...] = field(default=())

    @property
    def coverage(self) -> float:
        """Share of the announced clips that can be used; 0 where none is announced."""
        return len(self.entries) / self.announced if self.announced else 0.0

    @property
    def unexplained(self) -> int:
        """Announced clips that are neither used nor lost to a problem; anything but 0 is a bug."""
        return self.announced - len(self.entries) - sum(problem.lost for problem in self.problems)

    def counted(self) -> dict[str, int]:
        """Count the problems of each kind, the commonest first."""
        return dict(Counter(problem.kind for problem in self.problems).most_common())


class ClipReader(ABC):
    """A data set in a folder.

    Args:
        folder: Laid out as the reader's own docstring says; None where it says that it needs none.

    Raises:
        FileError: No such folder.
        InputError: None, where a folder is needed.
    """

    name: ClassVar[str]
    """What `--as` calls it."""
    needs_folder: ClassVar[bool] = True

    source: str
    """Name of the data set, as the records carry it."""
    licence: str
    """Of the material, as its publisher states it."""

    def __init__(self, folder: str | Path | None) -> None:
        if folder is None and self.needs_folder:
            raise InputError(f"folder: expected a folder of {self.name}, got none; name it")
        self._folder = None if folder is None else Path(folder)
        if self._folder is not None and not self._folder.is_dir():
            raise FileError(f"{folder}: expected a folder of {self.name}, got none; check the path")

    @property
    def folder(self) -> Path:
        """The folder; of a reader that was given none, where the process works."""
        return self._folder or Path()

    @cached_property
    def index(self) -> Index:
        """What the folder holds; looked up once.

        Of clips with the same id the first found is kept, the others are problems.

        Raises:
            FileError: Nothing in the folder looks like this data set.
        """
        found = self._look_over()
        if not found.announced:
            raise FileError(
                f"{self.folder}: expected a folder laid out as {self.name}, got nothing that looks"
                " like it; docs/data.md shows the layout"
            )
        return _each_id_once(found)

    @abstractmethod
    def _look_over(self) -> Index: ...

    @abstractmethod
    def read(self, entry: ClipEntry, frames: Sequence[int] | None = None) -> Clip:
        """Decode a clip, or some of its frames in any order.

        Args:
            entry: Of this reader's index.
            frames: Which; None for all.

        Raises:
            FileError: A file of it is missing, broken or contradicts another.
            InputError: Frames that the clip does not have.
        """


def wanted_frames(entry: ClipEntry, frames: Sequence[int] | None) -> list[int]:
    """Return the frames to read, all of them where None are named.

    Raises:
        InputError: Frames that the clip does not have, or an empty list.
    """
    chosen = list(range(entry.length)) if frames is None else list(frames)
    if not chosen or not all(0 <= frame < entry.length for frame in chosen):
        raise InputError(
            f"{entry.id}: expected some of the frames 0 to {entry.length - 1}, got {chosen}"
        )
    return chosen


def clip_of_files(entry: ClipEntry, **parts: Any) -> Clip:
    """Build a clip of what its files say.

    Args:
        entry: Of the clip.
        parts: As `Clip` takes them.

    Raises:
        FileError: They contradict each other or make no clip.
    """
    try:
        return Clip(id=entry.id, **parts)
    except InputError as error:
        raise FileError(f"{entry.id}: expected files that make a clip, got {error}") from error


def _each_id_once(found: Index) -> Index:
    entries: dict[str, ClipEntry] = {}
    again = []
    for entry in found.entries:
        if entries.setdefault(entry.id, entry) is not entry:
            again.append(
                Problem(
                    kind="duplicate-id",
                    where=entry.id,
                    what=f"expected an id of its own, got that of another clip ({entry.place});"
                    " the first one found is used",
                )
            )
    return Index(
        announced=found.announced,
        entries=tuple(entries[id_] for id_ in sorted(entries)),
        problems=(*found.problems, *again),
    )

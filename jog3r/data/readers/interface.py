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
from jog3r.errors import FileError


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something in a folder that cannot be used, or only in part.

    Args:
        kind: One of few words that problems are counted by, such as `no-video`.
        where: File or clip.
        what: Expected, got, what to do.
    """

    kind: str
    where: str
    what: str


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

    def counted(self) -> dict[str, int]:
        """Count the problems of each kind, the commonest first."""
        return dict(Counter(problem.kind for problem in self.problems).most_common())


class ClipReader(ABC):
    """A data set in a folder.

    Args:
        folder: Laid out as the reader's own docstring says.

    Raises:
        FileError: No such folder.
    """

    name: ClassVar[str]
    """What `--as` calls it."""
    source: ClassVar[str]
    """Name of the data set, as the records carry it."""
    licence: ClassVar[str]
    """Of the material, as its publisher states it."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileError(f"{folder}: expected a folder of {self.name}, got none; check the path")

    @cached_property
    def index(self) -> Index:
        """What the folder holds; looked up once.

        Raises:
            FileError: Nothing in the folder looks like this data set.
        """
        return self._look_over()

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

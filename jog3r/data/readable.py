"""Going through a data set without stopping at what is broken and without losing it."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from jog3r.data.clip import Clip
from jog3r.data.readers.interface import ClipEntry, ClipReader, Problem
from jog3r.errors import FileError, InputError

log = logging.getLogger(__name__)


def every_frame(entry: ClipEntry) -> Sequence[int]:
    """Return all frames of a clip."""
    return range(entry.length)


def readable_clips(
    reader: ClipReader,
    entries: Iterable[ClipEntry],
    problems: list[Problem],
    *,
    frames: Callable[[ClipEntry], Sequence[int]] = every_frame,
) -> Iterator[tuple[ClipEntry, Clip]]:
    """Read clips one after the other; every entry is yielded or noted.

    A clip that cannot be read, that contradicts itself, or that is not what the index promised, is
    noted and logged. What is not the clip's fault stops: a full disk, a missing package.

    Args:
        reader: Of the data set.
        entries: Of its index; all, or this process' share of them.
        problems: Grows by those of kind `unreadable` and `not-as-announced`.
        frames: Which of a clip's frames are read.

    Example:
        >>> from jog3r.data.readers.registry import open_reader
        >>> reader = open_reader(None, "world", clips=2, frames=1, size=(16, 16))
        >>> problems = []
        >>> [entry.id for entry, clip in readable_clips(reader, reader.index.entries, problems)]
        ['seed-0', 'seed-1']
    """
    for entry in entries:
        wanted = frames(entry)
        try:
            clip = reader.read(entry, wanted)
        except (FileError, InputError) as error:
            problem = Problem(kind="unreadable", where=entry.id, what=str(error))
        else:
            problem = _broken_promise(entry, clip, len(wanted))
            if problem is None:
                yield entry, clip
                continue
        log.warning("%s: clip left out, %s: %s", problem.where, problem.kind, problem.what)
        problems.append(problem)


def _broken_promise(entry: ClipEntry, clip: Clip, length: int) -> Problem | None:
    # Of frames that are not even there is no frame rate.
    missing = sorted((entry.parts - {"fps"}) & set(clip.missing))
    if len(clip) == length and not missing:
        return None
    got = f"got {len(clip)}" + (f" and no {', '.join(missing)}" if missing else "")
    what = f"expected {length} frames with {sorted(entry.parts)}, {got}"
    return Problem(kind="not-as-announced", where=entry.id, what=what)

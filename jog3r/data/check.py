"""Looking over a data set before anything is built on it: what is there, what is broken."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from jog3r.data.clip import GEOMETRY, PARTS
from jog3r.data.depth_scale import compared_frames
from jog3r.data.depth_unit import DepthUnit, depth_unit
from jog3r.data.readable import readable_clips
from jog3r.data.readers.interface import ClipEntry, ClipReader, Index, Problem
from jog3r.data.sampling import STRIDES, check_sampling, least_length

SAMPLE = 8
"""Clips whose depth is compared with their cameras where not all are decoded."""
AT_ONCE = 256
"""Frames of a clip that are decoded at a time."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What a data set holds, and what of it a training would use.

    Attributes:
        index: What looking over the folder has found.
        decoded: Clips that were decoded.
        problems: Those of the index, of decoding, of clips that are too short, and of depth in
            another unit than the cameras.
        used: Clips that would be used.
        frames: Asked for.
        strides: Asked for.
        units: What the clips that have depth and cameras say of their unit, as far as decoded.
    """

    index: Index
    decoded: int
    problems: tuple[Problem, ...]
    used: tuple[ClipEntry, ...]
    frames: int
    strides: tuple[int, ...]
    units: tuple[DepthUnit, ...]

    @property
    def unexplained(self) -> int:
        """Announced clips that are neither used nor lost to a problem; anything but 0 is a bug."""
        lost = sum(problem.lost for problem in self.problems)
        return self.index.announced - len(self.used) - lost

    def __str__(self) -> str:
        rows = {
            "announced": f"{self.index.announced} clips",
            "found": f"{len(self.index.entries)} clips ({self.index.coverage:.1%})",
            "decoded": f"{self.decoded} clips",
            "used": f"{len(self.used)} clips with at least"
            f" {least_length(self.frames, self.strides)} frames, for {self.frames} frames at"
            f" strides {' '.join(map(str, self.strides))}",
            "lengths": _lengths(self.index.entries),
            "parts": _parts(self.index.entries),
            "depth": _units(self.units),
        }
        return "\n".join(f"  {name:<10} {text}" for name, text in rows.items())

    def problem_lines(self, *, each: bool = False) -> list[str]:
        """Say what is broken: how often, what it costs, and one example, or every case.

        Args:
            each: Give every case a line.
        """
        lines = []
        for kind, count in Counter(problem.kind for problem in self.problems).most_common():
            cases = [problem for problem in self.problems if problem.kind == kind]
            lost = sum(problem.lost for problem in cases)
            lines.append(f"{kind:<16} {count:>6} times, clips lost: {lost}")
            lines += [f"  {_case(problem)}" for problem in (cases if each else cases[:1])]
        return lines


def check_data(
    reader: ClipReader,
    *,
    decode: bool = False,
    frames: int = 16,
    strides: Sequence[int] = STRIDES,
) -> Check:
    """Look over a data set.

    Args:
        reader: Of it.
        decode: Decode every clip; otherwise only some of those with depth and cameras.
        frames: Of the clips that a training would draw.
        strides: That it would draw from.

    Raises:
        FileError: Nothing in the folder looks like this data set.
        InputError: Frames or strides out of range.
    """
    check_sampling(frames=frames, strides=strides, reverse_share=0.0)
    index = reader.index
    broken: list[Problem] = []
    whole = [*_decoded(reader, index.entries, broken)] if decode else []
    units = dict(_units_of(reader, whole if decode else _sample(index.entries), broken))
    gone = {problem.where for problem in broken}
    rest = [entry for entry in index.entries if entry.id not in gone]
    found = [_unfit(entry, units.get(entry.id), frames, strides) for entry in rest]
    unfit = [problem for problem in found if problem is not None]
    return Check(
        index=index,
        decoded=len(whole) if decode else len(units),
        problems=(*index.problems, *broken, *unfit),
        used=tuple(e for e, problem in zip(rest, found, strict=True) if problem is None),
        frames=frames,
        strides=tuple(strides),
        units=tuple(units.values()),
    )


def _case(problem: Problem) -> str:
    """Say where and what; most errors of files begin with the place themselves."""
    place = Path(problem.what.partition(": ")[0])
    said = place.parts[-len(Path(problem.where).parts) :] == Path(problem.where).parts
    return problem.what if said else f"{problem.where}: {problem.what}"


def _decoded(
    reader: ClipReader, entries: Sequence[ClipEntry], problems: list[Problem]
) -> Iterator[ClipEntry]:
    """Decode every frame of every clip, so many at a time that memory is bounded."""
    for entry in entries:
        known = len(problems)
        for first in range(0, entry.length, AT_ONCE):
            chunk = range(first, min(first + AT_ONCE, entry.length))
            for _ in readable_clips(reader, [entry], problems, frames=lambda _, c=chunk: c):
                pass
            if len(problems) > known:
                break
        else:
            yield entry


def _sample(entries: Sequence[ClipEntry]) -> Sequence[ClipEntry]:
    able = [entry for entry in entries if entry.parts.issuperset(GEOMETRY)]
    return able[:: max(1, len(able) // SAMPLE)][:SAMPLE]


def _units_of(
    reader: ClipReader, entries: Sequence[ClipEntry], problems: list[Problem]
) -> Iterator[tuple[str, DepthUnit]]:
    able = [entry for entry in entries if entry.parts.issuperset(GEOMETRY)]
    read = readable_clips(reader, able, problems, frames=lambda e: compared_frames(e.length))
    return ((entry.id, depth_unit(clip)) for entry, clip in read)


def _unfit(
    entry: ClipEntry, unit: DepthUnit | None, frames: int, strides: Sequence[int]
) -> Problem | None:
    """Say why a clip that can be read would not be used."""
    least = least_length(frames, strides)
    if entry.length < least:
        what = f"expected at least {least} frames, got {entry.length}"
        return Problem(kind="too-short", where=entry.id, what=what)
    if unit is not None and unit.verdict == "wrong":
        return Problem(kind="depth-unit", where=entry.id, what=unit.expected)
    return None


def _lengths(entries: Sequence[ClipEntry]) -> str:
    lengths = [entry.length for entry in entries]
    if not lengths:
        return "none"
    return f"{min(lengths)} to {max(lengths)} frames, median {median(lengths):g}"


def _parts(entries: Sequence[ClipEntry]) -> str:
    counts = {part: sum(part in entry.parts for entry in entries) for part in PARTS}
    return ", ".join(f"{part} {count}" for part, count in counts.items() if count) or "none"


def _units(units: Sequence[DepthUnit]) -> str:
    if not units:
        return "not compared with cameras"
    counts = Counter(unit.verdict for unit in units)
    told = ", ".join(f"{name} {counts[name]}" for name in ("right", "wrong", "cannot tell"))
    return f"unit against cameras, of {len(units)} clips: {told}"

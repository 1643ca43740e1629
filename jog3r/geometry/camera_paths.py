"""What can be made of camera moves: one after another, at the same time, backwards, eased.

All of these are moves again, so they nest. `Series` and `Together` are associative: how they are
bracketed does not matter. Their order does.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from typing import Literal, get_args

from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry.camera_moves import Motion, Move
from jog3r.geometry.transforms import invert

Easing = Literal["linear", "in", "out", "in-out"]
_EASINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda time: time,
    "in": lambda time: time.square(),
    "out": lambda time: 1 - (1 - time).square(),
    "in-out": lambda time: time.square() * (3 - 2 * time),
}


@dataclass(frozen=True, kw_only=True)
class Series(Move):
    """One move after another, each from where the one before has left the camera.

    Args:
        moves: at least one.
        durations: how long each takes, relative to the others; None for their own `duration`, by
            which every plain move takes equally long.

    Raises:
        InputError: no move, another number of durations than of moves, or one that is not above 0.

    Example:
        >>> import torch
        >>> from jog3r.geometry.camera_moves import Dolly, Pan
        >>> around_the_corner = Series(
        ...     moves=(Dolly(distance_world=1.0), Pan(angle_deg=90.0), Dolly(distance_world=2.0))
        ... )
        >>> around_the_corner.at(torch.tensor([1.0])).start_from_camera[0, :3, 3].round(decimals=6)
        tensor([2., 0., 1.], dtype=torch.float64)
    """

    moves: tuple[Move, ...]
    durations: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        _check_moves(self.moves)
        if self.durations is None:
            return
        if len(self.durations) != len(self.moves):
            raise InputError(
                f"durations: expected one for each of {len(self.moves)} moves, got"
                f" {len(self.durations)}"
            )
        if not all(0 < duration < math.inf for duration in self.durations):
            raise InputError(f"durations: expected numbers above 0, got {self.durations}")

    @property
    def duration(self) -> float:
        """The sum over the moves."""
        return sum(self._durations)

    @property
    def _durations(self) -> tuple[float, ...]:
        return self.durations or tuple(move.duration for move in self.moves)

    def _motion(self, times: Tensor) -> Motion:
        # A move that has not begun is the identity, one that is over stands at its end: the product
        # of all of them is the camera, whichever of them is under way.
        starts = accumulate(self._durations, initial=0.0)
        now = times * self.duration
        return _product(
            move.at(((now - start) / duration).clamp(0, 1))
            for move, duration, start in zip(self.moves, self._durations, starts, strict=False)
        )


@dataclass(frozen=True, kw_only=True)
class Together(Move):
    """Several moves at the same time, each carried by the ones before it.

    `Dolly` then `Pan` in the list is a head that turns on a straight rail; `Pan` then `Dolly` is a
    rail on a turning table. All begin and end together.

    Args:
        moves: at least one; the first one carries all others.

    Raises:
        InputError: no move.
    """

    moves: tuple[Move, ...]

    def __post_init__(self) -> None:
        _check_moves(self.moves)

    @property
    def duration(self) -> float:
        """The longest of the moves'."""
        return max(move.duration for move in self.moves)

    def _motion(self, times: Tensor) -> Motion:
        return _product(move.at(times) for move in self.moves)


@dataclass(frozen=True, kw_only=True)
class Reversed(Move):
    """A move played backwards, seen from where it used to end.

    Args:
        of: the move; `Series(moves=(move, Reversed(of=move)))` comes back to its start.
    """

    of: Move

    @property
    def duration(self) -> float:
        """That of the move."""
        return self.of.duration

    def _motion(self, times: Tensor) -> Motion:
        back, end = self.of.at(1 - times), self.of.at(times.new_ones(1))
        return Motion(invert(end.start_from_camera) @ back.start_from_camera, back.zoom / end.zoom)


@dataclass(frozen=True, kw_only=True)
class Eased(Move):
    """A move that does not begin or end with a jerk.

    Args:
        of: the move; an eased series is eased as a whole.
        easing: "in" begins slowly, "out" ends slowly, "in-out" both, "linear" neither.

    Raises:
        InputError: an unknown easing.
    """

    of: Move
    easing: Easing

    def __post_init__(self) -> None:
        if self.easing not in get_args(Easing):
            raise InputError(f"easing: expected one of {get_args(Easing)}, got {self.easing!r}")

    @property
    def duration(self) -> float:
        """That of the move."""
        return self.of.duration

    def _motion(self, times: Tensor) -> Motion:
        return self.of.at(_EASINGS[self.easing](times).clamp(0, 1))


def _check_moves(moves: tuple[Move, ...]) -> None:
    if not moves:
        raise InputError("moves: expected at least one, got none")


def _product(motions: Iterable[Motion]) -> Motion:
    return reduce(
        lambda a, b: Motion(a.start_from_camera @ b.start_from_camera, a.zoom * b.zoom), motions
    )

"""Camera moves as data: each knows where the camera is at any time from 0 (start) to 1 (end).

The frame of a move is its own first camera (x right, y down, z forward): at time 0 the camera is at
the origin and unturned. Amounts are signed, and every name ends in its unit: `_deg`, or `_world`
for lengths in the unit of the world they will be used in. Moves are linear in time; `Eased` of
`camera_paths` changes that.

=========  ================================================  =======================================
move       positive amount                                   camera
=========  ================================================  =======================================
Dolly      forward, +z                                       keeps its direction
Truck      right, +x                                         keeps its direction
Pedestal   up, -y                                            keeps its direction
Pan        turns right, from +z towards +x                   keeps its place
Tilt       turns up, from +z towards -y                      keeps its place
Roll       clockwise for who looks through the camera        keeps its place
Zoom       factor above 1: things get larger                 keeps its place, K changes
Handheld   no sign: trembles                                 moves and turns a little
=========  ================================================  =======================================

`camera_orbits` has the moves around a point: `Orbit`, `Arc`, `Spiral`.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import NamedTuple

import roma
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry.checks import check_tensor
from jog3r.geometry.transforms import rigid

RIGHT, DOWN, FORWARD = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
WAVES = 8
"""Sine waves in each of the six signals of a trembling hand."""


class Motion(NamedTuple):
    """Cameras at the times that were asked for.

    Args:
        start_from_camera: in the frame of the move's first camera.
        zoom: focal length relative to that of the first camera.
    """

    start_from_camera: Float64[Tensor, "t 4 4"]
    zoom: Float64[Tensor, " t"]


@dataclass(frozen=True, kw_only=True)
class Move(ABC):
    """What all moves have in common.

    Raises:
        InputError: an amount that is NaN or infinite.
    """

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"{field.name}: expected a finite number, got {value}; correct it")

    @property
    def duration(self) -> float:
        """How long the move takes in a `Series`, relative to others."""
        return 1.0

    def at(self, times: Float[Tensor, " t"]) -> Motion:
        """Return the cameras at some times.

        Args:
            times: from 0 (start) to 1 (end), in any order.

        Raises:
            InputError: times that are no tensor of numbers in [0, 1].

        Example:
            >>> motion = Dolly(distance_world=2.0).at(torch.tensor([0.0, 0.5, 1.0]))
            >>> motion.start_from_camera[:, 2, 3]
            tensor([0., 1., 2.], dtype=torch.float64)
        """
        check_tensor("times", times, ())
        if times.ndim != 1 or not bool(((times >= 0) & (times <= 1)).all()):
            raise InputError(f"times: expected a row of numbers in [0, 1], got {times.tolist()}")
        return self._motion(times.double())

    @abstractmethod
    def _motion(self, times: Tensor) -> Motion: ...


@dataclass(frozen=True, kw_only=True)
class Dolly(Move):
    """Move along the line of sight.

    Args:
        distance_world: forward; negative for backward.
    """

    distance_world: float

    def _motion(self, times: Tensor) -> Motion:
        return _shifted(times * self.distance_world, FORWARD)


@dataclass(frozen=True, kw_only=True)
class Truck(Move):
    """Move sideways.

    Args:
        distance_world: to the right; negative for left.
    """

    distance_world: float

    def _motion(self, times: Tensor) -> Motion:
        return _shifted(times * self.distance_world, RIGHT)


@dataclass(frozen=True, kw_only=True)
class Pedestal(Move):
    """Move up or down.

    Args:
        distance_world: up, along -y; negative for down.
    """

    distance_world: float

    def _motion(self, times: Tensor) -> Motion:
        return _shifted(-times * self.distance_world, DOWN)


@dataclass(frozen=True, kw_only=True)
class Pan(Move):
    """Turn about the camera's vertical axis.

    Args:
        angle_deg: to the right; negative for left.
    """

    angle_deg: float

    def _motion(self, times: Tensor) -> Motion:
        return _turned(times * self.angle_deg, DOWN)


@dataclass(frozen=True, kw_only=True)
class Tilt(Move):
    """Turn about the camera's horizontal axis.

    Args:
        angle_deg: up; negative for down.
    """

    angle_deg: float

    def _motion(self, times: Tensor) -> Motion:
        return _turned(times * self.angle_deg, RIGHT)


@dataclass(frozen=True, kw_only=True)
class Roll(Move):
    """Turn about the line of sight.

    Args:
        angle_deg: clockwise for who looks through the camera, so that the picture turns
            counterclockwise; negative for the other way.
    """

    angle_deg: float

    def _motion(self, times: Tensor) -> Motion:
        return _turned(times * self.angle_deg, FORWARD)


@dataclass(frozen=True, kw_only=True)
class Zoom(Move):
    """Change the focal length, by the same share in equal times.

    Args:
        factor: of the focal length at the end; above 1 things get larger.

    Raises:
        InputError: a factor that is not above 0.
    """

    factor: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("factor", self.factor)

    def _motion(self, times: Tensor) -> Motion:
        still = torch.eye(4, dtype=times.dtype).expand(len(times), 4, 4)
        return Motion(still, self.factor**times)


@dataclass(frozen=True, kw_only=True)
class Handheld(Move):
    """Tremble as a hand does: smooth noise without anything faster than `swings`.

    Each of the three angles and of the three coordinates is a sum of sine waves with random
    frequencies and phases; how far they are at time 0 is taken off, so that the first camera is
    where it was.

    Args:
        seed: from 0 on; the same seed gives the same noise, whatever times are asked for.
        rotation_deg: standard deviation of each angle.
        shift_world: standard deviation of each coordinate.
        swings: the fastest wave swings this often from start to end; the slowest once.

    Raises:
        InputError: a negative seed or standard deviation, or fewer swings than one.
    """

    seed: int
    rotation_deg: float = 0.3
    shift_world: float = 0.0
    swings: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed: expected 0 to 2^63 - 1, got {self.seed}")
        if min(self.rotation_deg, self.shift_world) < 0:
            least = min(self.rotation_deg, self.shift_world)
            raise InputError(f"rotation_deg, shift_world: expected at least 0, got {least:g}")
        if self.swings < 1:
            raise InputError(f"swings: expected at least 1, got {self.swings:g}")

    def _motion(self, times: Tensor) -> Motion:
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.rand(2, 6, WAVES, generator=generator, dtype=torch.float64).to(times.device)
        frequency, phase = 1.0 + drawn[0] * (self.swings - 1.0), 2 * math.pi * drawn[1]
        angle = 2 * math.pi * times[:, None, None] * frequency + phase
        signal = math.sqrt(2 / WAVES) * (torch.sin(angle) - torch.sin(phase)).sum(dim=-1)
        rotation = roma.rotvec_to_rotmat(math.radians(self.rotation_deg) * signal[:, :3])
        return unzoomed(rigid(rotation, self.shift_world * signal[:, 3:]))


def rotations(angle_deg: Tensor, axis: tuple[float, float, float]) -> Tensor:
    """Return the rotations (t, 3, 3) by angles (t,) [deg] about an axis."""
    return roma.rotvec_to_rotmat(angle_deg.deg2rad()[:, None] * angle_deg.new_tensor(axis))


def _turned(angle_deg: Tensor, axis: tuple[float, float, float]) -> Motion:
    rotation = rotations(angle_deg, axis)
    return unzoomed(rigid(rotation, rotation.new_zeros(len(rotation), 3)))


def _shifted(distance: Tensor, axis: tuple[float, float, float]) -> Motion:
    unturned = torch.eye(3, dtype=distance.dtype).expand(len(distance), 3, 3)
    return unzoomed(rigid(unturned, distance[:, None] * distance.new_tensor(axis)))


def unzoomed(start_from_camera: Tensor) -> Motion:
    """Return a motion whose focal length stays."""
    return Motion(start_from_camera, start_from_camera.new_ones(len(start_from_camera)))


def check_positive(name: str, value: float) -> None:
    """Check an amount that cannot be zero or negative.

    Raises:
        InputError: not above 0.
    """
    if value <= 0:
        raise InputError(f"{name}: expected above 0, got {value:g}; correct it")

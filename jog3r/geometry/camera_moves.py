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
Orbit      to the right, and up, around a point ahead        keeps looking at that point
Arc        to the right around a point ahead                 keeps looking at that point
Spiral     to the right, up, and outwards, around it         keeps looking at that point
Handheld   no sign: trembles                                 moves and turns a little
=========  ================================================  =======================================
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
        _check_positive("factor", self.factor)

    def _motion(self, times: Tensor) -> Motion:
        still = torch.eye(4, dtype=times.dtype).expand(len(times), 4, 4)
        return Motion(still, self.factor**times)


@dataclass(frozen=True, kw_only=True)
class Orbit(Move):
    """Move around a point straight ahead, and keep looking at it.

    Args:
        angle_deg: to the right, about the vertical axis of the first camera; 360 closes the circle.
        radius_world: distance of the point; also of the camera from it, all the way.
        elevation_deg: upwards over the point on the way; negative for down.

    Raises:
        InputError: a radius that is not above 0.
    """

    angle_deg: float
    radius_world: float
    elevation_deg: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive("radius_world", self.radius_world)

    def _motion(self, times: Tensor) -> Motion:
        around = _rotations(-times * self.angle_deg, DOWN)
        rotation = around @ _rotations(-times * self.elevation_deg, RIGHT)
        centre = self.radius_world * times.new_tensor(FORWARD)
        return _unzoomed(rigid(rotation, centre - rotation @ centre))


@dataclass(frozen=True, kw_only=True)
class Arc(Move):
    """Move along part of a circle around a point straight ahead, and keep looking at it.

    An orbit that is measured by the way the camera goes, as a truck is.

    Args:
        distance_world: length of the way along the circle, to the right; negative for left.
        radius_world: distance of the point.

    Raises:
        InputError: a radius that is not above 0.
    """

    distance_world: float
    radius_world: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive("radius_world", self.radius_world)

    def _motion(self, times: Tensor) -> Motion:
        angle_deg = math.degrees(self.distance_world / self.radius_world)
        return Orbit(angle_deg=angle_deg, radius_world=self.radius_world)._motion(times)


@dataclass(frozen=True, kw_only=True)
class Spiral(Move):
    """Move around a point straight ahead while the circle widens and rises; keep looking at it.

    Args:
        angle_deg: to the right, about the vertical axis of the first camera; 720 for two turns.
        radius_world: distance of the point at the start.
        end_radius_world: distance of the camera from the vertical axis through it at the end.
        rise_world: how much higher the camera ends; negative for lower.

    Raises:
        InputError: a radius that is not above 0.
    """

    angle_deg: float
    radius_world: float
    end_radius_world: float
    rise_world: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive("radius_world", self.radius_world)
        _check_positive("end_radius_world", self.end_radius_world)

    def _motion(self, times: Tensor) -> Motion:
        around = _rotations(-times * self.angle_deg, DOWN)
        radius = self.radius_world + times * (self.end_radius_world - self.radius_world)
        centre = self.radius_world * times.new_tensor(FORWARD)
        place = centre - radius[:, None] * around[..., 2]
        place = place - self.rise_world * times[:, None] * times.new_tensor(DOWN)
        return _unzoomed(look_at(place, centre.expand_as(place)))


@dataclass(frozen=True, kw_only=True)
class Handheld(Move):
    """Tremble as a hand does: smooth noise without anything faster than `swings`.

    Each of the three angles and of the three coordinates is a sum of sine waves with random
    frequencies and phases; how far they are at time 0 is taken off, so that the first camera is
    where it was.

    Args:
        seed: the same seed gives the same noise, whatever times are asked for.
        rotation_deg: standard deviation of each angle.
        shift_world: standard deviation of each coordinate.
        swings: the fastest wave swings this often from start to end; the slowest once.

    Raises:
        InputError: a negative standard deviation, or fewer swings than one.
    """

    seed: int
    rotation_deg: float = 0.3
    shift_world: float = 0.0
    swings: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
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
        return _unzoomed(rigid(rotation, self.shift_world * signal[:, 3:]))


def look_at(
    position: Float[Tensor, "*b 3"], target: Float[Tensor, "*b 3"]
) -> Float[Tensor, "*b 4 4"]:
    """Return world_from_camera of cameras that look at a target, upright where y points down.

    Raises:
        InputError: a camera at its target, or straight above or below it.

    Example:
        >>> look_at(torch.tensor([0.0, 0.0, 1.0]), torch.tensor([5.0, 0.0, 1.0]))[:3, 2]
        tensor([1., 0., 0.])
    """
    check_tensor("position", position, (3,))
    check_tensor("target", target, (3,))
    away = target - position
    side = torch.linalg.cross(away.new_tensor(DOWN).expand_as(away), away)
    if bool((side.norm(dim=-1) <= 1e-6 * away.norm(dim=-1)).any()):
        raise InputError(
            "target: expected one that is not at the camera, nor straight above or below it, got"
            " one; move the camera aside"
        )
    forward = away / away.norm(dim=-1, keepdim=True)
    right = side / side.norm(dim=-1, keepdim=True)
    down = torch.linalg.cross(forward, right)
    return rigid(torch.stack([right, down, forward], dim=-1), position)


def _rotations(angle_deg: Tensor, axis: tuple[float, float, float]) -> Tensor:
    return roma.rotvec_to_rotmat(angle_deg.deg2rad()[:, None] * angle_deg.new_tensor(axis))


def _turned(angle_deg: Tensor, axis: tuple[float, float, float]) -> Motion:
    rotation = _rotations(angle_deg, axis)
    return _unzoomed(rigid(rotation, rotation.new_zeros(len(rotation), 3)))


def _shifted(distance: Tensor, axis: tuple[float, float, float]) -> Motion:
    unturned = torch.eye(3, dtype=distance.dtype).expand(len(distance), 3, 3)
    return _unzoomed(rigid(unturned, distance[:, None] * distance.new_tensor(axis)))


def _unzoomed(start_from_camera: Tensor) -> Motion:
    return Motion(start_from_camera, start_from_camera.new_ones(len(start_from_camera)))


def _check_positive(name: str, value: float) -> None:
    if value <= 0:
        raise InputError(f"{name}: expected above 0, got {value:g}; correct it")

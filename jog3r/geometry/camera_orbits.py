"""Camera moves around a point straight ahead, which the camera keeps looking at."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry.camera_moves import (
    DOWN,
    FORWARD,
    RIGHT,
    Motion,
    Move,
    check_positive,
    rotations,
    unzoomed,
)
from jog3r.geometry.checks import check_tensor
from jog3r.geometry.transforms import rigid


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
        check_positive("radius_world", self.radius_world)

    def _motion(self, times: Tensor) -> Motion:
        around = rotations(-times * self.angle_deg, DOWN)
        rotation = around @ rotations(-times * self.elevation_deg, RIGHT)
        centre = self.radius_world * times.new_tensor(FORWARD)
        return unzoomed(rigid(rotation, centre - rotation @ centre))


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
        check_positive("radius_world", self.radius_world)

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
        check_positive("radius_world", self.radius_world)
        check_positive("end_radius_world", self.end_radius_world)

    def _motion(self, times: Tensor) -> Motion:
        around = rotations(-times * self.angle_deg, DOWN)
        radius = self.radius_world + times * (self.end_radius_world - self.radius_world)
        centre = self.radius_world * times.new_tensor(FORWARD)
        place = centre - radius[:, None] * around[..., 2]
        place = place - self.rise_world * times[:, None] * times.new_tensor(DOWN)
        return unzoomed(look_at(place, centre.expand_as(place)))


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

"""A smooth camera path through given cameras, exactly."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry.camera_moves import Motion, Move
from jog3r.geometry.transforms import check_transforms, relative, rigid

MAX_TURN_DEG = 179.0
"""Largest rotation between two keyframes: near 180 degrees it is not clear which way to turn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Keyframes(Move):
    """A curve through cameras, without a corner in place, direction or zoom.

    Positions and the logarithm of the zoom follow the Catmull-Rom spline of uneven steps; rotations
    follow the same Bezier curves with geodesics in place of straight lines. The path is relative to
    the first of the cameras.

    Args:
        world_from_camera: of any world.
        times: increasing, one per camera, in any unit; None for equal steps.
        zoom: focal length relative to any common one; None where it does not change.

    Raises:
        InputError: no rigid transforms, times that do not increase, a zoom that is not above 0,
            another number of these than of cameras, or neighbours turned by 179 degrees or more.

    Source: Catmull and Rom 1974; Shoemake, "Animating rotation with quaternion curves", 1985.

    Example:
        >>> cameras = torch.eye(4).repeat(3, 1, 1)
        >>> cameras[:, 0, 3] = torch.tensor([5.0, 6.0, 5.0])
        >>> path = Keyframes(world_from_camera=cameras)
        >>> path.at(torch.tensor([0.0, 0.5, 1.0])).start_from_camera[:, 0, 3]
        tensor([0., 1., 0.], dtype=torch.float64)
    """

    world_from_camera: Float[Tensor, "n 4 4"]
    times: tuple[float, ...] | None = None
    zoom: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_transforms(self.world_from_camera)
        if self.world_from_camera.ndim != 3:
            got = tuple(self.world_from_camera.shape)
            raise InputError(f"world_from_camera: expected (keyframes, 4, 4), got {got}")
        for name in ("times", "zoom"):
            _check_row(name, getattr(self, name), len(self.world_from_camera))
        if self.times is not None and any(b <= a for a, b in pairwise(self.times)):
            raise InputError(f"times: expected increasing numbers, got {self.times}")
        if self.zoom is not None and min(self.zoom) <= 0:
            raise InputError(f"zoom: expected numbers above 0, got {self.zoom}")
        turn_deg = self._turns.norm(dim=-1).rad2deg()
        if bool((turn_deg > MAX_TURN_DEG).any()):
            raise InputError(
                f"world_from_camera: expected turns below {MAX_TURN_DEG:g} degrees between"
                f" keyframes, got {float(turn_deg.max()):.1f}; add a keyframe between"
            )

    @property
    def _knots(self) -> Tensor:
        """The keyframes' times, stretched to 0 ... 1."""
        count = len(self.world_from_camera)
        given = range(count) if self.times is None else self.times
        times = torch.tensor(list(given), dtype=torch.float64)
        return (times - times[0]) / (times[-1] - times[0]) if count > 1 else times

    @property
    def _rotations(self) -> Tensor:
        # Cameras from text files are orthonormal to a few digits only.
        return torch.as_tensor(roma.special_procrustes(self.world_from_camera[:, :3, :3].double()))

    @property
    def _turns(self) -> Tensor:
        """Rotation vector from each keyframe to the next, in the frame of either."""
        rotation = self._rotations
        return roma.rotmat_to_rotvec(rotation[:-1].transpose(-1, -2) @ rotation[1:])

    @property
    def _places(self) -> Tensor:
        """Position and logarithm of the zoom."""
        positions = self.world_from_camera[:, :3, 3].double()
        zoom = positions.new_tensor(self.zoom or [1.0] * len(positions))
        return torch.cat([positions, (zoom / zoom[0]).log()[:, None]], dim=-1)

    def _motion(self, times: Tensor) -> Motion:
        knots, places, rotation = self._knots, self._places, self._rotations
        if len(knots) == 1:
            still = torch.eye(4, dtype=times.dtype).expand(len(times), 4, 4)
            return Motion(still, torch.ones_like(times))
        steps = knots.diff()
        speed = _speeds(places.diff(dim=0), steps) / 3
        spin = _bounded(_speeds(self._turns, steps) / 3, steps)
        i = (torch.searchsorted(knots, times, right=True) - 1).clamp(0, len(steps) - 1)
        j, step = i + 1, steps[i, None]
        share = (times - knots[i])[:, None] / step
        place = _bezier(
            torch.lerp,
            [places[i], places[i] + step * speed[i], places[j] - step * speed[j], places[j]],
            share,
        )
        after = rotation[i] @ roma.rotvec_to_rotmat(step * spin[i])
        before = rotation[j] @ roma.rotvec_to_rotmat(-step * spin[j])
        turned = _bezier(_geodesic, [rotation[i], after, before, rotation[j]], share)
        start = rigid(rotation[0], places[0, :3])
        return Motion(relative(start, rigid(turned, place[:, :3])), place[:, 3].exp())


def _speeds(changes: Tensor, steps: Tensor) -> Tensor:
    """Return the velocity at each keyframe: that of a parabola through it and its neighbours."""
    rates = changes / steps[:, None]
    before, after = steps[:-1, None], steps[1:, None]
    inner = (after * rates[:-1] + before * rates[1:]) / (before + after)
    return torch.cat([rates[:1], inner, rates[-1:]])


def _bounded(spin: Tensor, steps: Tensor) -> Tensor:
    """Slow the spins that would turn a control point too far from its keyframe in either step.

    Beyond half a turn a control point lies on the other side: the path would leave the keyframe
    the wrong way round. A slow step beside a quick one asks for that.
    """
    longer = torch.cat([steps[:1], torch.maximum(steps[:-1], steps[1:]), steps[-1:]])[:, None]
    most = math.radians(MAX_TURN_DEG) / longer
    return spin * (most / spin.norm(dim=-1, keepdim=True).clamp(min=1e-12)).clamp(max=1)


def _bezier(
    blend: Callable[[Tensor, Tensor, Tensor], Tensor], control: list[Tensor], share: Tensor
) -> Tensor:
    """Evaluate a Bezier curve by repeated blending of neighbours (de Casteljau)."""
    while len(control) > 1:
        control = [blend(a, b, share) for a, b in pairwise(control)]
    return control[0]


def _geodesic(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    turn = roma.rotmat_to_rotvec(a.transpose(-1, -2) @ b)
    return a @ roma.rotvec_to_rotmat(share * turn)


def _check_row(name: str, values: tuple[float, ...] | None, count: int) -> None:
    if values is None:
        return
    if len(values) != count or not all(map(math.isfinite, values)):
        raise InputError(f"{name}: expected {count} finite numbers, one per keyframe, got {values}")

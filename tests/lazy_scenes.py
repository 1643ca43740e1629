"""Pointmaps of videos of any length with exact truth, made when they are asked for.

Only the cameras of the whole video are held. The depth of a frame is cast and the noise of a pair
drawn, from seeds of their own, when a window asks: asking again gives the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import roma
import torch
from torch import Tensor

from jog3r.alignment import PairPointmaps
from jog3r.geometry import intrinsics_from_fov, relative, rigid, transform_points, unproject
from tests.scenes import cast

BLANK = 1.0
CERTAIN = 10.0


@dataclass(frozen=True, kw_only=True)
class PairNoise:
    """What is wrong with each pair, on its own: that of the stored noisy pairs.

    Args:
        scale: standard deviation of the logarithm of a pair's free scale.
        turn_deg: of the rotation of the second pointmap about its centroid, per axis [deg].
        shift: of its shift, relative to its mean distance.
        slow: of the factor along each ray that varies slowly over the image.
        white: of the factor along each ray that is each pixel's own.
        across: of the shift of each point, relative to its distance.
        outliers: share of pixels with a factor of standard deviation 0.35 along their ray; 70 % of
            them have low confidence.
    """

    scale: float = 0.25
    turn_deg: float = 0.3
    shift: float = 0.01
    slow: float = 0.01
    white: float = 0.01
    across: float = 0.002
    outliers: float = 0.1


EXACT = PairNoise(scale=0.0, turn_deg=0, shift=0, slow=0, white=0, across=0, outliers=0)


@dataclass(frozen=True, eq=False)
class LazyScene:
    """A long video in the room of tests/scenes.py.

    Args:
        world_from_camera: (T, 4, 4) float64; the first is the identity.
        size: (height, width) [px].
        fov_y_deg: vertical field of view [deg].
        noise: of every pair.
        seed: of the noise.
        asked: the pairs that were asked for, in global frame numbers.
    """

    world_from_camera: Tensor
    size: tuple[int, int] = (24, 32)
    fov_y_deg: float = 60.0
    noise: PairNoise = EXACT
    seed: int = 0
    asked: list[tuple[int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return self.world_from_camera.shape[0]

    @property
    def intrinsics(self) -> Tensor:
        """Intrinsics (3, 3)."""
        return intrinsics_from_fov(torch.tensor(self.fov_y_deg, dtype=torch.float64), self.size)

    def points_camera(self, frame: int) -> Tensor:
        """Return the points of a frame in its own camera, (h, w, 3), float32."""
        return _points(self, frame)

    def depth(self, frame: int) -> Tensor:
        """Return the z-depth of a frame, (h, w)."""
        return self.points_camera(frame)[..., 2]

    def __call__(self, frames: Sequence[int], pairs: Tensor) -> PairPointmaps:
        """Return pointmaps of pairs of a window; `pairs` count within `frames`."""
        named = [(frames[i], frames[j]) for i, j in pairs.tolist()]
        self.asked.extend(named)
        height, width = self.size
        points = torch.empty(2, len(named), height, width, 3)
        confidence = torch.empty(2, len(named), height, width)
        for e, (i, j) in enumerate(named):
            points[:, e], confidence[:, e] = self._pair(i, j)
        (own, other), (sure_own, sure_other) = points, confidence
        return PairPointmaps(pairs, own, other, sure_own, sure_other)

    def _pair(self, i: int, j: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * i + 17 * j)
        i_from_j = relative(self.world_from_camera[i], self.world_from_camera[j]).float()
        first, sure_i = self._seen(self.points_camera(i), generator)
        second, sure_j = self._seen(self.points_camera(j), generator)
        second = self._jolted(transform_points(i_from_j, second), generator)
        scale = math.exp(self.noise.scale * float(torch.randn((), generator=generator)))
        return scale * torch.stack([first, second]), torch.stack([sure_i, sure_j])

    def _seen(self, points: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        noise, size = self.noise, self.size
        coarse = torch.randn(1, 1, 6, 6, generator=generator)
        slow = torch.nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=True)
        along = noise.slow * slow[0, 0] + noise.white * torch.randn(size, generator=generator)
        chance = torch.rand(size, generator=generator)
        wild = chance < noise.outliers
        along = torch.where(wild, 0.35 * torch.randn(size, generator=generator), along)
        distance = points.norm(dim=-1, keepdim=True)
        across = noise.across * distance * torch.randn(points.shape, generator=generator)
        confidence = torch.full(size, CERTAIN)
        confidence = torch.where(
            chance < 0.7 * noise.outliers, 1.05 + 0.9 * along.abs(), confidence
        )
        return points * along.exp()[..., None] + across, confidence.clamp(max=CERTAIN)

    def _jolted(self, points: Tensor, generator: torch.Generator) -> Tensor:
        centre = points.flatten(0, 1).mean(dim=0)
        turn = math.radians(self.noise.turn_deg) * torch.randn(3, generator=generator)
        shift = self.noise.shift * centre.norm() * torch.randn(3, generator=generator)
        moved = rigid(roma.rotvec_to_rotmat(turn), centre + shift)
        return transform_points(moved, points - centre)


@lru_cache(maxsize=64)
def _points(scene: LazyScene, frame: int) -> Tensor:
    depth = cast(scene.world_from_camera[frame : frame + 1], scene.intrinsics[None], scene.size)
    return unproject(depth[0], scene.intrinsics).float()


def circle(frames: int, *, radius: float = 1.3, turns: float = 1.0) -> Tensor:
    """Return a level path that looks ahead and comes back to its start, (T, 4, 4)."""
    angle = 2 * math.pi * turns * torch.linspace(0, 1, frames, dtype=torch.float64)
    zero = torch.zeros_like(angle)
    centre = radius * torch.stack([1 - angle.cos(), zero, angle.sin()], -1)
    return rigid(roma.rotvec_to_rotmat(torch.stack([zero, angle, zero], -1)), centre)


def wander(frames: int, *, step: float = 0.06) -> Tensor:
    """Return a path that swings about in the room, of steps of about this length, (T, 4, 4)."""
    time = step * torch.arange(frames, dtype=torch.float64)
    centre = torch.stack(
        [1.2 * (0.8 * time).sin(), 0.3 * (0.5 * time).sin(), 1.2 - 1.2 * (0.55 * time).cos()], -1
    )
    zero = torch.zeros_like(time)
    angle = torch.stack([zero, 0.9 * (0.3 * time).sin(), zero], -1)
    return rigid(roma.rotvec_to_rotmat(angle), centre)

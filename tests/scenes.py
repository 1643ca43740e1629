"""Synthetic scenes with exact truth: a few analytic surfaces seen from smooth camera paths.

A room of six planes with three balls in it, cast ray by ray in float64. The first camera is the
world frame, as it is for every alignment. `pairs` turns a scene into what a perfect network would
say about it, `noisy_pairs` into what a mediocre one says.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import roma
import torch
from torch import Tensor

from jog3r.alignment import PairPointmaps
from jog3r.geometry import (
    intrinsics_from_fov,
    invert,
    rays_camera,
    rigid,
    transform_points,
    unproject,
)

# normal . point = offset; the room reaches 9 units ahead of the first camera and 7 behind it.
PLANES = torch.tensor(
    [
        [0.0, 1.0, 0.0, 1.3],
        [0.0, -1.0, 0.0, 1.9],
        [1.0, 0.05, 0.1, 3.4],
        [-1.0, 0.0, 0.15, 3.0],
        [0.1, 0.0, 1.0, 9.0],
        [0.0, 0.0, -1.0, 7.0],
    ],
    dtype=torch.float64,
)
# centre and radius
BALLS = torch.tensor(
    [[-1.0, 0.6, 4.0, 0.7], [1.3, 0.2, 5.5, 1.1], [0.3, -0.9, 6.5, 0.6]], dtype=torch.float64
)
Path = Literal["forward", "truck", "arc", "pan", "static", "handheld"]


@dataclass(frozen=True)
class Scene:
    """Exact truth of one clip; the first camera is the world."""

    world_from_camera: Tensor  # (T, 4, 4) float64
    K: Tensor  # (T, 3, 3)
    depth: Tensor  # (T, h, w)

    @property
    def points_camera(self) -> Tensor:
        """Each frame's points in its own camera, (T, h, w, 3)."""
        return unproject(self.depth, self.K)

    @property
    def points_world(self) -> Tensor:
        """Each frame's points in the world, (T, h, w, 3)."""
        return transform_points(self.world_from_camera, self.points_camera)


def scene(
    path: Path = "forward",
    *,
    frames: int = 5,
    size: tuple[int, int] = (24, 32),
    fov_y_deg: float = 55.0,
    step: float = 0.12,
    turn_deg: float = 1.0,
    seed: int = 0,
) -> Scene:
    """Cast a clip.

    Args:
        path: kind of camera motion.
        frames: number of frames.
        size: (height, width) [px].
        fov_y_deg: vertical field of view [deg].
        step: length of a step between frames; the room is about 5 units deep.
        turn_deg: rotation between frames [deg].
        seed: of the directions drawn for "handheld".
    """
    world_from_camera = camera_path(path, frames, step, math.radians(turn_deg), seed)
    K = intrinsics_from_fov(torch.full((frames,), fov_y_deg, dtype=torch.float64), size)
    return Scene(world_from_camera, K, cast(world_from_camera, K, size))


def camera_path(path: Path, frames: int, step: float, turn: float, seed: int) -> Tensor:
    """Return world_from_camera (T, 4, 4) of a smooth path that starts at the identity."""
    time = torch.arange(frames, dtype=torch.float64)
    zero = torch.zeros_like(time)
    steps = time * step
    if path == "forward":
        centre, angle = (
            torch.stack([zero, zero, steps], -1),
            torch.stack([zero, time * turn, zero], -1),
        )
    elif path == "truck":
        centre, angle = (
            torch.stack([steps, zero, zero], -1),
            torch.stack([zero, -time * turn, zero], -1),
        )
    elif path == "arc":
        radius, swing = 5.0, time * step / 5.0
        centre = torch.stack([radius * swing.sin(), zero, radius * (1 - swing.cos())], -1)
        angle = torch.stack([zero, -swing, zero], -1)
    elif path == "pan":
        centre, angle = torch.zeros(frames, 3).double(), torch.stack([zero, time * turn, zero], -1)
    elif path == "static":
        centre = angle = torch.zeros(frames, 3, dtype=torch.float64)
    else:
        centre, angle = _handheld(time, step, turn, seed)
    return rigid(roma.rotvec_to_rotmat(angle), centre)


def _handheld(time: Tensor, step: float, turn: float, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    direction[0] += torch.tensor([0.0, 0.0, 1.0])
    direction = direction * torch.tensor([1.0, 0.4, 1.0]) / direction.norm(dim=-1, keepdim=True)
    phase = 6.28 * torch.rand(2, 3, generator=generator, dtype=torch.float64)
    sway = torch.sin(0.7 * time[:, None, None] + phase) - torch.sin(phase)
    motion = time[:, None, None] * direction + 0.4 * sway
    return motion[:, 0] * step, motion[:, 1] * turn


def cast(world_from_camera: Tensor, K: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the z-depth (T, h, w) of the nearest surface along every pixel's ray."""
    return cast_rays(world_from_camera, rays_camera(K, size))


def cast_rays(world_from_camera: Tensor, rays: Tensor) -> Tensor:
    """Return the z-depth (T, h, w) of the nearest surface along rays (T, h, w, 3) with z = 1."""
    origin = world_from_camera[:, None, None, :3, 3]
    direction = transform_points(world_from_camera, rays) - origin
    normal, offset = PLANES[:, :3], PLANES[:, 3]
    planes = (offset - origin @ normal.T) / (direction @ normal.T)
    centre, radius = BALLS[:, :3], BALLS[:, 3]
    away = origin[..., None, :] - centre
    a = direction.square().sum(-1)[..., None]
    b = (direction[..., None, :] * away).sum(-1)
    c = away.square().sum(-1) - radius.square()
    root = (b.square() - a * c).clamp(min=0).sqrt()
    balls = torch.where(b.square() > a * c, (-b - root) / a, torch.inf)
    hits = torch.cat([planes, balls], dim=-1)
    return torch.where(hits > 1e-6, hits, torch.inf).amin(dim=-1)


def pairs(truth: Scene, scales: Tensor | None = None) -> PairPointmaps:
    """Return the exact pairs (0, f), each multiplied by its own scale, confidence 10."""
    frames = truth.depth.shape[0]
    scale = torch.ones(frames - 1) if scales is None else scales
    scale = scale.to(truth.depth)[:, None, None, None]
    points = truth.points_world
    confidence = torch.full_like(truth.depth[1:], 10.0)
    return PairPointmaps(
        pairs=torch.tensor([(0, f) for f in range(1, frames)]),
        points_i=(scale * points[:1]).float(),
        points_j=(scale * points[1:]).float(),
        confidence_i=confidence.float(),
        confidence_j=confidence.float(),
    )


def noisy_pairs(
    truth: Scene,
    generator: torch.Generator,
    *,
    noise: float = 0.03,
    smooth: float = 0.5,
    cloud_deg: float = 0.2,
    cloud_shift: float = 0.005,
    outliers: float = 0.05,
) -> PairPointmaps:
    """Return pairs as a mediocre network gives them.

    Args:
        truth: the scene.
        generator: source of all randomness.
        noise: standard deviation relative to the distance, along the ray; a third of it across.
        smooth: share of the noise that varies slowly over the image, as a network's errors do.
        cloud_deg: rotation of each whole second pointmap about its centroid, per axis [deg].
        cloud_shift: likewise its shift, relative to its median distance.
        outliers: share of pixels with ten times the noise, two thirds of them of low confidence.

    The local noise level varies over the image by a factor of about two either way, and confidence
    falls with it. Each pair has its own scale. The first frame's pointmap keeps most of its error
    from pair to pair, as one network looking at the same image would.
    """
    frames, height, width = truth.depth.shape
    size = (height, width)
    level = noise * torch.exp(0.7 * smooth_field(frames, size, 1, generator)[..., 0])
    common = perturb(truth.points_camera, level, smooth, generator)
    first = 0.85 * (common[:1] - truth.points_camera[:1]) + 0.5 * (
        perturb(
            truth.points_camera[:1].expand(frames - 1, -1, -1, -1), level[:1], smooth, generator
        )
        - truth.points_camera[:1]
    )
    wild = torch.rand(frames, height, width, generator=generator) < outliers
    wrong = perturb(truth.points_camera, 10 * level, 0.0, generator)
    seen = torch.where(wild[..., None], wrong, common)
    points = transform_points(truth.world_from_camera, seen)[1:]
    confidence = 1.0 + 0.1 / level * torch.exp(0.3 * _normal((frames, *size), generator))
    hidden = wild & (torch.rand(frames, height, width, generator=generator) < 0.67)
    confidence = torch.where(hidden, 1.0 + 0.1 * confidence, confidence)
    exact = pairs(truth, torch.exp(0.3 * _normal((frames - 1,), generator)))
    scale = (exact.points_i[:, 0, 0, 2] / truth.depth[0, 0, 0])[:, None, None, None]
    return replace(
        exact,
        points_i=(scale * (truth.points_camera[:1] + first)).float(),
        points_j=(scale * _jolt(points, cloud_deg, cloud_shift, generator)).float(),
        confidence_i=confidence[:1].expand(frames - 1, -1, -1).float(),
        confidence_j=confidence[1:].float(),
    )


def graph_pairs(
    truth: Scene,
    graph: Tensor,
    generator: torch.Generator,
    *,
    noise: float = 0.03,
    smooth: float = 0.5,
    cloud_deg: float = 0.2,
    cloud_shift: float = 0.005,
    outliers: float = 0.05,
    common: float = 0.7,
) -> PairPointmaps:
    """Return the pairs of any graph as a mediocre network gives them; a star: `noisy_pairs`.

    Args:
        truth: the scene.
        graph: pairs (E, 2).
        generator: source of all randomness.
        noise: as in `noisy_pairs`.
        smooth: as in `noisy_pairs`.
        cloud_deg: as in `noisy_pairs`.
        cloud_shift: as in `noisy_pairs`.
        outliers: as in `noisy_pairs`.
        common: part of the noise that a frame has in all of its pairs.
    """
    frames, height, width = truth.depth.shape
    first, second = graph.unbind(dim=1)
    level = noise * torch.exp(0.7 * smooth_field(frames, (height, width), 1, generator)[..., 0])
    shared = perturb(truth.points_camera, level, smooth, generator) - truth.points_camera

    def side(frame: Tensor) -> tuple[Tensor, Tensor]:
        exact, own = truth.points_camera[frame], level[frame]
        points = perturb(exact, own, smooth, generator) - exact
        points = exact + common * shared[frame] + (1 - common**2) ** 0.5 * points
        wild = torch.rand(own.shape, generator=generator) < outliers
        points = torch.where(wild[..., None], perturb(exact, 10 * own, 0.0, generator), points)
        confidence = 1 + 0.1 / own * torch.exp(0.3 * _normal(tuple(own.shape), generator))
        hidden = wild & (torch.rand(own.shape, generator=generator) < 0.67)
        return points, torch.where(hidden, 1 + 0.1 * confidence, confidence)

    (points_i, confidence_i), (points_j, confidence_j) = side(first), side(second)
    i_from_j = invert(truth.world_from_camera[first]) @ truth.world_from_camera[second]
    points_j = _jolt(transform_points(i_from_j, points_j), cloud_deg, cloud_shift, generator)
    scale = torch.exp(0.3 * _normal((len(graph),), generator))[:, None, None, None]
    return PairPointmaps(
        graph,
        (scale * points_i).float(),
        (scale * points_j).float(),
        confidence_i.float(),
        confidence_j.float(),
    )


def exact_pairs(truth: Scene, graph: Tensor, scales: Tensor | None = None) -> PairPointmaps:
    """Return the exact pairs of any graph, each multiplied by its own scale, confidence 10."""
    first, second = graph.unbind(dim=1)
    scale = torch.ones(len(graph)) if scales is None else scales
    scale = scale.to(truth.depth)[:, None, None, None]
    seen = transform_points(invert(truth.world_from_camera)[first], truth.points_world[second])
    confidence = torch.full_like(truth.depth[first], 10.0).float()
    return PairPointmaps(
        graph,
        (scale * truth.points_camera[first]).float(),
        (scale * seen).float(),
        confidence,
        confidence,
    )


def perturb(points: Tensor, level: Tensor, smooth: float, generator: torch.Generator) -> Tensor:
    """Move points along and, a third as far, across their rays; `level` is relative to distance."""
    frames, height, width, _ = points.shape
    white = _normal((frames, height, width, 4), generator)
    slow = smooth_field(frames, (height, width), 4, generator)
    draw = level[..., None] * ((1 - smooth) ** 0.5 * white + smooth**0.5 * slow)
    across = points.norm(dim=-1, keepdim=True) * draw[..., 1:] / 3
    return points * torch.exp(draw[..., :1]) + across


def smooth_field(
    frames: int, size: tuple[int, int], channels: int, generator: torch.Generator
) -> Tensor:
    """Return a field of unit variance that varies over about a quarter of the image."""
    coarse = _normal((frames, channels, 6, 6), generator)
    fine = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic", align_corners=True)
    return (fine / fine.std()).movedim(1, -1)


def _jolt(points: Tensor, degrees: float, shift: float, generator: torch.Generator) -> Tensor:
    count = points.shape[0]
    rotation = roma.rotvec_to_rotmat(math.radians(degrees) * _normal((count, 3), generator))
    centre = points.flatten(1, 2).median(dim=1).values  # whatever outliers there are
    distance = points.flatten(1, 2).norm(dim=-1).median(dim=1).values
    move = shift * distance[:, None] * _normal((count, 3), generator)
    back = rigid(torch.eye(3, dtype=points.dtype).expand(count, 3, 3), centre)
    return transform_points(rigid(rotation, centre + move) @ invert(back), points)


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)

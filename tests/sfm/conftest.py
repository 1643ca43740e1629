"""A textured scene with exact cameras, and the eight photographs of a desk."""

from pathlib import Path
from typing import NamedTuple

import pytest
import roma
import torch
from torch import Tensor

import jog3r
from jog3r.data.media import read_video
from jog3r.export.cameras_json import read_cameras_json
from jog3r.geometry import intrinsics_from_fov, rigid
from jog3r.results import Cameras, Reconstruction, Video

SIZE = (120, 160)


class Clip(NamedTuple):
    video: Video
    K: Tensor
    world_from_camera: Tensor
    depth: Tensor

    def scene(self, cameras: Tensor, scale: str = "relative") -> Reconstruction:
        ones = torch.ones_like(self.depth)
        made = Cameras(cameras, self.K, (self.video.height, self.video.width))
        return Reconstruction(self.video, made, self.depth, ones, scale)  # type: ignore[arg-type]


def facade(world_from_camera: Tensor, K: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Render two textured planes that meet at x = 0, as the corner of a room seen from inside."""
    generator = torch.Generator().manual_seed(seed)
    texture = torch.zeros(1, 3, 512, 512)
    for cells in (8, 32, 128):
        noise = torch.rand(1, 3, cells, cells, generator=generator)
        texture += torch.nn.functional.interpolate(noise, (512, 512), mode="bilinear") / 3
    y, x = torch.meshgrid(torch.arange(SIZE[0]) + 0.5, torch.arange(SIZE[1]) + 0.5, indexing="ij")
    rays = torch.stack([x, y, torch.ones_like(x)], -1) @ torch.linalg.inv(K).T
    directions = rays @ world_from_camera[:3, :3].T
    origin = world_from_camera[:3, 3]
    depth = torch.full(SIZE, torch.inf)
    coordinates = torch.zeros(*SIZE, 2)
    for sign in (-1.0, 1.0):
        normal = torch.tensor([sign * 0.6, 0.0, 0.8])
        distance = (4.0 - origin @ normal) / (directions @ normal)
        points = origin + distance[..., None] * directions
        nearer = (distance > 0) & (distance < depth)
        depth = torch.where(nearer, distance, depth)
        along = points @ torch.tensor([0.8, 0.0, -sign * 0.6])
        plane = torch.stack([along / 8 + 0.3 * sign, points[..., 1] / 8], -1)
        coordinates = torch.where(nearer[..., None], plane, coordinates)
    picture = torch.nn.functional.grid_sample(
        texture, coordinates[None], padding_mode="reflection", align_corners=False
    )
    return (255 * picture[0].permute(1, 2, 0)).round().byte(), depth


def clip_along(world_from_camera: Tensor) -> Clip:
    K = intrinsics_from_fov(50.0, SIZE)
    shots = [facade(camera, K) for camera in world_from_camera]
    frames, depth = (torch.stack(parts) for parts in zip(*shots, strict=True))
    count = len(world_from_camera)
    return Clip(Video(frames, 8.0), K.repeat(count, 1, 1), world_from_camera, depth)


def arc(frames: int) -> Tensor:
    """Return cameras that walk sideways and look back at the corner, the first at the origin."""
    step = torch.linspace(0, 1, frames)
    angle = torch.stack([0.05 * step, -0.35 * step, 0.03 * step], dim=1)
    shift = torch.stack([1.4 * step, 0.2 * step, 0.3 * step * step], dim=1)
    return rigid(roma.rotvec_to_rotmat(angle), shift)


@pytest.fixture(scope="session")
def corner() -> Clip:
    return clip_along(arc(6))


@pytest.fixture(scope="session")
def turning() -> Clip:
    cameras = arc(6)
    cameras[:, :3, 3] = 0
    return clip_along(cameras)


@pytest.fixture(scope="session")
def desk() -> Clip:
    folder = Path(jog3r.__file__).parent / "assets" / "real_clip"
    content = read_cameras_json(folder / "cameras.json")
    files = [folder / file for file in content.files if file is not None]
    video = Video(torch.cat([read_video(file).frames for file in files]), 1.0)
    depth = torch.ones(len(video), video.height, video.width)
    return Clip(video, content.cameras.K, content.cameras.world_from_camera, depth)

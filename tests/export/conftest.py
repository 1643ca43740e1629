"""A small scene with exact truth, whose parts differ from frame to frame."""

from collections.abc import Callable, Iterator

import jaxtyping
import pytest
import roma
import torch

from jog3r import Cameras, Reconstruction, Video
from jog3r.geometry import intrinsics_from_fov, rays_camera, rigid

T, H, W = 13, 18, 24


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Switch the runtime type checks off: what is left is what a user meets."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def build_cameras(frames: int = T, size: tuple[int, int] = (H, W), seed: int = 0) -> Cameras:
    """Cameras anywhere, no two alike; the x coordinate of a position is the frame's number."""
    generator = torch.Generator().manual_seed(seed)
    rotation = roma.random_rotmat(frames, dtype=torch.float64, generator=generator)
    position = torch.randn(frames, 3, dtype=torch.float64, generator=generator)
    position[:, 0] = torch.arange(frames)
    K = intrinsics_from_fov(60.0, size).repeat(frames, 1, 1)
    K[:, 0, 0] += torch.rand(frames, generator=generator)
    K[:, :2, 2] += torch.rand(frames, 2, generator=generator)
    return Cameras(rigid(rotation, position).float(), K, size)


def build_reconstruction(frames: int = T, size: tuple[int, int] = (H, W)) -> Reconstruction:
    generator = torch.Generator().manual_seed(3)
    shape = (frames, *size)
    depth = 1 + 3 * torch.rand(shape, generator=generator)
    depth[torch.rand(shape, generator=generator) < 0.1] = 0
    return Reconstruction(
        Video(torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=generator), 7.5),
        build_cameras(frames, size),
        depth,
        1 + torch.rand(shape, generator=generator),
        "relative",
    )


def build_room(frames: int = 6, size: tuple[int, int] = (24, 32)) -> Reconstruction:
    """An exact scene: inside a cube whose walls are coloured by their position, seen on a walk."""
    step = torch.linspace(0, 1, frames, dtype=torch.float64)
    turn = 0.05 + torch.stack([0.3 * step, -0.8 * step, 0.1 * step], dim=-1)
    position = torch.stack([2 * step - 1, 0.3 * step, -1 + step], dim=-1)
    world_from_camera = rigid(roma.rotvec_to_rotmat(turn), position).float()
    K = intrinsics_from_fov(60.0, size).repeat(frames, 1, 1)
    K[:, :2, 2] += torch.tensor([1.0, -0.5])
    rays = torch.einsum("tij,thwj->thwi", world_from_camera[:, :3, :3], rays_camera(K, size))
    walls = (4 * rays.sign() - world_from_camera[:, None, None, :3, 3]) / rays
    depth = walls.amin(dim=-1)
    points = world_from_camera[:, None, None, :3, 3] + depth[..., None] * rays
    waves = torch.tensor([[2.0, 1.0, 3.0], [-3.0, 2.0, 1.0], [1.0, -3.0, 2.0]])
    frames_rgb = (127.5 + 127 * torch.sin(points @ waves)).round().to(torch.uint8)
    return Reconstruction(
        Video(frames_rgb, 8),
        Cameras(world_from_camera, K, size),
        depth,
        1 + torch.rand(depth.shape, generator=torch.Generator().manual_seed(5)),
        "metric",
    )


@pytest.fixture(scope="session")
def room() -> Reconstruction:
    return build_room()


@pytest.fixture(scope="session")
def make_cameras() -> Callable[..., Cameras]:
    return build_cameras


@pytest.fixture(scope="session")
def make_reconstruction() -> Callable[..., Reconstruction]:
    return build_reconstruction


@pytest.fixture(scope="session")
def reconstruction() -> Reconstruction:
    return build_reconstruction()


@pytest.fixture(scope="session")
def cameras() -> Cameras:
    return build_cameras()

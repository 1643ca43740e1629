"""A small scene with exact truth, whose parts differ from frame to frame."""

from collections.abc import Callable, Iterator

import jaxtyping
import pytest
import roma
import torch

from jog3r import Cameras, Reconstruction, Video
from jog3r.geometry import intrinsics_from_fov, rigid

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

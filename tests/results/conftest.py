"""Scenes of the controlled world, with exact depth."""

from functools import cache

import pytest
import torch

from jog3r import Cameras, Reconstruction, Video


@cache
def build_world_scene() -> Reconstruction:
    from jog3r.data.world import HELD_OUT, World, WorldConfig

    clip = World(WorldConfig(size=64)).clip(HELD_OUT, frames=6)
    depth = torch.from_numpy(clip.depth)
    cameras = Cameras(torch.from_numpy(clip.world_from_camera), torch.from_numpy(clip.K), (64, 64))
    video = Video(torch.from_numpy(clip.frames), 8.0)
    return Reconstruction(video, cameras, depth, torch.ones_like(depth), "metric")


@pytest.fixture(scope="session")
def world_scene() -> Reconstruction:
    """Return a clip of a room with exact cameras and depth."""
    return build_world_scene()

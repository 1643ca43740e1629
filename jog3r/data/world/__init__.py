"""The controlled world: procedural scenes with everything that is true about them.

Frames, depth, pointmaps, normals, masks, cameras and captions.
"""

from jog3r.data.world.clips import HELD_OUT, World, WorldClip, WorldConfig
from jog3r.data.world.render import Rendering, render
from jog3r.data.world.scene import Scene, SceneConfig

__all__ = [
    "HELD_OUT",
    "Rendering",
    "Scene",
    "SceneConfig",
    "World",
    "WorldClip",
    "WorldConfig",
    "render",
]

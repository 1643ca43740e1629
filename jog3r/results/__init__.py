"""What the model hands out: frozen dataclasses of CPU tensors, checked when they are built.

Frames and units (docs/conventions.md): OpenCV camera axes (x right, y down, z forward), K in pixels
of the video it travels with, pixel centres at +0.5. Lengths are in the unit that
`Reconstruction.scale` names. Two results are equal when all their tensors are equal bit by bit.
"""

from jog3r.results.cameras import CameraFormat, Cameras
from jog3r.results.generation import Generation
from jog3r.results.mesh import Mesh
from jog3r.results.points import PointCloud
from jog3r.results.reconstruction import Reconstruction, Scale
from jog3r.results.selection import PointSelection
from jog3r.results.video import Video

__all__ = [
    "CameraFormat",
    "Cameras",
    "Generation",
    "Mesh",
    "PointCloud",
    "PointSelection",
    "Reconstruction",
    "Scale",
    "Video",
]

"""Camera paths as data: moves, what is made of them, their files, and a picture of them.

    from jog3r.paths import Dolly, Orbit, Series, cameras_along

    path = Series(moves=(Dolly(distance_world=1.0), Orbit(angle_deg=90.0, radius_world=2.0)))
    cameras = cameras_along(path, 16, image_size=(48, 64), fov_y_deg=60.0)

The picture, `jog3r.paths.preview.write_preview`, is not imported here: it needs matplotlib.
"""

from jog3r.geometry.camera_moves import (
    Dolly,
    Handheld,
    Motion,
    Move,
    Pan,
    Pedestal,
    Roll,
    Tilt,
    Truck,
    Zoom,
)
from jog3r.geometry.camera_orbits import Arc, Orbit, Spiral, look_at
from jog3r.geometry.camera_paths import Eased, Reversed, Series, Together
from jog3r.geometry.keyframes import Keyframes
from jog3r.paths.path_file import describe, parse_move, read_path, write_path
from jog3r.paths.recorded import (
    Trajectory,
    median_depth,
    read_trajectory,
    recorded,
    recorded_from,
)
from jog3r.paths.sampling import cameras_along, cameras_in_scene, resampled

__all__ = [
    "Arc",
    "Dolly",
    "Eased",
    "Handheld",
    "Keyframes",
    "Motion",
    "Move",
    "Orbit",
    "Pan",
    "Pedestal",
    "Reversed",
    "Roll",
    "Series",
    "Spiral",
    "Tilt",
    "Together",
    "Trajectory",
    "Truck",
    "Zoom",
    "cameras_along",
    "cameras_in_scene",
    "describe",
    "look_at",
    "median_depth",
    "parse_move",
    "read_path",
    "read_trajectory",
    "recorded",
    "recorded_from",
    "resampled",
    "write_path",
]

"""Camera paths that someone has gone before: from a camera file, or from another video."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from jog3r.errors import InputError
from jog3r.export.cameras import format_named, read_named_cameras
from jog3r.export.guess import guess_camera_format
from jog3r.export.tum import read_tum
from jog3r.geometry import focal
from jog3r.geometry.keyframes import Keyframes
from jog3r.result_checks import as_path
from jog3r.results import CameraFormat, Cameras, Reconstruction

NOMINAL_SIZE = (1000, 1000)
"""Image size by which the K of a RealEstate10K file from elsewhere is multiplied where only the
change of its focal length matters."""


class Trajectory(NamedTuple):
    """What a camera file of any format says about the camera's path.

    Args:
        world_from_camera: (t, 4, 4).
        K: (t, 3, 3) [px]; None where the format has none.
        image_size: (height, width) [px] that K belongs to; None where the file does not say it: K
            is of an image of some size then.
        times_s: (t,) time stamps; None where they are not kept.
        files: name of each camera's image; None where the file does not say it.
    """

    world_from_camera: Tensor
    K: Tensor | None = None
    image_size: tuple[int, int] | None = None
    times_s: Tensor | None = None
    files: tuple[str, ...] | None = None


def read_trajectory(path: str | Path, format: CameraFormat | None = None) -> Trajectory:
    """Read the path of the camera, which needs no image size whatever the format.

    Args:
        path: to read.
        format: as in `Cameras.load`; None guesses it by the content.

    Raises:
        InputError: unknown format, or one that cannot be guessed.
        FileError: missing, truncated or foreign file.
    """
    place = as_path("path", path)
    chosen = guess_camera_format(place) if format is None else format
    if chosen == "tum":
        cameras, times_s = read_tum(place)
        return Trajectory(cameras, times_s=times_s)
    read_path_alone = format_named(chosen).trajectory
    if read_path_alone is not None:
        return Trajectory(read_path_alone(place).world_from_camera)
    try:
        cameras, files, _ = read_named_cameras(place, chosen)
    except InputError:
        if chosen != "realestate10k":
            raise
        # The file is not ours and does not say its image size.
        cameras = read_named_cameras(place, chosen, image_size=NOMINAL_SIZE).cameras
        return Trajectory(cameras.world_from_camera, cameras.K)
    return Trajectory(cameras.world_from_camera, cameras.K, cameras.image_size, files=files)


def recorded(cameras: Cameras | Trajectory, *, scale: float = 1.0) -> Keyframes:
    """Return the path of recorded cameras, relative to the first one, with their zoom.

    Args:
        cameras: recorded, in any world; time stamps are kept to.
        scale: factor from their unit of length to that of the world the path is for.

    Raises:
        InputError: a scale that is not above 0, time stamps that do not increase, or neighbours
            turned by 179 degrees or more.

    Example:
        >>> import torch
        >>> from jog3r.geometry.camera_moves import Truck
        >>> from jog3r.paths.sampling import cameras_along
        >>> first = cameras_along(
        ...     Truck(distance_world=1.0), 5, image_size=(48, 64), fov_y_deg=60.0
        ... )
        >>> recorded(first, scale=10.0).at(torch.ones(1)).start_from_camera[0, :3, 3]
        tensor([10.,  0.,  0.], dtype=torch.float64)
    """
    if not 0 < scale < float("inf"):
        raise InputError(f"scale: expected a factor above 0, got {scale}")
    world_from_camera = cameras.world_from_camera.double()
    world_from_camera[:, :3, 3] *= scale
    times_s = cameras.times_s if isinstance(cameras, Trajectory) else None
    return Keyframes(
        world_from_camera=world_from_camera,
        times=None if times_s is None else tuple(times_s.tolist()),
        zoom=None if cameras.K is None else tuple(focal(cameras.K.double()).tolist()),
    )


def recorded_from(
    other: Reconstruction, scene: Reconstruction, *, start_frame: int = 0
) -> Keyframes:
    """Return the camera path of another video, scaled to this scene.

    Two reconstructions of relative scale have no common unit. The path is scaled so that the median
    depth in its first frame becomes that of the start frame here: where the other camera came
    halfway to what it saw, this one does. Between two metric scenes nothing is scaled.

    Args:
        other: whose camera path it is.
        scene: to move in.
        start_frame: of the scene, where the path will start.

    Raises:
        InputError: a frame without any depth, or neighbours turned by 179 degrees or more.
    """
    if scene.scale == other.scale == "metric":
        return recorded(other.cameras)
    scale = median_depth(scene, start_frame) / median_depth(other, 0)
    return recorded(other.cameras, scale=scale)


def median_depth(scene: Reconstruction, frame: int = 0) -> float:
    """Return the median depth of a frame's used pixels: a length to measure a scene by.

    In the scene's unit; pixels without depth and outside the scene's mask do not count.
    `Dolly(distance_world=0.3 * median_depth(scene))` goes a third of the way, whatever the unit.

    Args:
        scene: to measure.
        frame: one of its frames.

    Raises:
        InputError: a frame that does not exist, or one without any depth.
    """
    if not 0 <= frame < len(scene.video):
        raise InputError(f"frame: expected 0 to {len(scene.video) - 1}, got {frame}")
    used = scene.depth[frame] > 0
    if scene.mask is not None:
        used = used & scene.mask[frame]
    depth = scene.depth[frame][used]
    if not len(depth):
        raise InputError(
            f"frame: expected one with depth, got none in frame {frame}; choose another"
        )
    return float(depth.median())

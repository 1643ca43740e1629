"""From a camera move to the cameras of a video."""

import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry import check_intrinsics, check_transforms, intrinsics_from_fov
from jog3r.geometry.camera_moves import Move
from jog3r.geometry.keyframes import Keyframes
from jog3r.paths.recorded import recorded
from jog3r.result_checks import image_size_of, whole_number
from jog3r.results import Cameras, Reconstruction

MOST_FRAMES = 100_000
"""More cameras than this are a slip of the keyboard: they would take gigabytes."""


def cameras_along(
    move: Move,
    frames: int,
    *,
    image_size: tuple[int, int],
    K: Float[Tensor, "3 3"] | None = None,
    fov_y_deg: float | None = None,
    world_from_start: Float[Tensor, "4 4"] | None = None,
) -> Cameras:
    """Return the cameras at evenly spaced times of a move, its start and its end included.

    Args:
        move: what the camera does.
        frames: how many; the last frame of a closed path equals the first.
        image_size: (height, width) [px].
        K: intrinsics of the first frame [px]; a zoom multiplies its focal lengths.
        fov_y_deg: in place of K, the vertical field of view of the first frame [deg].
        world_from_start: the first camera; None for the identity.

    Raises:
        InputError: no frame or more than 100 000, both or neither of K and fov_y_deg, or one of
            another kind; a zoom beyond what a K can be.

    Example:
        >>> from jog3r.geometry.camera_moves import Dolly
        >>> cameras = cameras_along(
        ...     Dolly(distance_world=1.5), 16, image_size=(48, 64), fov_y_deg=60.0
        ... )
        >>> cameras, cameras.world_from_camera[-1, 2, 3]
        (Cameras(16 frames, 64x48 px), tensor(1.5000))
    """
    if not 1 <= whole_number("frames", frames) <= MOST_FRAMES:
        raise InputError(f"frames: expected 1 to {MOST_FRAMES}, got {frames}; 16 is usual")
    size = image_size_of(image_size)
    if K is None and fov_y_deg is not None:
        first = intrinsics_from_fov(fov_y_deg, size)
    elif K is not None and fov_y_deg is None:
        first = K
    else:
        raise InputError(f"K, fov_y_deg: expected one of them, got {K} and {fov_y_deg}")
    check_intrinsics(first, size)
    motion = move.at(torch.linspace(0, 1, frames, dtype=torch.float64))
    cameras = motion.start_from_camera
    if world_from_start is not None:
        check_transforms(world_from_start, name="world_from_start")
        cameras = world_from_start.double() @ cameras
    return Cameras(cameras.float(), _zoomed(first, motion.zoom, size), size)


def cameras_in_scene(
    move: Move, frames: int, scene: Reconstruction, *, start_frame: int = 0
) -> Cameras:
    """Return the cameras of a move that starts at one of a scene's own cameras, with its K.

    Args:
        move: what the camera does, in the scene's unit of length.
        frames: how many.
        scene: to move in.
        start_frame: whose camera is the first one.

    Raises:
        InputError: no frame, or a start frame that the scene does not have.
    """
    if not 0 <= start_frame < len(scene.cameras):
        raise InputError(
            f"start_frame: expected 0 to {len(scene.cameras) - 1}, got {start_frame}; choose a"
            " frame of the scene"
        )
    return cameras_along(
        move,
        frames,
        image_size=scene.cameras.image_size,
        K=scene.cameras.K[start_frame],
        world_from_start=scene.cameras.world_from_camera[start_frame],
    )


def resampled(cameras: Cameras, frames: int) -> Cameras:
    """Return a smooth path through cameras with another number of frames, in the same world.

    Every camera is passed exactly, at evenly spaced times; the first and the last stay.

    Args:
        cameras: to pass; the shape of their K apart from the focal length is that of the first.
        frames: how many there shall be.

    Raises:
        InputError: no frame, or neighbours turned by 179 degrees or more.
    """
    path: Keyframes = recorded(cameras)
    return cameras_along(
        path,
        frames,
        image_size=cameras.image_size,
        K=cameras.K[0],
        world_from_start=cameras.world_from_camera[0],
    )


def _zoomed(K: Tensor, zoom: Tensor, size: tuple[int, int]) -> Tensor:
    zoomed = K.double().repeat(len(zoom), 1, 1)
    zoomed[:, :2, :2] *= zoom[:, None, None]
    try:
        check_intrinsics(zoomed.float(), size)
    except InputError as error:
        low, high = zoomed[:, 0, 0].aminmax()
        raise InputError(
            "move: expected a zoom to focal lengths that a lens can have, got"
            f" {float(low):.3g} to {float(high):.3g} px; zoom less"
        ) from error
    return zoomed.float()

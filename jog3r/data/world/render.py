"""Render a scene: the caster's pixel function over frames, rows and columns, on CPU or CUDA."""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from jog3r.data.world import caster
from jog3r.data.world.scene import Scene
from jog3r.errors import InputError


@dataclass(frozen=True)
class Rendering:
    """What the cameras see.

    Attributes:
        frames: `(T, H, W, 3)` uint8 sRGB.
        depth: `(T, H, W)` float32 z-depth [m] at pixel centres, 0 for the sky.
        normals: `(T, H, W, 3)` float32 unit normals in world axes, 0 for the sky.
        ids: `(T, H, W)` int16 row of the visible object in `Scene.objects`, -1 for the sky.
    """

    frames: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    ids: np.ndarray


def render(
    scene: Scene,
    world_from_camera: np.ndarray,
    K: np.ndarray,
    size: tuple[int, int],
    *,
    samples: int = 2,
    shadows: bool = True,
    device: Literal["cpu", "cuda"] = "cpu",
) -> Rendering:
    """Render T frames.

    Args:
        scene: What stands where.
        world_from_camera: `(T, 4, 4)` cameras, OpenCV axes.
        K: `(T, 3, 3)` intrinsics [px], pixel centres at +0.5.
        size: Height and width [px].
        samples: Colour is averaged over samples x samples rays per pixel.
        shadows: Whether the lamp or sun casts shadows.
        device: Where to run the pixel function.

    Raises:
        InputError: Cameras and intrinsics do not have the same number of frames.
        MissingPackageError: `device="cuda"` and numba finds no usable CUDA device.
    """
    cameras = np.ascontiguousarray(world_from_camera, dtype=np.float64)
    intrinsics = np.ascontiguousarray(K, dtype=np.float64)
    count = len(cameras)
    if cameras.shape != (count, 4, 4) or intrinsics.shape != (count, 3, 3):
        raise InputError(
            f"K: expected ({count}, 3, 3) for {count} cameras, got {intrinsics.shape}; give one K"
            " per frame"
        )
    colour = np.empty((count, *size, 3), dtype=np.float32)
    depth = np.empty((count, *size), dtype=np.float32)
    normals = np.empty((count, *size, 3), dtype=np.float32)
    ids = np.empty((count, *size), dtype=np.int16)
    photos = scene.photos if len(scene.photos) else np.zeros((1, 2, 2, 3), dtype=np.float32)
    solid = (scene.at_frames(count), scene.materials, scene.light, photos)
    run = _cpu_kernel() if device == "cpu" else _cuda_kernel()
    run(cameras, intrinsics, samples, shadows, *solid, colour, depth, normals, ids)
    frames = np.rint(255.0 * np.clip(colour, 0.0, 1.0) ** np.float32(1.0 / 2.2)).astype(np.uint8)
    return Rendering(frames, depth, normals, ids)


@cache
def _cpu_kernel() -> Any:
    import numba

    pixel = caster.build(numba.njit(error_model="numpy", nogil=True))

    @numba.njit(error_model="numpy", nogil=True)
    def kernel(
        cameras, K, samples, shadows, objects, materials, light, photos, colour, depth, normals, ids
    ):
        for frame in range(depth.shape[0]):
            for row in range(depth.shape[1]):
                for column in range(depth.shape[2]):
                    pixel(
                        frame, row, column, cameras, K, samples, shadows,
                        objects, materials, light, photos, colour, depth, normals, ids,
                    )  # fmt: skip

    return kernel


def _cuda_kernel() -> Any:
    from jog3r.data.world.render_cuda import launch

    return launch

"""The caster's pixel function as a CUDA kernel; imported only where it is asked for."""

from functools import cache
from typing import Any

# At module level because numba's simulator replaces it among the globals of a kernel.
from numba import cuda

from jog3r.data.world import caster
from jog3r.errors import MissingPackageError


def launch(*arrays: Any) -> None:
    """Fill the last four arrays (colour, depth, normals, ids) from the others.

    Raises:
        MissingPackageError: numba finds no usable CUDA device.
    """
    if not cuda.is_available():
        raise MissingPackageError(
            "device: expected a CUDA device that numba can use, got none; render with device='cpu'"
        )
    *inputs, colour, depth, normals, ids = arrays
    outputs = [cuda.to_device(array) for array in (colour, depth, normals, ids)]
    count, height, width = depth.shape
    _kernel()[(-(-width // 16), -(-height // 8), count), (16, 8, 1)](*inputs, *outputs)
    for on_device, array in zip(outputs, (colour, depth, normals, ids), strict=True):
        on_device.copy_to_host(array)


@cache
def _kernel() -> Any:
    pixel = caster.build(cuda.jit(device=True))

    @cuda.jit
    def kernel(
        cameras, K, samples, shadows, objects, materials, light, photos, colour, depth, normals, ids
    ):
        column, row, frame = cuda.grid(3)  # type: ignore[misc]
        if frame < depth.shape[0] and row < depth.shape[1] and column < depth.shape[2]:
            pixel(
                frame, row, column, cameras, K, samples, shadows,
                objects, materials, light, photos, colour, depth, normals, ids,
            )  # fmt: skip

    return kernel

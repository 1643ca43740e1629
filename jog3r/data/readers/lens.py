"""Lenses of stored pictures, and pictures as a camera without distortion would have taken them.

A ray with z = 1 meets the picture at a closed form of it, so that the value of every pixel of a
straight picture can be looked up in the stored one: no lens has to be inverted.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from jog3r.errors import FileError, InputError
from jog3r.geometry import check_intrinsics, pixel_centres

MOST_ZOOM = 1.5
"""A lens that needs more than this to fill a straight picture is no perspective lens."""
SAME_SHAPE = 0.02
"""Relative difference of aspect ratio that rounding a reduced picture's sides can explain."""
_BORDER_POINTS = 65


@dataclass(frozen=True)
class Lens:
    """A camera's inside, after the model that COLMAP and OpenCV call OPENCV.

    Args:
        focal: fx, fy [px].
        centre: Principal point [px], pixel centres at +0.5.
        size: (height, width) of its pictures [px].
        radial: k1, k2, ... of 1 + k1 r^2 + k2 r^4 + ...
        tangential: p1, p2.

    Source: COLMAP documentation, "Camera Models"; OpenCV documentation, "calib3d".
    """

    focal: tuple[float, float]
    centre: tuple[float, float]
    size: tuple[int, int]
    radial: tuple[float, ...] = ()
    tangential: tuple[float, float] = (0.0, 0.0)

    @property
    def distorted(self) -> bool:
        """Whether straight lines come out bent."""
        return any(self.radial) or any(self.tangential)

    @property
    def matrix(self) -> Float[Tensor, "3 3"]:
        """The matrix, distortion left aside."""
        (fx, fy), (cx, cy) = self.focal, self.centre
        return torch.tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]], dtype=torch.float64)

    def check(self) -> None:
        """Check that pictures can be straightened.

        Raises:
            FileError: No focal length, a principal point outside of the picture, or distortion
                that folds the picture or needs more than `MOST_ZOOM`.
        """
        try:
            check_intrinsics(self.matrix, self.size)
        except InputError as error:
            raise FileError(f"lens: {error}") from error
        self.straight_matrix()

    def resized(self, size: tuple[int, int]) -> "Lens":
        """Return the lens of pictures that were resized as a whole.

        Raises:
            FileError: Another shape than this lens has.
        """
        rows, columns = (new / old for new, old in zip(size, self.size, strict=True))
        if abs(rows / columns - 1) > SAME_SHAPE:
            raise FileError(
                f"expected {self.size[1]}x{self.size[0]} px or a reduced picture of that shape,"
                f" got {size[1]}x{size[0]}"
            )
        (fx, fy), (cx, cy) = self.focal, self.centre
        scaled = {"focal": (fx * columns, fy * rows), "centre": (cx * columns, cy * rows)}
        return replace(self, size=size, **scaled)

    def pixels(self, rays: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b 2"]:
        """Return where rays (x, y, 1) of the camera meet the picture [px]."""
        x, y = rays.unbind(dim=-1)
        r2 = x.square() + y.square()
        stretch = sum((k * r2 ** (n + 1) for n, k in enumerate(self.radial)), torch.ones_like(r2))
        p1, p2 = self.tangential
        bent_x = x * stretch + 2 * p1 * x * y + p2 * (r2 + 2 * x.square())
        bent_y = y * stretch + p1 * (r2 + 2 * y.square()) + 2 * p2 * x * y
        bent = torch.stack([bent_x, bent_y], dim=-1)
        return bent * bent.new_tensor(self.focal) + bent.new_tensor(self.centre)

    def straight_matrix(self) -> Float[Tensor, "3 3"]:
        """Return K of a picture without distortion that this one fills to its borders.

        Raises:
            FileError: Distortion that folds the picture or needs more than `MOST_ZOOM`.
        """
        if not self.distorted:
            return self.matrix
        low, high = 1.0, MOST_ZOOM
        if self._folds() or not self._fills(high):
            raise FileError(
                f"distortion: expected a lens that is straightened by a zoom below {MOST_ZOOM}, got"
                f" radial {self.radial}, tangential {self.tangential}; undistort the images first,"
                " with `colmap image_undistorter`"
            )
        if self._fills(low):
            return self.matrix
        while high - low > 1e-4:
            middle = (low + high) / 2
            low, high = (low, middle) if self._fills(middle) else (middle, high)
        return _zoomed(self.matrix, high)

    def _fills(self, zoom: float) -> bool:
        height, width = self.size
        along = torch.linspace(0, 1, _BORDER_POINTS, dtype=torch.float64)
        x, y = along * width, along * height
        sides = [(x, 0 * x), (x, 0 * x + height), (0 * y, y), (0 * y + width, y)]
        border = torch.cat([torch.stack(side, dim=-1) for side in sides])
        seen = self.pixels(_rays(border, _zoomed(self.matrix, zoom)))
        return bool(((seen >= 0) & (seen <= seen.new_tensor([width, height]))).all())

    def _folds(self) -> bool:
        """Tell whether rays further out meet the picture further in."""
        (fx, fy), (cx, cy), (height, width) = self.focal, self.centre, self.size
        corner = math.hypot(max(cx, width - cx) / fx, max(cy, height - cy) / fy)
        r = torch.linspace(0, corner, _BORDER_POINTS, dtype=torch.float64)
        slope = sum(
            ((2 * n + 3) * k * r ** (2 * n + 2) for n, k in enumerate(self.radial)),
            torch.ones_like(r),
        )
        return bool((slope <= 0).any())


def straighten(
    picture: Float[Tensor, "h w c"], lens: Lens
) -> tuple[Float[Tensor, "h w c"], Float[Tensor, "3 3"]]:
    """Return a picture of the same size without distortion, and its K.

    Raises:
        FileError: As `Lens.straight_matrix`.
    """
    if not lens.distorted:
        return picture, lens.matrix
    K, grid = _straight(lens)
    return _sampled(picture, grid, mode="bilinear", padding_mode="border"), K


def look_up(
    values: Float[Tensor, "h w c"],
    lens: Lens,
    K: Float[Tensor, "3 3"],
    size: tuple[int, int],
) -> Float[Tensor, "h2 w2 c"]:
    """Look values up for the pixels of another camera at the same place, and never average them.

    Args:
        values: On the pixels of the lens.
        lens: That took them.
        K: Of the other camera.
        size: (height, width) of its picture [px].

    Returns:
        The nearest pixel's value; 0 where the lens did not see.
    """
    return _sampled(values.float(), _grid(lens, K, size), mode="nearest", padding_mode="zeros")


# The frames of a scene share their lens.
@lru_cache(maxsize=2)
def _straight(lens: Lens) -> tuple[Tensor, Tensor]:
    K = lens.straight_matrix()
    return K, _grid(lens, K, lens.size)


def _grid(lens: Lens, K: Tensor, size: tuple[int, int]) -> Tensor:
    """Return where the pixels of a camera lie on a lens' picture, whose borders are at -1 and 1."""
    pixels = lens.pixels(_rays(pixel_centres(size, dtype=torch.float64), K))
    return (2 * pixels / pixels.new_tensor([lens.size[1], lens.size[0]]) - 1).float()


def _sampled(values: Tensor, grid: Tensor, **how: str) -> Tensor:
    found = F.grid_sample(values.permute(2, 0, 1)[None], grid[None], align_corners=False, **how)
    return found[0].permute(1, 2, 0)


def _rays(pixels: Tensor, K: Tensor) -> Tensor:
    return (pixels - K[:2, 2]) / K.diagonal()[:2]


def _zoomed(K: Tensor, zoom: float) -> Tensor:
    return K * K.new_tensor([[zoom, 1.0, 1.0], [1.0, zoom, 1.0], [1.0, 1.0, 1.0]])


def opencv_lens(
    focal: tuple[float, float],
    centre: tuple[float, float],
    size: tuple[int, int],
    numbers: dict[str, float],
) -> Lens:
    """Return a lens of named coefficients; those without an entry are 0."""
    radial = tuple(numbers.get(name, 0.0) for name in ("k1", "k2", "k3", "k4"))
    return Lens(focal, centre, size, radial, (numbers.get("p1", 0.0), numbers.get("p2", 0.0)))

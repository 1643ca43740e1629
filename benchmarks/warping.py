"""Photometric self-consistency: does frame 0, moved by depth and cameras, look like the others?"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from jog3r.geometry import invert, pixel_centres, pointmap_from_depth, project, transform_points

OCCLUDED = 0.1
"""A point farther than what frame 0 sees there by more than this share of it is hidden from it."""


@dataclass(frozen=True)
class WarpErrors:
    """Colour errors of one clip's frames 1, 2, ... against frame 0; all over the same pixels.

    Args:
        warped: mean absolute difference after the warp [0..255].
        unmoved: the same without any warp.
        coverage: share of the pixels that frame 0 sees too, by the depth and cameras tested.
        motion_px: median length of the warp.
    """

    warped: float
    unmoved: float
    coverage: float
    motion_px: float


def warp_errors(video: Tensor, depth: Tensor, K: Tensor, world_from_camera: Tensor) -> WarpErrors:
    """Look up every pixel of the later frames in frame 0 and compare colours.

    A still clip has an error of zero whatever its depth: read it beside the motion. Few covered
    pixels make it easy as well: read it beside the coverage.

    Args:
        video: frames `(T, 3, H, W)` in [-1, 1].
        depth: `(T, H, W)`; 0 = none.
        K: `(T, 3, 3)`.
        world_from_camera: `(T, 4, 4)`.
    """
    size = (video.shape[-2], video.shape[-1])
    points = pointmap_from_depth(depth, K, world_from_camera)[1:]
    pixels, distance = project(transform_points(invert(world_from_camera[0]), points), K[0])
    inside = ((pixels > 0.5) & (pixels < pixels.new_tensor(size[::-1]) - 0.5)).all(dim=-1)
    seen, colours = look_up(depth[:1], pixels)[:, 0], look_up(video[0], pixels)
    in_front = (depth[1:] > 0) & (distance > 0)
    valid = in_front & inside & (seen > 0) & (distance <= (1 + OCCLUDED) * seen)
    warped = (colours - video[1:]).abs().mean(dim=1)
    unmoved = (video[:1] - video[1:]).abs().mean(dim=1)
    motion = (pixels - pixel_centres(size)).norm(dim=-1)
    if not bool(valid.any()):
        return WarpErrors(torch.nan, torch.nan, 0.0, torch.nan)
    return WarpErrors(
        warped=127.5 * float(warped[valid].mean()),
        unmoved=127.5 * float(unmoved[valid].mean()),
        coverage=float(valid.float().mean()),
        motion_px=float(motion[valid].median()),
    )


def look_up(image: Tensor, pixels: Tensor) -> Tensor:
    """Sample an image `(C, H, W)` bilinearly at pixel positions `(T, H, W, 2)`: `(T, C, H, W)`."""
    size = pixels.new_tensor(image.shape[:0:-1])
    grid = 2 * pixels / size - 1
    return F.grid_sample(image.expand(len(grid), -1, -1, -1), grid, align_corners=False)

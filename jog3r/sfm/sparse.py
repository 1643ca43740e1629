"""What COLMAP finds, as tensors: cameras, points, and where frames see them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from jog3r.geometry import invert, transform_points

MIN_SHARED_POINTS = 15
"""Two frames hang together if they see at least so many points in common."""
MIN_FRAME_POINTS = 15
"""A frame that sees fewer points than this has no camera to rely on."""


@dataclass(frozen=True)
class SparseModel:
    """Cameras and points of one solution, in a world and at a scale of its own.

    Args:
        registered: frames that have a camera.
        world_from_camera: the identity where there is none.
        K: of all frames [px].
        points: world frame.
        error: mean reprojection error of each point [px].
        frame: frame of each observation of a point.
        pixel: where it is seen, (x, y).
        point: its number in `points`.
    """

    registered: Bool[Tensor, " t"]
    world_from_camera: Float[Tensor, "t 4 4"]
    K: Float[Tensor, "t 3 3"]
    points: Float[Tensor, "n 3"]
    error: Float[Tensor, " n"]
    frame: Int[Tensor, " o"]
    pixel: Float[Tensor, "o 2"]
    point: Int[Tensor, " o"]

    @property
    def depth(self) -> Float[Tensor, " o"]:
        """Depth of the point of each observation, along the axis of the frame's camera."""
        camera_from_world = invert(self.world_from_camera)[self.frame]
        return transform_points(camera_from_world, self.points[self.point])[:, 2]

    @property
    def track_length(self) -> Int[Tensor, " n"]:
        """How many frames see each point."""
        return torch.bincount(self.point, minlength=len(self.points))


def linked_frames(model: SparseModel) -> Bool[Tensor, " t"]:
    """Return the largest set of frames that hang together.

    Two solutions that share a handful of wrong matches come out as one, whose parts lie anywhere.
    So frames count as linked only through another one with `MIN_SHARED_POINTS` points in common.
    """
    frames = len(model.registered)
    sees = torch.zeros(frames, len(model.points))
    sees[model.frame, model.point] = 1
    shared = sees @ sees.T
    link = (shared >= MIN_SHARED_POINTS) & (sees.sum(dim=1) >= MIN_FRAME_POINTS)
    reach = link & model.registered & model.registered[:, None]
    # Squaring doubles how far a link reaches.
    for _ in range(max(frames - 1, 1).bit_length()):
        reach = (reach.float() @ reach.float()) > 0
    return reach[int(reach.sum(dim=1).argmax())]


def only(model: SparseModel, frames: Bool[Tensor, " t"]) -> SparseModel:
    """Return the model of these frames alone, without points that fewer than two of them see."""
    keep = frames[model.frame]
    used = torch.bincount(model.point[keep], minlength=len(model.points)) >= 2
    keep &= used[model.point]
    renumbered = used.cumsum(0) - 1
    identity = torch.eye(4, dtype=torch.float64)
    return SparseModel(
        frames,
        torch.where(frames[:, None, None], model.world_from_camera, identity),
        model.K,
        model.points[used],
        model.error[used],
        model.frame[keep],
        model.pixel[keep],
        renumbered[model.point[keep]],
    )

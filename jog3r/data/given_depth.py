"""The depth that a clip comes with."""

from jaxtyping import Float
from torch import Tensor

from jog3r.data.clip import Clip
from jog3r.geometry import invert, transform_points


def given_depth(clip: Clip) -> Float[Tensor, "t h w"] | None:
    """Give the depth that a data set has, or that its pointmaps mean; 0 outside of its mask."""
    depth = clip.depth
    if depth is None and clip.points_world is not None and clip.world_from_camera is not None:
        flat = clip.points_world.flatten(1, 2)
        points = transform_points(invert(clip.world_from_camera), flat)
        depth = points[..., 2].reshape(clip.points_world.shape[:3]).nan_to_num(0.0).clamp(min=0.0)
    if depth is None or clip.mask is None:
        return depth
    return depth * clip.mask

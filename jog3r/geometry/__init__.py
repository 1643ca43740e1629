"""Pure tensor geometry: transforms, intrinsics, projection, pointmaps, similarity.

Conventions (docs/conventions.md): OpenCV axes (x right, y down, z forward); transforms named as
they read (`world_from_camera`); K in pixels of the image it travels with; pixel centres at +0.5.
Any number of leading batch dimensions; where two arguments meet, these are matched from the left.
Everything computes in float32 or float64 with autocast off.
"""

from jog3r.geometry.intrinsics import (
    check_intrinsics,
    crop_intrinsics,
    focal,
    intrinsics_from_focal,
    intrinsics_from_fov,
    resize_intrinsics,
)
from jog3r.geometry.pointmaps import (
    focal_from_pointmap,
    normals_from_pointmap,
    pointmap_from_depth,
)
from jog3r.geometry.projection import pixel_centres, project, rays_camera, unproject
from jog3r.geometry.similarity import Similarity, fit_similarity
from jog3r.geometry.transforms import (
    check_transforms,
    invert,
    relative,
    rigid,
    to_homogeneous,
    transform_points,
)

__all__ = [
    "Similarity",
    "check_intrinsics",
    "check_transforms",
    "crop_intrinsics",
    "fit_similarity",
    "focal",
    "focal_from_pointmap",
    "intrinsics_from_focal",
    "intrinsics_from_fov",
    "invert",
    "normals_from_pointmap",
    "pixel_centres",
    "pointmap_from_depth",
    "project",
    "rays_camera",
    "relative",
    "resize_intrinsics",
    "rigid",
    "to_homogeneous",
    "transform_points",
    "unproject",
]

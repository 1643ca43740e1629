"""Metrics: one file each, every one with its trivial baseline and its coverage."""

from jog3r.metrics.depth import DepthErrors, constant_depth, depth_errors
from jog3r.metrics.relative_pose import (
    RelativePoseErrors,
    no_motion,
    relative_pose_errors,
    straight_forward,
)

__all__ = [
    "DepthErrors",
    "RelativePoseErrors",
    "constant_depth",
    "depth_errors",
    "no_motion",
    "relative_pose_errors",
    "straight_forward",
]

"""Metrics: one file each, every one with its trivial baseline and its coverage.

`jog3r.metrics.in_training` wraps two of them for torchmetrics; it is not imported here.
"""

from jog3r.metrics.absolute_trajectory import AbsoluteTrajectoryErrors, absolute_trajectory_error
from jog3r.metrics.association import associate
from jog3r.metrics.camera_control import CameraControlErrors, camera_control_errors
from jog3r.metrics.depth import DepthErrors, constant_depth, depth_errors
from jog3r.metrics.relative_pose import (
    RelativePoseErrors,
    no_motion,
    relative_pose_errors,
    straight_forward,
)
from jog3r.metrics.relative_trajectory import RelativeTrajectoryErrors, relative_trajectory_error
from jog3r.metrics.trajectories import ErrorSummary

__all__ = [
    "AbsoluteTrajectoryErrors",
    "CameraControlErrors",
    "DepthErrors",
    "ErrorSummary",
    "RelativePoseErrors",
    "RelativeTrajectoryErrors",
    "absolute_trajectory_error",
    "associate",
    "camera_control_errors",
    "constant_depth",
    "depth_errors",
    "no_motion",
    "relative_pose_errors",
    "relative_trajectory_error",
    "straight_forward",
]

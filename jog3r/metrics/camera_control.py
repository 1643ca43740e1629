"""RotErr and TransErr of CameraCtrl: does a generated video follow the cameras it was asked for?

Both are **sums** over the frames, so they grow with the number of frames, and they depend on how
the unknown scale of the estimated cameras is chosen: numbers of different rules or lengths cannot
be compared. `coverage` has to be printed beside them: clips whose cameras could not be estimated
are the hard ones.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry import relative
from jog3r.geometry.precision import full_precision
from jog3r.metrics.trajectories import present_frames

ScaleRule = Literal["first-step", "least-squares", "none"]


@dataclass(frozen=True)
class CameraControlErrors:
    """Errors of the cameras of one clip, all relative to its first frame.

    Args:
        scale_rule: how `scale` was chosen; print it beside the errors.
        rotation_rad: angle between true and estimated rotation of each frame [rad]; NaN where the
            estimate has none.
        distance: between true and estimated position of each frame, in the unit of the truth; NaN
            where the estimate has none.
        scale: factor the estimate's lengths were multiplied with.
    """

    scale_rule: ScaleRule
    rotation_rad: Float[Tensor, " t"]
    distance: Float[Tensor, " t"]
    scale: float

    @property
    def rot_err(self) -> float:
        """Sum of the angles over the frames that the estimate has [rad]."""
        return float(self.rotation_rad.nansum())

    @property
    def trans_err(self) -> float:
        """Sum of the squared distances, as the paper prints it."""
        return float(self.distance.square().nansum())

    @property
    def trans_err_unsquared(self) -> float:
        """Sum of the distances, as others report it under the same name."""
        return float(self.distance.nansum())

    @property
    def coverage(self) -> float:
        """Share of the frames that the estimate has; the sums are over these alone."""
        return float((~self.rotation_rad.isnan()).double().mean())


@full_precision
def camera_control_errors(
    estimate: Float[Tensor, "t 4 4"],
    truth: Float[Tensor, "t 4 4"],
    valid: Bool[Tensor, " t"] | None = None,
    *,
    scale_rule: ScaleRule = "first-step",
) -> CameraControlErrors:
    """Compare rotations and positions frame by frame, relative to the first frame of each.

    Sampler: all frames that the estimate has. Baselines: `no_motion`, whose scale is 1 by any rule,
    and `straight_forward`.

    Args:
        estimate: world_from_camera; NaN throughout where a frame is missing.
        truth: world_from_camera, as asked for.
        valid: True where there is an estimate; None for wherever it is not NaN.
        scale_rule: "first-step" makes the estimate's step to the second frame as long as the true
            one, as CameraCtrl does; "least-squares" minimises the sum of squared distances; "none"
            compares lengths as they are.

    Raises:
        InputError: different numbers of frames, fewer than two, no rigid transforms, an unknown
            rule, an estimate without the first frame, or without what the rule needs: a second
            frame, and a first step.

    Source: He et al., CameraCtrl (arXiv 2404.02101), where positions are of world_from_camera.

    Example:
        >>> from jog3r.metrics import no_motion, straight_forward
        >>> errors = camera_control_errors(no_motion(3), straight_forward(3), scale_rule="none")
        >>> errors.rot_err, errors.trans_err, errors.trans_err_unsquared
        (0.0, 5.0, 3.0)
    """
    if scale_rule not in get_args(ScaleRule):
        raise InputError(f"scale_rule: expected one of {get_args(ScaleRule)}, got {scale_rule!r}")
    present = present_frames(estimate, truth, valid)
    if len(truth) < 2 or not bool(present[0]):
        raise InputError(
            "estimate: expected the first frame and at least one more, got"
            f" {len(truth)} frames, the first {'present' if bool(present[0]) else 'missing'}"
        )
    found, true = (
        relative(cameras[:1], cameras) for cameras in (estimate.double(), truth.double())
    )
    found = torch.where(present[:, None, None], found, torch.nan)
    scale = _scale(found[:, :3, 3], true[:, :3, 3], present, scale_rule)
    angle = roma.rotmat_geodesic_distance(found[:, :3, :3], true[:, :3, :3])
    distance = (scale * found[:, :3, 3] - true[:, :3, 3]).norm(dim=-1)
    return CameraControlErrors(scale_rule, angle, distance, scale)


def _scale(found: Tensor, true: Tensor, present: Tensor, scale_rule: ScaleRule) -> float:
    if scale_rule == "none" or not bool(found[present].any()):
        return 1.0
    if scale_rule == "least-squares":
        here, there = found[present], true[present]
        return float((here * there).sum() / here.square().sum())
    if not bool(present[1]) or not bool(found[1].any()):
        raise InputError(
            "scale_rule: expected an estimate that has moved in its second frame, got none; use"
            " 'least-squares'"
        )
    return float(true[1].norm() / found[1].norm())

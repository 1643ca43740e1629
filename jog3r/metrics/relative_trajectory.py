"""RPE: how wrong the motion is from each frame to the one `delta_frames` later, that is, drift."""

from dataclasses import dataclass
from typing import Literal

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry import relative
from jog3r.geometry.precision import full_precision
from jog3r.metrics.trajectories import ErrorSummary, align_trajectory, present_frames

StepAlignment = Literal["none", "similarity"]
"""No rigid one: motion between frames does not depend on where the world is."""


@dataclass(frozen=True)
class RelativeTrajectoryErrors:
    """Errors of the motion between frames of one clip.

    Args:
        alignment: the rule they depend on; print it beside them.
        delta_frames: how far apart the frames of a pair are.
        translation: lengths of the difference of motion, in the unit of the truth.
        rotation_deg: its angles [deg].
        scale: factor the estimate's lengths were multiplied with.
        coverage: share of the pairs of which the estimate has both frames; the others are left out.
    """

    alignment: StepAlignment
    delta_frames: int
    translation: ErrorSummary
    rotation_deg: ErrorSummary
    scale: float
    coverage: float


@full_precision
def relative_trajectory_error(
    estimate: Float[Tensor, "t 4 4"],
    truth: Float[Tensor, "t 4 4"],
    valid: Bool[Tensor, " t"] | None = None,
    *,
    alignment: StepAlignment = "similarity",
    delta_frames: int = 1,
) -> RelativeTrajectoryErrors:
    """Compare the motion from every frame i to frame i + delta.

    Sampler: all such pairs of which the estimate has both frames. Baselines: `no_motion`, which
    gives the true motion itself, and `straight_forward`.

    Args:
        estimate: world_from_camera; NaN throughout where a frame is missing.
        truth: world_from_camera.
        valid: True where there is an estimate; None for wherever it is not NaN.
        alignment: "similarity" first multiplies the estimate's lengths by the scale that ATE's
            alignment of the same name finds; "none" takes them as they are.
        delta_frames: distance between the frames of a pair.

    Raises:
        InputError: different numbers of frames, no rigid transforms, an unknown alignment, a delta
            that leaves no pair, or what `absolute_trajectory_error` refuses to align.

    Source: Sturm et al., "A benchmark for the evaluation of RGB-D SLAM systems", 2012.

    Example:
        >>> from jog3r.metrics import no_motion, straight_forward
        >>> relative_trajectory_error(
        ...     no_motion(4), straight_forward(4), alignment="none"
        ... ).translation.mean
        1.0
    """
    if alignment not in ("none", "similarity"):
        raise InputError(
            f"alignment: expected 'none' or 'similarity', got {alignment!r}; a rigid one changes"
            " no motion between frames"
        )
    present = present_frames(estimate, truth, valid)
    if not 1 <= delta_frames < len(truth):
        raise InputError(
            f"delta_frames: expected 1 to {len(truth) - 1} for {len(truth)} frames, got"
            f" {delta_frames}"
        )
    scale = align_trajectory(estimate[present], truth[present], alignment).scale
    both = present[:-delta_frames] & present[delta_frames:]
    found, true = (
        relative(cameras[:-delta_frames][both], cameras[delta_frames:][both])
        for cameras in (estimate.double(), truth.double())
    )
    found[:, :3, 3] *= scale
    difference = relative(true, found)
    eye = torch.eye(3).to(difference).expand(len(difference), 3, 3)
    return RelativeTrajectoryErrors(
        alignment=alignment,
        delta_frames=delta_frames,
        translation=ErrorSummary.of(difference[:, :3, 3].norm(dim=-1)),
        rotation_deg=ErrorSummary.of(
            roma.rotmat_geodesic_distance(difference[:, :3, :3], eye).rad2deg()
        ),
        scale=scale,
        coverage=float(both.double().mean()),
    )

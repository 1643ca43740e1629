"""ATE: how far each camera is from its true place, after one alignment of the whole clip."""

from dataclasses import dataclass

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.geometry.precision import full_precision
from jog3r.metrics.trajectories import Alignment, ErrorSummary, align_trajectory, present_frames


@dataclass(frozen=True)
class AbsoluteTrajectoryErrors:
    """Errors of the cameras of one clip.

    Args:
        alignment: the rule they depend on; print it beside them.
        translation: distances between positions, in the unit of the truth.
        rotation_deg: angles between orientations [deg]; NaN where the positions lie on a line,
            which leaves the fitted rotation open.
        scale: factor the estimate's lengths were multiplied with.
        coverage: share of the frames that the estimate has; the others are left out.
    """

    alignment: Alignment
    translation: ErrorSummary
    rotation_deg: ErrorSummary
    scale: float
    coverage: float


@full_precision
def absolute_trajectory_error(
    estimate: Float[Tensor, "t 4 4"],
    truth: Float[Tensor, "t 4 4"],
    valid: Bool[Tensor, " t"] | None = None,
    *,
    alignment: Alignment = "similarity",
) -> AbsoluteTrajectoryErrors:
    """Compare where the cameras are and where they look.

    Sampler: all frames that the estimate has. Baselines: `no_motion`, which gives the spread of the
    true positions, and `straight_forward`.

    Args:
        estimate: world_from_camera; NaN throughout where a frame is missing.
        truth: world_from_camera.
        valid: True where there is an estimate; None for wherever it is not NaN.
        alignment: fitted to the positions of all these frames at once.

    Raises:
        InputError: different numbers of frames, no rigid transforms, fewer than three frames to
            align, an unknown alignment, or a similarity to a truth that stands still.

    Source: Sturm et al., "A benchmark for the evaluation of RGB-D SLAM systems", 2012.

    Example:
        >>> from jog3r.metrics import straight_forward
        >>> truth = straight_forward(3)
        >>> estimate = truth.clone()
        >>> estimate[:, :3, 3] = 2 * truth[:, :3, 3] + 5
        >>> error = absolute_trajectory_error(estimate, truth, alignment="similarity")
        >>> round(error.translation.rmse, 6), round(error.scale, 6), error.coverage
        (0.0, 0.5, 1.0)
        >>> round(absolute_trajectory_error(estimate, truth, alignment="rigid").translation.max, 6)
        1.0
    """
    present = present_frames(estimate, truth, valid)
    found, true = estimate[present], truth[present].double()
    aligned = align_trajectory(found, true, alignment)
    distance = (aligned.world_from_camera[:, :3, 3] - true[:, :3, 3]).norm(dim=-1)
    angle = roma.rotmat_geodesic_distance(
        aligned.world_from_camera[:, :3, :3], true[:, :3, :3]
    ).rad2deg()
    return AbsoluteTrajectoryErrors(
        alignment=alignment,
        translation=ErrorSummary.of(distance),
        rotation_deg=ErrorSummary.of(angle if aligned.turn_is_known else torch.empty(0)),
        scale=aligned.scale,
        coverage=float(present.double().mean()),
    )

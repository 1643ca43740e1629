"""Relative camera pose: RRA, RTA and AUC over all pairs of frames of a clip."""

from collections.abc import Sequence
from dataclasses import dataclass

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry import relative, rigid
from jog3r.geometry.precision import full_precision
from jog3r.metrics.trajectories import present_frames

MIN_BASELINE_SHARE = 1e-3
"""A true baseline shorter than this share of the clip's longest has no direction to compare."""
MIN_BASELINE = 1e-6
"""Nor has one shorter than this, in the unit of the true cameras: the clip does not move."""
MIN_ESTIMATE_SHARE = 1e-6
"""An estimated baseline shorter than this share of the estimate's longest counts as no motion."""
AUC_DEG = 30


@dataclass(frozen=True)
class RelativePoseErrors:
    """Errors of all unordered pairs of frames, of one clip or pooled from several.

    A pair whose true baseline has no direction (`has_direction` False) counts for RRA alone; RTA
    and AUC are over the others, and NaN if there are none. `coverage` says how many those are and
    has to be printed beside them. A pair that the estimate lacks counts as wrong everywhere, so
    that leaving out what is difficult earns nothing; `estimated` says how many it has.

    Args:
        rotation_deg: angle between true and estimated relative rotation, 0 to 180 [deg]; NaN for
            pairs that the estimate lacks.
        direction_deg: angle between true and estimated direction of the relative translation, 0 to
            180 [deg]; 180 where the estimate does not move, NaN where it is missing.
        has_direction: whether the true baseline has a direction.
        moves: False where the estimate stands still.
    """

    rotation_deg: Float[Tensor, "pairs"]
    direction_deg: Float[Tensor, "pairs"]
    has_direction: Bool[Tensor, "pairs"]
    moves: Bool[Tensor, "pairs"]

    @property
    def coverage(self) -> float:
        """Share of the pairs whose true baseline has a direction."""
        return float(self.has_direction.double().mean())

    @property
    def estimated(self) -> float:
        """Share of the pairs of which the estimate has both frames."""
        return float((~self.rotation_deg.isnan()).double().mean())

    @property
    def line_deg(self) -> Float[Tensor, "pairs"]:
        """Direction error without regard to sign, 0 to 90 [deg]; 90 where nothing moves, or NaN."""
        line = torch.minimum(self.direction_deg, 180 - self.direction_deg)
        return line.masked_fill(~self.moves, 90.0)

    def rra(self, threshold_deg: float) -> float:
        """Relative rotation accuracy: share of pairs with a rotation error below the threshold."""
        return float((self.rotation_deg < threshold_deg).double().mean())

    def rta(self, threshold_deg: float, *, sign_blind: bool = False) -> float:
        """Relative translation accuracy: share with a direction error below the threshold.

        Args:
            threshold_deg: [deg].
            sign_blind: compare lines (0 to 90) as VGGT's code does, not directions (0 to 180). By
                chance 13 % lie below 30 deg, against 6.7 %.
        """
        error = self.line_deg if sign_blind else self.direction_deg
        return float((error < threshold_deg)[self.has_direction].double().mean())

    def auc(self, limit_deg: int = AUC_DEG, *, sign_blind: bool = False) -> float:
        """Area under the accuracy curve, AUC@limit, also called mAA, in bins of one degree.

        The error of a pair is the larger of its rotation and its direction error; the result is the
        mean, over the thresholds 1, 2, ... limit, of the share of pairs below the threshold. This
        is the rule of VGGT's evaluation and of most tables; `auc_exact` is less by up to one bin.

        Args:
            limit_deg: largest threshold [deg].
            sign_blind: as for `rta`.
        """
        error = self._larger_deg(sign_blind)
        thresholds = torch.arange(1, limit_deg + 1, device=error.device)
        return float((error[:, None] < thresholds).double().mean())

    def auc_exact(self, limit_deg: float = AUC_DEG, *, sign_blind: bool = False) -> float:
        """Area under the accuracy curve without bins: its integral from 0 to the limit.

        Args:
            limit_deg: upper end of the curve [deg].
            sign_blind: as for `rta`.
        """
        left = 1 - self._larger_deg(sign_blind) / limit_deg
        return float(left.nan_to_num(0.0).clamp(min=0).double().mean())

    def _larger_deg(self, sign_blind: bool) -> Tensor:
        direction = self.line_deg if sign_blind else self.direction_deg
        return torch.maximum(self.rotation_deg, direction)[self.has_direction]

    @classmethod
    def pooled(cls, clips: Sequence["RelativePoseErrors"]) -> "RelativePoseErrors":
        """Put the pairs of several clips together, so that every pair counts the same.

        Raises:
            InputError: no clip.
        """
        if not clips:
            raise InputError("clips: expected at least one, got none")
        return cls(
            torch.cat([clip.rotation_deg for clip in clips]),
            torch.cat([clip.direction_deg for clip in clips]),
            torch.cat([clip.has_direction for clip in clips]),
            torch.cat([clip.moves for clip in clips]),
        )


@full_precision
def relative_pose_errors(
    estimate: Float[Tensor, "t 4 4"],
    truth: Float[Tensor, "t 4 4"],
    valid: Bool[Tensor, " t"] | None = None,
) -> RelativePoseErrors:
    """Compare the relative poses of every unordered pair of frames.

    Sampler: all pairs i < j of the frames given; which frames of a clip those are is the caller's
    choice and has to be stated. Alignment: none is needed, since relative rotations and directions
    do not change with the world's frame or scale.

    Args:
        estimate: world_from_camera, in any world and at any scale; NaN throughout where a frame is
            missing.
        truth: world_from_camera.
        valid: True where there is an estimate; None for wherever it is not NaN.

    Raises:
        InputError: fewer than two frames, different numbers of frames, no rigid transforms, or no
            frame of the estimate.

    Source: RRA and RTA as in PoseDiffusion (arXiv 2306.15667); AUC with the maximum per pair and
        1-degree bins as in VGGT's evaluation (arXiv 2503.11651).

    Example:
        >>> truth = straight_forward(3)
        >>> errors = relative_pose_errors(5 * (truth - torch.eye(4)) + torch.eye(4), truth)
        >>> errors.rra(5), errors.rta(5), errors.auc(), errors.coverage
        (1.0, 1.0, 1.0, 1.0)
        >>> relative_pose_errors(no_motion(3), truth).rta(30)
        0.0
    """
    present = present_frames(estimate, truth, valid)
    if len(truth) < 2:
        raise InputError(f"truth: expected at least two frames, got {len(truth)}")
    estimate = torch.where(present[:, None, None], estimate, torch.nan)
    i, j = torch.triu_indices(len(truth), len(truth), offset=1).unbind()
    found, true = (relative(c[i], c[j]) for c in (estimate.double(), truth.double()))
    rotation = roma.rotmat_geodesic_distance(found[:, :3, :3], true[:, :3, :3]).rad2deg()
    step, true_step = found[:, :3, 3], true[:, :3, 3]
    direction = _angle(step, true_step).rad2deg()
    length, true_length = step.norm(dim=1), true_step.norm(dim=1)
    moves = (length > MIN_ESTIMATE_SHARE * length.nan_to_num(0.0).max()) | length.isnan()
    least = max(MIN_BASELINE_SHARE * float(true_length.max()), MIN_BASELINE)
    direction = direction.masked_fill(~moves, 180.0)
    return RelativePoseErrors(rotation, direction, true_length > least, moves)


def _angle(a: Tensor, b: Tensor) -> Tensor:
    """Angle between vectors, accurate near 0 and 180 degrees, where arccos is not."""
    cross = torch.linalg.cross(a, b).norm(dim=-1)
    return torch.atan2(cross, (a * b).sum(dim=-1))


def no_motion(frames: int) -> Float[Tensor, "t 4 4"]:
    """Return the baseline that stays where it is; every direction it gives counts as wrong.

    Example:
        >>> no_motion(2).shape
        torch.Size([2, 4, 4])
    """
    return torch.eye(4).repeat(frames, 1, 1)


def straight_forward(frames: int) -> Float[Tensor, "t 4 4"]:
    """Return the baseline that moves ahead, along +z, by one unit a frame without turning.

    Example:
        >>> straight_forward(3)[:, 2, 3]
        tensor([0., 1., 2.])
    """
    position = torch.zeros(frames, 3)
    position[:, 2] = torch.arange(frames)
    return rigid(torch.eye(3).expand(frames, 3, 3), position)

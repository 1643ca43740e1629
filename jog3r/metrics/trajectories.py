"""What the trajectory metrics share: missing frames, alignment, and how errors are summed up."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry import Similarity, check_transforms
from jog3r.geometry.checks import check_tensor

Alignment = Literal["none", "rigid", "similarity"]
"""What is fitted to the camera positions first: nothing; rotation and translation (ATE-SE3); those
and a scale (ATE-Sim3, the usual one where scale is arbitrary)."""

MIN_SPREAD = 1e-6
"""Second singular value of the positions' cross-covariance, relative to the first, below which they
lie on a line and do not tell how the world is turned about it."""


@dataclass(frozen=True)
class ErrorSummary:
    """Errors of a clip in four numbers, NaN where there is no error to sum up.

    Args:
        rmse: root of the mean square.
        mean: arithmetic mean.
        median: middle one, or the mean of the two in the middle.
        max: largest.

    Example:
        >>> ErrorSummary.of(torch.tensor([0.0, 3.0, 4.0, 5.0]))
        ErrorSummary(rmse=3.5355339059327378, mean=3.0, median=3.5, max=5.0)
    """

    rmse: float
    mean: float
    median: float
    max: float

    @classmethod
    def of(cls, errors: Float[Tensor, " n"]) -> "ErrorSummary":
        """Sum up errors."""
        if not len(errors):
            return cls(math.nan, math.nan, math.nan, math.nan)
        ordered = errors.double().sort().values
        middle = ordered[[(len(errors) - 1) // 2, len(errors) // 2]].mean()
        rmse = ordered.square().mean().sqrt()
        return cls(float(rmse), float(ordered.mean()), float(middle), float(ordered[-1]))


class Aligned(NamedTuple):
    """An estimate in the world of the truth.

    Args:
        world_from_camera: (t, 4, 4) float64.
        scale: factor the estimate's lengths were multiplied with.
        turn_is_known: False where the positions lie on a line, about which the fit may turn freely:
            positions can be compared then, rotations cannot.
    """

    world_from_camera: Tensor
    scale: float
    turn_is_known: bool


def present_frames(
    estimate: Float[Tensor, "t 4 4"],
    truth: Float[Tensor, "t 4 4"],
    valid: Bool[Tensor, " t"] | None = None,
) -> Bool[Tensor, " t"]:
    """Check two trajectories and return which frames the estimate has.

    A frame is missing where the mask says so or where its camera is NaN throughout.

    Args:
        estimate: world_from_camera; what missing frames hold does not matter.
        truth: world_from_camera of the same frames.
        valid: True where there is an estimate.

    Raises:
        InputError: different numbers of frames, no rigid transforms where there should be, a mask
            of another shape, or no frame at all.
    """
    for name, cameras in (("estimate", estimate), ("truth", truth)):
        check_tensor(name, cameras, (4, 4), hint="use to_homogeneous()")
    if estimate.ndim != 3 or estimate.shape != truth.shape or not len(truth):
        raise InputError(
            "estimate: expected as many frames as the truth, as (frames, 4, 4), got"
            f" {tuple(estimate.shape)} and {tuple(truth.shape)}; associate() them first"
        )
    check_transforms(truth, name="truth")
    present = ~torch.isnan(estimate).flatten(1).all(dim=1)
    if valid is not None:
        if valid.shape != present.shape or valid.dtype != torch.bool:
            raise InputError(f"valid: expected {len(truth)} of True and False, got {valid}")
        present = present & valid
    if not bool(present.any()):
        raise InputError("estimate: expected a camera in some frame, got none")
    check_transforms(estimate[present], name="estimate")
    return present


def align_trajectory(
    estimate: Float[Tensor, "t 4 4"], truth: Float[Tensor, "t 4 4"], alignment: Alignment
) -> Aligned:
    """Move an estimate, all frames present, to where its positions fit those of the truth best.

    Raises:
        InputError: an unknown alignment, fewer than three frames to fit, or a similarity to a truth
            that stands still, where every estimate would shrink to nothing.

    Source: Umeyama 1991, through roma.
    """
    if alignment not in get_args(Alignment):
        raise InputError(f"alignment: expected one of {get_args(Alignment)}, got {alignment!r}")
    estimate, truth = estimate.double(), truth.double()
    if alignment == "none":
        return Aligned(estimate, 1.0, True)
    if len(truth) < 3:
        raise InputError(f"truth: expected at least 3 frames to align, got {len(truth)}")
    source, target = estimate[:, :3, 3], truth[:, :3, 3]
    spread = [float((points - points[0]).abs().max()) for points in (source, target)]
    with_scale = alignment == "similarity"
    if with_scale and spread[1] == 0:
        raise InputError(
            "truth: expected motion to fit a scale to, got none; use alignment 'rigid'"
        )
    if spread[0] == 0:  # nothing to turn or to scale: only the place is fitted
        eye = torch.eye(3).to(source)
        fit = Similarity(eye, target.mean(dim=0) - source[0], source.new_ones(()))
        return Aligned(fit.cameras(estimate), 1.0, False)
    fit = roma.rigid_points_registration(source, target, compute_scaling=with_scale)
    rotation, translation, *scale = (part for part in fit if isinstance(part, Tensor))
    factor = scale[0] if scale else source.new_ones(())
    moved = Similarity(rotation, translation, factor).cameras(estimate)
    return Aligned(moved, float(factor), _tells_turn(source, target))


def _tells_turn(source: Tensor, target: Tensor) -> bool:
    cross = (source - source.mean(dim=0)).T @ (target - target.mean(dim=0))
    values = torch.linalg.svdvals(cross)
    return bool(values[1] > MIN_SPREAD * values[0])

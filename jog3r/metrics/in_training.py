"""Camera metrics for the validation of training: update, compute, reset, over all processes.

Thin wrappers of `relative_pose_errors` and `absolute_trajectory_error` for torchmetrics. Not
imported by `jog3r.metrics`, since torchmetrics is slow to import.
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from jog3r.metrics.absolute_trajectory import absolute_trajectory_error
from jog3r.metrics.relative_pose import RelativePoseErrors, relative_pose_errors
from jog3r.metrics.trajectories import Alignment

_STATES = ("rotation_deg", "direction_deg", "has_direction", "moves")


class RelativePoseAccuracy(Metric):
    """RRA, RTA and AUC over the pairs of all clips of an epoch, every pair counting the same.

    Args:
        threshold_deg: of RRA and RTA [deg].
        sign_blind: compare the directions of RTA and AUC as lines.
        options: of every torchmetrics.Metric.

    Example:
        >>> from jog3r.metrics import straight_forward
        >>> metric = RelativePoseAccuracy(threshold_deg=15.0)
        >>> metric.update(straight_forward(3), straight_forward(3))
        >>> {name: float(value) for name, value in metric.compute().items()}
        {'RRA@15': 1.0, 'RTA@15': 1.0, 'AUC@30': 1.0, 'coverage': 1.0, 'estimated': 1.0}
    """

    full_state_update = False
    higher_is_better = True

    def __init__(
        self, *, threshold_deg: float = 15.0, sign_blind: bool = False, **options: Any
    ) -> None:
        super().__init__(**options)
        self.threshold_deg, self.sign_blind = threshold_deg, sign_blind
        for name in _STATES:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, estimate: Tensor, truth: Tensor) -> None:
        """Add a clip: world_from_camera (t, 4, 4) of both; missing frames are NaN."""
        errors = relative_pose_errors(estimate, truth)
        for name in _STATES:
            getattr(self, name).append(getattr(errors, name))

    def compute(self) -> dict[str, Tensor]:
        """Return shares in [0, 1]; `coverage` and `estimated` as in RelativePoseErrors."""
        # Between processes torchmetrics has already joined each list into one tensor.
        joined = {name: getattr(self, name) for name in _STATES}
        errors = RelativePoseErrors(
            **{
                name: torch.cat(value) if isinstance(value, list) else value
                for name, value in joined.items()
            }
        )
        label = f"{self.threshold_deg:g}" + ("+-" if self.sign_blind else "")
        values = {
            f"RRA@{self.threshold_deg:g}": errors.rra(self.threshold_deg),
            f"RTA@{label}": errors.rta(self.threshold_deg, sign_blind=self.sign_blind),
            "AUC@30" + ("+-" if self.sign_blind else ""): errors.auc(sign_blind=self.sign_blind),
            "coverage": errors.coverage,
            "estimated": errors.estimated,
        }
        return {name: torch.tensor(value) for name, value in values.items()}


class AbsoluteTrajectoryError(Metric):
    """Mean over clips of the RMSE of camera positions (ATE), with the mean coverage.

    Args:
        alignment: as in `absolute_trajectory_error`; it is part of the values' names.
        options: of every torchmetrics.Metric.

    Example:
        >>> from jog3r.metrics import straight_forward
        >>> metric = AbsoluteTrajectoryError(alignment="rigid")
        >>> metric.update(straight_forward(3), straight_forward(3))
        >>> {name: round(float(value), 6) for name, value in metric.compute().items()}
        {'ATE_rigid': 0.0, 'coverage': 1.0}
    """

    full_state_update = False
    higher_is_better = False
    errors: Tensor
    covered: Tensor
    clips: Tensor

    def __init__(self, *, alignment: Alignment = "similarity", **options: Any) -> None:
        super().__init__(**options)
        self.alignment: Alignment = alignment
        for name in ("errors", "covered", "clips"):
            self.add_state(name, default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, estimate: Tensor, truth: Tensor) -> None:
        """Add a clip: world_from_camera (t, 4, 4) of both; missing frames are NaN."""
        found = absolute_trajectory_error(estimate, truth, alignment=self.alignment)
        self.errors += found.translation.rmse
        self.covered += found.coverage
        self.clips += 1

    def compute(self) -> dict[str, Tensor]:
        """Return the means over clips."""
        return {
            f"ATE_{self.alignment}": self.errors / self.clips,
            "coverage": self.covered / self.clips,
        }

"""The metrics for training say what the plain ones say, over batches and processes."""

from pathlib import Path

import pytest
import torch
import torch.distributed
from torch.multiprocessing.spawn import spawn

from jog3r.metrics import (
    RelativePoseErrors,
    absolute_trajectory_error,
    relative_pose_errors,
    straight_forward,
)
from jog3r.metrics.in_training import AbsoluteTrajectoryError, RelativePoseAccuracy
from tests.metrics.test_trajectories import noisy

CLIPS = [noisy(1), noisy(2, frames=4), noisy(3)]


@pytest.mark.parametrize("sign_blind", [False, True])
def test_pairs_of_all_clips_are_pooled(sign_blind: bool) -> None:
    metric = RelativePoseAccuracy(threshold_deg=3.0, sign_blind=sign_blind)
    for clip in CLIPS:
        metric.update(*clip)
    pooled = RelativePoseErrors.pooled([relative_pose_errors(*clip) for clip in CLIPS])
    mark = "+-" if sign_blind else ""
    expected = {
        "RRA@3": pooled.rra(3),
        f"RTA@3{mark}": pooled.rta(3, sign_blind=sign_blind),
        f"AUC@30{mark}": pooled.auc(sign_blind=sign_blind),
        "coverage": 1.0,
        "estimated": 1.0,
    }
    assert {name: float(value) for name, value in metric.compute().items()} == pytest.approx(
        expected
    )
    metric.reset()
    metric.update(straight_forward(3), straight_forward(3))
    assert float(metric.compute()["RRA@3"]) == 1.0


@pytest.mark.parametrize("alignment", ["rigid", "similarity"])
def test_trajectory_errors_are_averaged_over_clips(alignment) -> None:
    metric = AbsoluteTrajectoryError(alignment=alignment)
    for clip in CLIPS:
        metric.update(*clip)
    errors = [absolute_trajectory_error(*clip, alignment=alignment) for clip in CLIPS]
    mean = sum(error.translation.rmse for error in errors) / 3
    assert float(metric.compute()[f"ATE_{alignment}"]) == pytest.approx(mean)
    metric.reset()
    gap = straight_forward(4)
    gap[1] = float("nan")
    metric.update(gap, straight_forward(4))
    assert float(metric.compute()["coverage"]) == 0.75


def half_of_the_clips(rank: int, folder: str) -> None:
    """Run in each of two processes: see some of the clips, and check the joint result."""
    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    joint, alone = RelativePoseAccuracy(), RelativePoseAccuracy(sync_on_compute=False)
    trajectory = AbsoluteTrajectoryError()
    for index, clip in enumerate(CLIPS):
        alone.update(*clip)
        if index % 2 == rank:
            joint.update(*clip)
            trajectory.update(*clip)
    one, other = ([float(v) for v in metric.compute().values()] for metric in (joint, alone))
    assert one == pytest.approx(other)
    errors = [absolute_trajectory_error(*clip).translation.rmse for clip in CLIPS]
    assert float(trajectory.compute()["ATE_similarity"]) == pytest.approx(sum(errors) / 3)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_are_joined(tmp_path: Path) -> None:
    spawn(half_of_the_clips, (str(tmp_path),), nprocs=2)

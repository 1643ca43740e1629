"""The numbers of the point cloud benchmark, on a wall whose answer is known."""

import jog3r  # noqa: F401  before torch, see jog3r/torchvision_cpu.py

# isort: split
import pytest
import torch

from benchmarks.point_cloud import EVERYTHING, STEPS, Case, Surface, case_rows, spoil, table
from jog3r import Cameras, Reconstruction, Video
from jog3r.geometry import intrinsics_from_fov


@pytest.fixture
def case() -> Case:
    frames = Video(torch.zeros(3, 48, 48, 3, dtype=torch.uint8), 8.0)
    K = intrinsics_from_fov(60.0, (48, 48)).repeat(3, 1, 1)
    cameras = Cameras(torch.eye(4).repeat(3, 1, 1), K, (48, 48))
    depth = torch.full((3, 48, 48), 2.0)
    exact = Reconstruction(frames, cameras, depth, torch.ones_like(depth), "metric")
    surface = exact.select_points(EVERYTHING).points
    return Case(exact, spoil(exact, torch.Generator().manual_seed(0)), surface, 2.0)


def test_distances_are_percent_of_the_unit(case: Case) -> None:
    shifted = case.surface + torch.tensor([0.0, 0.0, -0.02])
    row = Surface(case).row(shifted, 2 * len(shifted))
    assert row["points_%"] == 50
    assert row["mean_error_%"] == pytest.approx(1.0, rel=1e-3)
    assert row["error_at_95_%"] == pytest.approx(1.0, rel=1e-3)
    assert (row["stray_%"], row["covered_%"]) == (0, 100)
    assert Surface(case).row(shifted[:10], 100)["covered_%"] < 20


def test_exact_depth_is_exact_and_each_step_helps(case: Case) -> None:
    rows = {row["selection"]: row for row in table([case_rows(case)])}
    assert rows["exact depth"]["mean_error_%"] == 0
    assert rows["exact depth"]["covered_%"] == 100
    errors = [rows[name]["mean_error_%"] for name in STEPS]
    assert errors[-1] < errors[1] < errors[0]


def test_what_is_spoilt_stays_so_with_the_same_seed(case: Case) -> None:
    again = spoil(case.exact, torch.Generator().manual_seed(0))
    assert again == case.spoilt != spoil(case.exact, torch.Generator().manual_seed(1))
    assert (case.spoilt.confidence == 1).float().mean() == pytest.approx(0.021, abs=0.01)

"""Long videos: what selecting points needs beyond the maps themselves."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import resource, torch
from jog3r.geometry import intrinsics_from_fov
from jog3r.results import Cameras, PointSelection, Reconstruction, Video

def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

import open3d
T, H, W = 512, 224, 224
world_from_camera = torch.eye(4).repeat(T, 1, 1)
world_from_camera[:, 0, 3] = torch.arange(T) * 0.01
K = intrinsics_from_fov(60.0, (H, W)).repeat(T, 1, 1)
depth, confidence = torch.empty(T, H, W), torch.empty(T, H, W)
generator = torch.Generator().manual_seed(0)
for t in range(T):
    depth[t] = 2 + torch.linspace(0, 1, W) + 0.01 * torch.rand(H, W, generator=generator)
    confidence[t] = 1 + torch.rand(H, W, generator=generator)
video = Video(torch.full((T, H, W, 3), 100, dtype=torch.uint8), 8.0)
before = peak_mib()
scene = Reconstruction(video, Cameras(world_from_camera, K, (H, W)), depth, confidence, "metric")
assert peak_mib() - before < 50, "the checks copied the maps"
assert len(scene.points) > 0.79 * T * H * W
selection = PointSelection(
    max_depth_ratio=3.0,
    max_slant_deg=85.0,
    voxel_ratio=1 / 256,
    outlier_neighbours=20,
    normal_neighbours=30,
    max_points=50_000,
)
assert len(scene.select_points(selection)) == 50_000
print(peak_mib() - before)
"""


@pytest.mark.slow
def test_512_frames_need_less_than_a_gibibyte(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 1024

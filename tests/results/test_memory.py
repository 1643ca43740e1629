"""Long videos: what selecting points and saving need beyond the maps themselves."""

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
assert len(scene.points) == 4_000_000
assert len(scene.select_points(PointSelection(max_points=None))) > 0.79 * T * H * W
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


SAVING = """
import sys, threading, time
from pathlib import Path
import numpy as np, torch
import jog3r.export.glb, jog3r.export.mp4, jog3r.export.overview
from jog3r.geometry import intrinsics_from_fov
from jog3r.results import Cameras, Reconstruction, Video, selection

T, H, W = int(sys.argv[1]), 112, 112
object.__setattr__(selection.DEFAULT_SELECTION, "max_points", 100_000)  # both lengths exceed it

def anonymous_mib():
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in x)
    return int(line.split()[1]) / 1024

def in_file(name, shape, kind):
    return np.lib.format.open_memmap(f"{T}-{name}.npy", "w+", kind, shape)

frames = in_file("frames", (T, H, W, 3), "u1")
depth, confidence = (in_file(name, (T, H, W), "f4") for name in ("depth", "confidence"))
generator = np.random.default_rng(0)
for t in range(T):
    frames[t] = np.arange(W)[:, None]
    depth[t], confidence[t] = 2 + generator.random((2, H, W))
world_from_camera = torch.eye(4).repeat(T, 1, 1)
world_from_camera[:, 0, 3] = torch.arange(T) * 0.01
K = intrinsics_from_fov(60.0, (H, W)).repeat(T, 1, 1)
frames, depth, confidence = map(torch.from_numpy, (frames, depth, confidence))
cameras = Cameras(world_from_camera, K, (H, W))
scene = Reconstruction(Video(frames, 8.0), cameras, depth, confidence, "metric")
before, peaks, done = anonymous_mib(), [0.0], threading.Event()

def watch():
    while not done.is_set():
        peaks.append(anonymous_mib())
        time.sleep(0.002)

watcher = threading.Thread(target=watch)
watcher.start()
scene.save(f"{T}")
done.set()
watcher.join()
print(max(peaks) - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_saving_four_times_the_frames_needs_no_four_times_the_memory(tmp_path: Path) -> None:
    needed = []
    for frames in (64, 256):
        (tmp_path / str(frames)).mkdir()
        run = subprocess.run(
            [sys.executable, "-c", SAVING, str(frames)],
            capture_output=True,
            text=True,
            cwd=tmp_path / str(frames),
            check=False,
        )
        assert run.returncode == 0, run.stderr
        needed.append(float(run.stdout))
    added_pixels = 192 * 112 * 112
    assert (needed[1] - needed[0]) * 2**20 < 8 * added_pixels  # of the 11 that the maps have

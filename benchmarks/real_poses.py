"""Claim: refine="bundle" finds the cameras of real clips, on a laptop, from the tiny model's start.

Ten clips of real photographs with known cameras. Four ways: the learned route, the same followed by
bundle adjustment, structure from motion without any network, and two baselines; with K known and
unknown. A clip reaches the target with a median rotation error of at most 0.5 degrees and RTA@5 of
at least 90 %.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.record import REPOSITORY, Record, load_model, parser, progress
from jog3r.data.media import read_video
from jog3r.errors import InputError
from jog3r.export.cameras_json import read_cameras_json
from jog3r.metrics.relative_pose import (
    RelativePoseErrors,
    no_motion,
    relative_pose_errors,
    straight_forward,
)
from jog3r.results import Reconstruction, Video
from jog3r.sfm import refine_bundle, structure_from_motion

BASELINES = {"no motion": no_motion, "straight forward": straight_forward}
ROTATION_DEG, RTA = 0.5, 0.9
TRUTH = (
    "RealEstate10K's own cameras (re10k), COLMAP at full size (fox, tum), laser scan (herz, entry),"
    " the device's tracking (hololens)"
)


@dataclass(frozen=True)
class Clip:
    """Frames with their true cameras."""

    name: str
    video: Video
    K: Tensor
    world_from_camera: Tensor


def data_folder() -> Path:
    """Return the folder of reference data: $JOG3R_SHARED, or `shared` beside the repository."""
    return Path(os.environ.get("JOG3R_SHARED", REPOSITORY.parent / "shared")) / "data"


def read_clip(folder: Path, step: int) -> Clip:
    """Read every `step`-th frame of a folder with `cameras.json`."""
    content = read_cameras_json(folder / "cameras.json")
    files = [file for file in content.files if file is not None][::step]
    frames = torch.cat([read_video(folder / file).frames for file in files])
    cameras = content.cameras
    name = folder.name + (f"[::{step}]" if step > 1 else "")
    return Clip(name, Video(frames, 8.0), cameras.K[::step], cameras.world_from_camera[::step])


def read_clips(folder: Path) -> list[Clip]:
    """Read what is there; what is missing is said."""
    wanted = [(clip, 1) for clip in sorted((folder / "re10k_clips").glob("*/"))]
    names = ("herz_jesu_p8", "entry_p10", "tum_fr3_office", "hololens_rgbd")
    wanted += [(folder / name, 1) for name in names] + [(folder / "fox", 2)]
    for path, _ in wanted:
        if not (path / "cameras.json").is_file():
            progress(f"skipped: no {path / 'cameras.json'}; set JOG3R_SHARED")
    return [read_clip(path, step) for path, step in wanted if (path / "cameras.json").is_file()]


def attempts(model: Any, clip: Clip, K: Tensor | None, args: Any) -> list[dict[str, Any]]:
    """Reconstruct a clip in every way; what fails counts as no motion."""
    label = "unknown" if K is None else "known"
    common = {"seed": args.seed, "threads": args.threads}
    learned, first = timed(
        lambda: model.reconstruct(clip.video, K=K, seed=args.seed, progress=False), clip
    )
    rows = [line(clip, "learned", label, learned, first)]
    if learned is not None:
        scene, seconds = timed(
            lambda: refine_bundle(learned, K_known=K is not None, **common), clip
        )
        rows.append(line(clip, "learned + bundle", label, scene, first + seconds))
    scene, seconds = timed(lambda: structure_from_motion(clip.video, K=K, **common), clip)
    return [*rows, line(clip, "sfm", label, scene, seconds)]


def timed(run: Callable[[], Reconstruction], clip: Clip) -> tuple[Reconstruction | None, float]:
    """Return what a way finds, or None, and how long it took [s]."""
    begin = time.perf_counter()
    try:
        found = run()
    except InputError as error:
        progress(f"{clip.name}: {error}")
        found = None
    return found, time.perf_counter() - begin


def line(
    clip: Clip, method: str, K: str, scene: Reconstruction | None, seconds: float
) -> dict[str, Any]:
    """Summarise one attempt."""
    count = len(clip.video)
    cameras = no_motion(count) if scene is None else scene.cameras.world_from_camera
    errors = relative_pose_errors(cameras, clip.world_from_camera)
    found = summary(errors)
    path = path_of(method, scene)
    rotation, directions = found["rotation_median_deg"], found["RTA@5_%"]
    progress(
        f"{clip.name}, K {K}, {method}: {rotation:.2f} deg, RTA@5 {directions:.0f} %,"
        f" {path}, {seconds:.0f} s"
    )
    return {
        "clip": clip.name,
        "frames": count,
        "method": method,
        "K": K,
        **found,
        "covered_frames_%": 100 * covered(scene, count),
        "path": path,
        "seconds": seconds,
    }


def summary(errors: RelativePoseErrors) -> dict[str, Any]:
    """Return the numbers that the target is about, and the usual ones beside them."""
    rotation = float(errors.rotation_deg.median())
    return {
        "rotation_median_deg": rotation,
        "RRA@5_%": 100 * errors.rra(5),
        "RTA@5_%": 100 * errors.rta(5),
        "AUC@30_%": 100 * errors.auc(),
        "reached": rotation <= ROTATION_DEG and errors.rta(5) >= RTA,
    }


def covered(scene: Reconstruction | None, count: int) -> float:
    """Return the share of frames whose camera was found, not interpolated or left as it was."""
    if scene is None or code(scene, "not-refined"):
        return 0.0
    missing = code(scene, "not-registered")
    if missing is None:
        return 1.0
    listed = missing.removeprefix("not-registered: frames ").split(" hang")[0]
    return 1 - len(listed.split(", ")) / count


def path_of(method: str, scene: Reconstruction | None) -> str:
    """Name the way that the cameras came about."""
    if scene is None:
        return "failed"
    if method == "learned":
        return "learned"
    if method == "sfm" or code(scene, "mapped"):
        return "mapped"
    return "not refined" if code(scene, "not-refined") else "adjusted"


def code(scene: Reconstruction, name: str) -> str | None:
    """Return the flag of this code."""
    return next((flag for flag in scene.flags if flag.startswith(f"{name}:")), None)


def baselines(clip: Clip) -> list[dict[str, Any]]:
    """Return what cameras that know nothing get."""
    frames = len(clip.video)
    made = []
    for method, baseline in BASELINES.items():
        errors = summary(relative_pose_errors(baseline(frames), clip.world_from_camera))
        head = {"clip": clip.name, "frames": frames, "method": method, "K": "-"}
        made.append({**head, **errors, "covered_frames_%": 100.0, "path": "-", "seconds": 0.0})
    return made


def pooled(rows: Sequence[dict[str, Any]], clips: int) -> list[dict[str, Any]]:
    """Average over clips, for every method and K; a clip without a row counts as failed."""
    made = []
    for method, K in dict.fromkeys((row["method"], row["K"]) for row in rows):
        part = [row for row in rows if (row["method"], row["K"]) == (method, K)]
        names = ("rotation_median_deg", "RRA@5_%", "RTA@5_%", "AUC@30_%", "covered_frames_%")
        means = {f"{name} mean": sum(row[name] for row in part) / len(part) for name in names}
        rotations = torch.tensor([row["rotation_median_deg"] for row in part])
        made.append(
            {
                "method": method,
                "K": K,
                "clips": clips,
                "reached": sum(row["reached"] for row in part),
                "rotation_median_deg median": float(rotations.quantile(0.5)),
                **means,
                "adjusted": sum(row["path"] == "adjusted" for row in part),
                "mapped": sum(row["path"] == "mapped" for row in part),
                "not refined": sum(row["path"] == "not refined" for row in part),
                "failed": clips - len(part) + sum(row["path"] == "failed" for row in part),
                "minutes": sum(row["seconds"] for row in part) / 60,
            }
        )
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parser(__doc__, clips=99)
    options.add_argument("--data", type=Path, default=None, help="folder of the reference data")
    options.add_argument("--only", default="", help="clips whose name holds this")
    args = options.parse_args(argv)
    record = Record("real_poses", args)
    clips = [clip for clip in read_clips(args.data or data_folder()) if args.only in clip.name]
    clips = clips[: args.clips]
    del args.data  # a path of this machine
    if not clips:
        progress("nothing to do")
        return
    model = load_model(args)
    rows: list[dict[str, Any]] = []
    for number, clip in enumerate(clips):
        for K in (clip.K[0], None):
            rows += attempts(model, clip, K, args)
        rows += baselines(clip)
        progress(f"{number + 1} of {len(clips)} clips: {clip.name}")
    notes = {
        "clips": "all stored frames; every second one of the fox",
        "truth": TRUTH,
        "poses": "relative poses of all pairs i < j, so nothing is aligned; directions are signed;"
        " what fails counts as no motion; frames without a camera count with the interpolated one",
        "target": f"median rotation error <= {ROTATION_DEG} deg and RTA@5 >= {100 * RTA:.0f} %",
        "path": "adjusted: bundle adjustment from the learned cameras; mapped: found from scratch,"
        " with learned + bundle because those were too far off; not refined: the learned cameras"
        " stand, as no others can be trusted",
        "time": f"wall clock on {args.threads} threads, the learned route's included; of all clips"
        " where in minutes",
    }
    record.write(pooled(rows, len(clips)), notes)
    record.write(rows, notes, table="by_clip")


if __name__ == "__main__":
    main()

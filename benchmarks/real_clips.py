"""Claim: none but honesty. What the model makes of real clips, beside two baselines.

Five RealEstate10K clips and the fox of instant-ngp, with their true cameras. The RealEstate10K
frames are squeezed from 16:9 to 3:2, so fx != fy: they are tried as they are and unsqueezed, and
each with K known and unknown, and by pointmaps alone, without photometric refinement.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.poses import RULE, pose_row
from benchmarks.record import REPOSITORY, Record, load_model, parser, progress
from jog3r.data.media import read_video
from jog3r.errors import InputError
from jog3r.export.cameras_json import read_cameras_json
from jog3r.geometry import resize_intrinsics
from jog3r.metrics.relative_pose import (
    RelativePoseErrors,
    no_motion,
    relative_pose_errors,
    straight_forward,
)
from jog3r.results import Video

FRAMES = 16
BASELINES = {"no motion": no_motion, "straight forward": straight_forward}


@dataclass(frozen=True)
class RealClip:
    """Frames with their true cameras; `group` says which clips are pooled."""

    name: str
    group: str
    video: Video
    K: Tensor
    world_from_camera: Tensor


def data_folder() -> Path:
    """Return the folder of reference data: $JOG3R_SHARED, or `shared` beside the repository."""
    return Path(os.environ.get("JOG3R_SHARED", REPOSITORY.parent / "shared")) / "data"


def read_clip(folder: Path, group: str, first: int, stride: int) -> RealClip:
    """Read FRAMES frames of a folder with `cameras.json`."""
    content = read_cameras_json(folder / "cameras.json")
    chosen = slice(first, first + stride * (FRAMES - 1) + 1, stride)
    files = [file for file in content.files[chosen] if file is not None]
    frames = torch.cat([read_video(folder / file).frames for file in files])
    cameras = content.cameras
    name = f"{folder.name}[{first}:{first + stride * (FRAMES - 1) + 1}:{stride}]"
    video = Video(frames, 8.0)
    return RealClip(name, group, video, cameras.K[chosen], cameras.world_from_camera[chosen])


def read_clips(folder: Path) -> list[RealClip]:
    """Read what is there; what is missing is said."""
    wanted = [(clip, "re10k", 0, 1) for clip in sorted((folder / "re10k_clips").glob("*/"))]
    wanted += [(folder / "fox", "fox, neighbours", 0, 1), (folder / "fox", "fox, stride 3", 0, 3)]
    if not (folder / "re10k_clips").is_dir():
        progress(f"skipped: no {folder / 're10k_clips'}; set JOG3R_SHARED")
    clips = []
    for path, group, first, stride in wanted:
        if (path / "cameras.json").is_file():
            clips.append(read_clip(path, group, first, stride))
        elif path.is_dir() or group != "re10k":
            progress(f"skipped: no {path / 'cameras.json'}; set JOG3R_SHARED")
    return clips


def unsqueezed(clip: RealClip) -> RealClip:
    """Stretch the frames until fx = fy, as the camera saw them."""
    focal_x, focal_y = float(clip.K[0, 0, 0]), float(clip.K[0, 1, 1])
    height, width = clip.video.height, clip.video.width
    size = (height, round(width * focal_y / focal_x))
    frames = F.interpolate(clip.video.tensor(), size, mode="bilinear", antialias=True)
    video = Video.from_tensor(frames.clamp(-1, 1), clip.video.fps)
    K = resize_intrinsics(clip.K, (height, width), size)
    return RealClip(clip.name, clip.group, video, K, clip.world_from_camera)


def attempts(model: Any, clip: RealClip, seed: int) -> list[dict[str, Any]]:
    """Reconstruct a clip in every form; one that cannot be aligned counts as no motion."""
    forms = {"as stored": clip}
    if clip.group == "re10k":
        forms["unsqueezed"] = unsqueezed(clip)
    found = []
    for form, seen in forms.items():
        for label, K, refine in (
            ("K known", seen.K, "photometric"),
            ("K unknown", None, "photometric"),
            ("K unknown, pointmaps alone", None, None),
        ):
            begin, aligned = time.perf_counter(), True
            try:
                scene = model.reconstruct(seen.video, K=K, seed=seed, refine=refine, progress=False)
                cameras = scene.cameras.world_from_camera
            except InputError as error:
                progress(f"{clip.name}: {error}")
                cameras, aligned = no_motion(FRAMES), False
            seconds = time.perf_counter() - begin
            errors = relative_pose_errors(cameras, clip.world_from_camera)
            method = f"jog3r, {form}, {label}"
            found.append(line(clip, method, errors) | {"aligned": aligned, "seconds": seconds})
    for name, baseline in BASELINES.items():
        errors = relative_pose_errors(baseline(FRAMES), clip.world_from_camera)
        found.append(line(clip, name, errors) | {"aligned": True, "seconds": torch.nan})
    return found


def line(clip: RealClip, method: str, errors: RelativePoseErrors) -> dict[str, Any]:
    """Keep what a table needs."""
    return {"group": clip.group, "clip": clip.name, "method": method, "errors": errors}


def rows(lines: Sequence[dict[str, Any]], *, by: str) -> list[dict[str, Any]]:
    """Pool the lines of equal group (or clip) and method."""
    keys = dict.fromkeys((entry[by], entry["method"]) for entry in lines)
    made = []
    for place, method in keys:
        part = [e for e in lines if (e[by], e["method"]) == (place, method)]
        seconds = sum(e["seconds"] for e in part) / len(part)
        aligned = 100.0 * sum(e["aligned"] for e in part) / len(part)
        head = {by: place, "method": method, "clips": len(part), "aligned_%": aligned}
        poses = pose_row([e["errors"] for e in part])
        made.append(head | poses | {"seconds_per_clip": seconds})
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parser(__doc__, clips=99)
    options.add_argument("--data", type=Path, default=None, help="folder of the reference data")
    args = options.parse_args(argv)
    record = Record("real_clips", args)
    clips = read_clips(args.data or data_folder())[: args.clips]
    del args.data  # a path of this machine
    if not clips:
        progress("nothing to do")
        return
    model = load_model(args)
    lines: list[dict[str, Any]] = []
    for number, clip in enumerate(clips):
        lines += attempts(model, clip, args.seed + number)
        progress(f"{number + 1} of {len(clips)} clips")
    size = "x".join(map(str, model.config.image_size))
    notes = {
        "clips": f"{FRAMES} frames as the name's [first:end:stride] says; the centre square,"
        f" resized to {size}",
        "truth": "RealEstate10K's own cameras; COLMAP for the fox",
        "poses": f"{RULE}; a clip that cannot be aligned counts as no motion",
    }
    record.write(rows(lines, by="group"), notes)
    record.write(rows(lines, by="clip"), notes, table="by_clip")


if __name__ == "__main__":
    main()

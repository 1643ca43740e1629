"""Claim: T2V+C gives the cameras that its own cascade (T2V, then V2C) gives, in less time.

Both look at the same video. Also: does the camera move as the prompt says, and does frame 0, moved
by the predicted depth and cameras, look like the later frames? The world's own clips, with true
depth and cameras, show what a perfect model would score.
"""

import math
import time
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks import held_out
from benchmarks.poses import RULE, mean_and_error, pose_row
from benchmarks.prompted_moves import MOVE_RULE, move_rows
from benchmarks.record import Record, load_model, parser, progress
from benchmarks.shots import GUIDANCE, SETTINGS, STEPS, Shot, make_shots
from benchmarks.warping import warp_errors
from jog3r.data.world import WorldClip
from jog3r.errors import InputError
from jog3r.metrics.depth import depth_errors
from jog3r.metrics.relative_pose import no_motion, relative_pose_errors, straight_forward
from jog3r.results import Cameras, Reconstruction, Video

WARP_RULE = (
    "mean absolute difference of colours [0..255], frame 0 against frames 1..15, mean over clips;"
    " over pixels that frame 0 sees too by the depth and cameras tested; unmoved: without a warp,"
    " same pixels; a still clip scores perfectly, so read it beside the motion"
)
Scenes = Sequence[Reconstruction | None]


def reconstruct_all(model: Any, videos: Sequence[Video]) -> list[Reconstruction | None]:
    """Run V2C; None where the pointmaps cannot be aligned."""
    scenes: list[Reconstruction | None] = []
    for number, video in enumerate(videos):
        try:
            scenes.append(model.reconstruct(video, progress=False, seed=number))
        except InputError as error:
            progress(f"clip {number}: {error}")
            scenes.append(None)
    return scenes


def agreement(name: str, ours: Scenes, theirs: Scenes) -> dict[str, Any]:
    """Compare the cameras and depth of two sets of scenes, the second as the truth."""
    both = [(a, b) for a, b in zip(ours, theirs, strict=True) if a and b]
    cameras = [(a.cameras.world_from_camera, b.cameras.world_from_camera) for a, b in both]
    depths = [depth_errors(a.depth, b.depth).abs_rel for a, b in both]
    return agreement_row(name, cameras, len(ours)) | {"depth_AbsRel": mean_and_error(depths)[0]}


def agreement_row(name: str, cameras: Sequence[tuple[Tensor, Tensor]], asked: int) -> dict:
    """Summarise pairs of camera paths.

    Raises:
        InputError: No pair: nothing could be aligned.
    """
    if not cameras:
        raise InputError(f"{name}: expected clips that both ways could align, got none of {asked}")
    errors = [relative_pose_errors(ours, theirs) for ours, theirs in cameras]
    turned = [float(clip.rotation_deg.mean()) for clip in errors]
    moved = [float(clip.direction_deg[clip.has_direction].mean()) for clip in errors]
    return {
        "pair": name,
        "clips": asked,
        "aligned_%": 100 * len(cameras) / asked,
        "rotation_mean_deg": mean_and_error(turned)[0],
        "direction_mean_deg": mean_and_error(moved)[0],
        "direction_mean_se": mean_and_error(moved)[1],
        **pose_row(errors),
    }


def agreement_rows(ours: Scenes, cascade: Scenes) -> list[dict[str, Any]]:
    """Compare T2V+C with its cascade, beside paths that know nothing of the clip."""
    rows = [
        agreement("T2V+C, its cascade", ours, cascade),
        agreement("T2V+C, another clip's cascade", ours, [*cascade[1:], *cascade[:1]]),
    ]
    for name, baseline in (("no motion", no_motion), ("straight forward", straight_forward)):
        true = [path for path in paths_of(cascade) if path is not None]
        row = agreement_row(f"{name}, cascade", [(baseline(len(p)), p) for p in true], len(cascade))
        rows.append(row | {"depth_AbsRel": math.nan})
    return rows


def paths_of(scenes: Scenes) -> list[Tensor | None]:
    """Return the camera paths."""
    return [scene and scene.cameras.world_from_camera for scene in scenes]


def all_move_rows(shots: Sequence[Shot], cascade: Scenes) -> list[dict[str, Any]]:
    """Compare every way to get a path with what the prompts say."""
    moves = [shot.prompt.named.move for shot in shots]
    true = [torch.from_numpy(shot.prompt.clip.world_from_camera) for shot in shots]
    paths: dict[str, Sequence[Tensor | None]] = {
        "T2V+C": paths_of([shot.scene for shot in shots]),
        "cascade": paths_of(cascade),
        "straight forward": [straight_forward(len(path)) for path in true],
        "world, true cameras": true,
    }
    return [row for name, found in paths.items() for row in move_rows(name, found, moves)]


def photometric_row(name: str, scenes: Scenes) -> dict[str, Any]:
    """Average the colour errors of scenes, frame 0 against all later frames."""
    found = [
        warp_errors(s.video.tensor(), s.depth, s.cameras.K, s.cameras.world_from_camera)
        for s in scenes
        if s
    ]
    warped, se = mean_and_error([errors.warped for errors in found])
    unmoved = mean_and_error([errors.unmoved for errors in found])[0]
    return {
        "scene": name,
        "clips": len(found),
        "colour_error_warped": warped,
        "se": se,
        "colour_error_unmoved": unmoved,
        "ratio": warped / unmoved,
        "pixels_%": 100 * mean_and_error([errors.coverage for errors in found])[0],
        "motion_median_px": mean_and_error([errors.motion_px for errors in found])[0],
    }


def true_scene(clip: WorldClip) -> Reconstruction:
    """Return a world clip as a perfect reconstruction of itself."""
    size = (clip.depth.shape[1], clip.depth.shape[2])
    path, K, depth = map(torch.from_numpy, (clip.world_from_camera, clip.K, clip.depth))
    video = Video(torch.from_numpy(clip.frames), 8.0)
    return Reconstruction(video, Cameras(path, K, size), depth, torch.ones_like(depth), "metric")


def time_rows(model: Any, shots: Sequence[Shot], count: int) -> list[dict[str, Any]]:
    """Time both ways on single clips, and see that their videos are the same."""
    options: dict[str, Any] = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE}
    seconds: dict[str, list[float]] = {"T2V+C": [], "T2V": [], "V2C": [], "cascade": []}
    same = []
    for shot in [shot for shot in shots if shot.scene][: count + 1]:  # the first one warms up
        asked = options | {"seed": shot.prompt.seed, "progress": False}
        marks = [time.perf_counter()]
        both = model.generate(shot.prompt.caption, cameras=True, **asked)
        marks.append(time.perf_counter())
        alone = model.generate(shot.prompt.caption, **asked)
        marks.append(time.perf_counter())
        model.reconstruct(alone.video, progress=False)
        marks.append(time.perf_counter())
        parts = [b - a for a, b in pairwise(marks)]
        for name, part in zip(seconds, [*parts, parts[1] + parts[2]], strict=True):
            seconds[name].append(part)
        same.append(both.video == alone.video)
    return [
        {"way": way, "clips": len(s) - 1, "median_s": median(s[1:]), "same_video": all(same)}
        for way, s in seconds.items()
        if len(s) > 1
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parser(__doc__, clips=64)
    options.add_argument("--timed", type=int, default=3, help="clips whose time is taken")
    args = options.parse_args(argv)
    model, world = load_model(args), held_out.world()
    record = Record("t2vc_world", args)
    prompts = held_out.prompts(world, args.clips, seed=args.seed, threads=args.threads)
    shots = list(make_shots(model, args.model, prompts))
    ours: Scenes = [shot.scene for shot in shots]
    truth = [true_scene(shot.prompt.clip) for shot in shots]
    cascade = reconstruct_all(model, [s.video for s in shots])
    notes = {"prompts": held_out.PROMPTS, "sampling": SETTINGS}
    notes |= {"cascade": "V2C on the very video that T2V+C made"}
    record.write(agreement_rows(ours, cascade), notes | {"poses": RULE}, table="agreement")
    record.write(all_move_rows(shots, cascade), notes | {"moves": MOVE_RULE}, table="moves")
    scenes: dict[str, Scenes] = {"T2V+C": ours, "cascade": cascade, "world, true": truth}
    scenes["world, V2C"] = reconstruct_all(model, [scene.video for scene in truth])
    rows = [photometric_row(*item) for item in scenes.items()]
    record.write(rows, notes | {"colours": WARP_RULE}, table="colours")
    notes["time"] = "wall, one clip at a time, after one warm-up"
    record.write(time_rows(model, shots, args.timed), notes, table="time")


if __name__ == "__main__":
    main()

"""`jog3r evaluate-cameras`: estimated cameras against true ones, beside trivial baselines."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jog3r.cli.convert_cameras import FORMATS
from jog3r.cli.parser import positive_int
from jog3r.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from jog3r.paths import Trajectory

MAX_PAIR_FRAMES = 200
"""Relative poses are compared over all pairs of at most this many frames, evenly spaced."""

DESCRIPTION = """\
Compare estimated cameras with true ones: relative rotations and directions (RRA, RTA, AUC), camera
positions after an alignment (ATE), motion from frame to frame (RPE), and the sums of CameraCtrl
(RotErr, TransErr). Beside each value stands what a camera that never moves and one that goes
straight ahead would get. ESTIMATE and TRUTH are camera files of any format, or folders that
`jog3r reconstruct` has saved.

Frames are paired by the names of their images where both have them, else by time stamps (TUM, at
most 0.01 s apart), else one by one; --truth-frames says of which true frames the estimate is.
"""
EPILOG = """\
examples:
  jog3r evaluate-cameras outputs/clip/cameras.json truth.json
  jog3r evaluate-cameras slam.txt groundtruth.txt --from tum --delta-frames 10
  jog3r evaluate-cameras outputs/photos truth.json --truth-frames 0:12

docs/metrics.md says what every number means. Printed with a dash: not defined for this clip.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "evaluate-cameras",
        usage="jog3r evaluate-cameras ESTIMATE TRUTH [options]",
        help="estimated cameras against true ones",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("estimate", type=Path, metavar="ESTIMATE", help="a file or folder")
    parser.add_argument("truth", type=Path, metavar="TRUTH", help="a file or folder")
    parser.add_argument(
        "--from",
        dest="source_format",
        choices=FORMATS,
        metavar="FORMAT",
        help="of both, as in `jog3r convert-cameras --help` (default: each by its content)",
    )
    parser.add_argument(
        "--delta-frames",
        type=positive_int,
        default=1,
        metavar="N",
        help="distance of the frames that RPE compares (default: 1)",
    )
    parser.add_argument(
        "--truth-frames",
        type=some_frames,
        metavar="FROM:TO:STEP",
        help="compare with these frames of TRUTH, one by one, counted from 0 as Python does: what"
        " `jog3r reconstruct` kept with --max-frames or --stride as in 0:12 or ::3 (default: all)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Pair the frames, and print the table."""
    from jog3r.metrics import no_motion, straight_forward

    read = [_read(path, args.source_format) for path in (args.estimate, args.truth)]
    estimate, truth, told = pair_frames(*read, frames=args.truth_frames)
    tried = {
        "estimate": estimate,
        "no motion": no_motion(len(truth)),
        "straight": straight_forward(len(truth)),
    }
    columns = {name: _values(cameras, truth, args.delta_frames) for name, cameras in tried.items()}
    covered = {name: coverage for name, (_, coverage) in columns["estimate"].items()}
    compared = len(truth[:: _pair_step(len(truth))])
    print(f"{told}\nRRA, RTA, AUC: all pairs of {compared} frames, of which missing ones are wrong")
    print(f"{'':<34}" + "".join(f"{name:>12}" for name in (*columns, "coverage")))
    for metric, coverage in covered.items():
        values = [columns[name][metric][0] for name in columns]
        print(f"{metric:<34}" + "".join(map(_cell, [*values, coverage])))


def _read(path: Path, format: Any) -> "Trajectory":
    from jog3r.paths import Trajectory, read_trajectory
    from jog3r.results import Reconstruction

    if format is None and (path / "meta.json").is_file():
        cameras = Reconstruction.load(path).cameras
        return Trajectory(cameras.world_from_camera, cameras.K)
    return read_trajectory(path, format)


def some_frames(word: str) -> slice:
    """Read FROM:TO or FROM:TO:STEP, each may be empty.

    Raises:
        ArgumentTypeError: anything else.

    Example:
        >>> some_frames("0:12"), some_frames("::3")
        (slice(0, 12, None), slice(None, None, 3))
    """
    match = re.fullmatch(r"(\d{0,9}):(\d{0,9})(?::([1-9]\d{0,8})?)?", word)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected FROM:TO:STEP as in 0:12 or ::3, got {word!r}")
    start, stop, step = (int(number) if number else None for number in match.groups())
    return slice(start, stop, step)


def pair_frames(
    estimate: "Trajectory", truth: "Trajectory", frames: slice | None = None
) -> tuple["Tensor", "Tensor", str]:
    """Return estimated and true cameras of the same frames, NaN where an estimate is missing.

    Args:
        estimate: what was found.
        truth: what it should be.
        frames: of the truth, which the estimate has one by one; None to find out.

    Returns:
        Both as (t, 4, 4), and a sentence that says how frames were paired.

    Raises:
        InputError: no frame in common, or different numbers of frames and nothing to pair them by.
    """
    import torch

    from jog3r.metrics import associate

    found, true = estimate.world_from_camera, truth.world_from_camera
    true = true if frames is None else true[frames]
    counts = f"{len(found)} estimated and {len(true)} true frames"
    if frames is not None and len(found) != len(true):
        raise InputError(
            "--truth-frames: expected as many frames of TRUTH as ESTIMATE has, got"
            f" {counts}; choose others"
        )
    if frames is not None:
        return found, true, f"{counts}; paired one by one"
    if estimate.files is not None and truth.files is not None:
        indices = by_name(estimate.files, truth.files)
        cameras = torch.cat([found, torch.full((1, 4, 4), torch.nan)])[indices]
        paired = sum(index >= 0 for index in indices)
        if not paired:
            raise InputError(
                "ESTIMATE: expected images that TRUTH has too, got none of the same name, such as"
                f" {estimate.files[0]!r} and {truth.files[0]!r}; --truth-frames FROM:TO:STEP says"
                " which true frames they are"
            )
        return cameras, true, f"{counts}; {paired} paired by the names of their images"
    if estimate.times_s is not None and truth.times_s is not None:
        i, j = associate(estimate.times_s, truth.times_s)
        return found[i], true[j], f"{counts}; {len(i)} paired by time stamps"
    if len(found) != len(true):
        raise InputError(
            f"ESTIMATE: expected as many frames as TRUTH, got {counts}; say which true frames they"
            " are by --truth-frames FROM:TO:STEP, or use formats with image names or time stamps"
        )
    return found, true, f"{counts}; paired one by one"


def by_name(estimate: tuple[str, ...], truth: tuple[str, ...]) -> list[int]:
    """Return where each true image is in the estimate, -1 where it is not.

    Formats keep images in folders of their own, so names are compared without them where that
    leaves all of them different.
    """
    bare = [[Path(file).name for file in files] for files in (estimate, truth)]
    if all(len(set(names)) == len(names) for names in bare):
        found, true = bare
    else:
        found, true = list(estimate), list(truth)
    place = {file: index for index, file in enumerate(found)}
    return [place.get(file, -1) for file in true]


def _values(
    estimate: "Tensor", truth: "Tensor", delta_frames: int
) -> dict[str, tuple[float | None, float | None]]:
    """Return every metric with its coverage; None where it is not defined."""
    from jog3r.metrics import (
        absolute_trajectory_error,
        camera_control_errors,
        relative_pose_errors,
        relative_trajectory_error,
    )

    values: dict[str, tuple[float | None, float | None]] = {}

    def add(compute: Callable[[], Any], readings: dict[str, Callable[[Any], float]]) -> None:
        errors = _defined(compute)
        for name, reading in readings.items():
            defined = errors is not None
            values[name] = (reading(errors), errors.coverage) if defined else (None, None)

    step = _pair_step(len(truth))
    add(lambda: relative_pose_errors(estimate[::step], truth[::step]), _pair_readings())
    for alignment in ("none", "rigid", "similarity"):
        add(
            lambda alignment=alignment: absolute_trajectory_error(
                estimate, truth, alignment=alignment
            ),
            _summary_readings("ATE", alignment),
        )
    for alignment in ("none", "similarity"):
        add(
            lambda alignment=alignment: relative_trajectory_error(
                estimate, truth, alignment=alignment, delta_frames=delta_frames
            ),
            _summary_readings(f"RPE delta {delta_frames}", alignment),
        )
    sums = {
        "RotErr, sum [rad]": lambda errors: errors.rot_err,
        "TransErr, first-step, sum of squares": lambda errors: errors.trans_err,
    }
    add(lambda: camera_control_errors(estimate, truth, scale_rule="first-step"), sums)
    return values


def _pair_step(frames: int) -> int:
    return 1 + (frames - 1) // MAX_PAIR_FRAMES


def _pair_readings() -> dict[str, Callable[[Any], float]]:
    readings: dict[str, Callable[[Any], float]] = {}
    for threshold in (5, 15):
        readings[f"RRA@{threshold} [%]"] = lambda errors, t=threshold: 100 * errors.rra(t)
    for sign_blind, mark in ((False, ""), (True, "+-")):
        for threshold in (5, 15):
            readings[f"RTA@{threshold}{mark} [%]"] = lambda errors, t=threshold, s=sign_blind: (
                100 * errors.rta(t, sign_blind=s)
            )
        readings[f"AUC@30{mark} [%]"] = lambda errors, s=sign_blind: 100 * errors.auc(sign_blind=s)
    return readings


def _summary_readings(metric: str, alignment: str) -> dict[str, Callable[[Any], float]]:
    readings: dict[str, Callable[[Any], float]] = {
        f"{metric}, {alignment}, {name}": lambda errors, name=name: getattr(
            errors.translation, name
        )
        for name in ("rmse", "median")
    }
    readings[f"{metric}, {alignment}, rmse [deg]"] = lambda errors: errors.rotation_deg.rmse
    return readings


def _defined(compute: Callable[[], Any]) -> Any:
    try:
        return compute()
    except InputError:
        return None


def _cell(value: float | None) -> str:
    return f"{'-':>12}" if value is None or value != value else f"{value:>12.5g}"

"""Claim: alignment is more accurate than the original on the stored pair graphs.

The original's figures are stored beside its inputs: 300 steps of Adam from its own start. Its
pixels lie at whole numbers around (width / 2, height / 2); here half a pixel further right and
down. Known K says so; where the focal length is sought, the first row and column are cut off, which
puts the principal point into the middle.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.record import REPOSITORY, Record, parser
from jog3r.alignment import Alignment, PairPointmaps, solve
from jog3r.geometry import crop_intrinsics, intrinsics_from_focal
from jog3r.metrics.absolute_trajectory import absolute_trajectory_error
from jog3r.metrics.relative_pose import no_motion, relative_pose_errors, straight_forward

PARITY = REPOSITORY.parent / "shared" / "parity"
FIXTURES = ("dust3r_align_clean", "dust3r_align_noisy")


def load(folder: Path) -> tuple[PairPointmaps, dict[str, Tensor]]:
    """Return the stored pairs and everything stored beside them."""
    stored = load_file(folder / "io.safetensors")
    return PairPointmaps(
        stored["edges"],
        stored["pred1.pts3d"],
        stored["pred2.pts3d_in_view1"],
        stored["pred1.conf"].float(),
        stored["pred2.conf"].float(),
    ), stored


def without_first_row_and_column(pairs: PairPointmaps) -> PairPointmaps:
    """Move the principal point into the middle."""
    return PairPointmaps(
        pairs.pairs,
        pairs.points_i[:, 1:, 1:],
        pairs.points_j[:, 1:, 1:],
        pairs.confidence_i[:, 1:, 1:],
        pairs.confidence_j[:, 1:, 1:],
    )


def row(fixture: str, method: str, cameras: Tensor, truth: Tensor) -> dict[str, Any]:
    """Return one line of the table."""
    pose = relative_pose_errors(cameras, truth)
    return {
        "fixture": fixture,
        "method": method,
        "ATE_rmse": absolute_trajectory_error(cameras, truth).translation.rmse,
        "rotation_mean_deg": float(pose.rotation_deg.mean()),
        "direction_mean_deg": float(pose.direction_deg[pose.has_direction].mean()),
        "depth_AbsRel": float("nan"),
        "focal_error_%": float("nan"),
    }


def ours(fixture: str, method: str, found: Alignment, stored: dict[str, Tensor]) -> dict[str, Any]:
    """Return the line of an alignment, with depth and focal length."""
    truth, focal = stored["gt.depth"], float(stored["gt.focal"])
    truth = truth[:, -found.depth.shape[1] :, -found.depth.shape[2] :]
    depth = found.depth * (truth.median() / found.depth.median())
    return row(fixture, method, found.world_from_camera, stored["gt.c2w"]) | {
        "depth_AbsRel": float(((depth - truth).abs() / truth).mean()),
        "focal_error_%": 100 * abs(float(found.K[:, 0, 0].mean()) / focal - 1),
    }


def original(fixture: str, method: str, stored: dict[str, float]) -> dict[str, Any]:
    """Return the line of the original."""
    return {
        "fixture": fixture,
        "method": method,
        "ATE_rmse": stored["ate_rmse"],
        "rotation_mean_deg": stored["rel_rot_deg_mean"],
        "direction_mean_deg": stored["rel_trans_deg_mean"],
        "depth_AbsRel": stored["depth_absrel"],
        "focal_error_%": 100 * stored["focal_rel_err"],
    }


def rows(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of one fixture."""
    pairs, stored = load(folder)
    meta, cut = json.loads((folder / "meta.json").read_text()), without_first_row_and_column(pairs)
    K = crop_intrinsics(intrinsics_from_focal(stored["gt.focal"][0], pairs.size), -0.5, -0.5)
    methods: dict[str, Callable[[], Alignment]] = {
        "jog3r, K known": lambda: solve(pairs, intrinsics=K),
        "jog3r": lambda: solve(cut),
        "jog3r, start only": lambda: solve(cut, refine=False),
        "jog3r, star only": lambda: solve(cut, graph="star"),
    }
    name, truth = folder.name, stored["gt.c2w"]
    return [
        *(ours(name, method, call(), stored) for method, call in methods.items()),
        original(name, "original", meta["metrics_final"]),
        original(name, "original, start only", meta["metrics_after_init"]),
        row(name, "no motion", no_motion(len(truth)), truth),
        row(name, "straight forward", straight_forward(len(truth)), truth),
    ]


def pair_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of the stored single pair, clean and noisy."""
    stored = load_file(folder / "io.safetensors")
    focal = stored["gt.focal"].flatten()[0]
    found = []
    for kind in ("clean", "noisy"):
        pairs = PairPointmaps(
            stored["edges"],
            stored[f"{kind}.pred1.pts3d"],
            stored[f"{kind}.pred2.pts3d_in_view1"],
            stored[f"{kind}.pred1.conf"].float(),
            stored[f"{kind}.pred2.conf"].float(),
        )
        K = crop_intrinsics(intrinsics_from_focal(focal, pairs.size), -0.5, -0.5)
        methods = {
            "jog3r, K known": solve(pairs, intrinsics=K).world_from_camera,
            "jog3r": solve(without_first_row_and_column(pairs)).world_from_camera,
            "original": stored[f"{kind}.c2w"],
            "no motion": no_motion(2),
            "straight forward": straight_forward(2),
        }
        for method, cameras in methods.items():
            pose = relative_pose_errors(cameras, stored["gt.c2w"])
            found.append(
                {
                    "fixture": f"{folder.name}, {kind}",
                    "method": method,
                    "rotation_deg": float(pose.rotation_deg.mean()),
                    "direction_deg": float(pose.direction_deg.mean()),
                }
            )
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parser(__doc__, clips=None, model=False)
    options.add_argument("--parity", type=Path, default=PARITY, help="folder of stored numbers")
    args = options.parse_args(argv)
    torch.set_num_threads(args.threads)
    record = Record("alignment_accuracy", args)
    notes = {
        "fixtures": "8 frames of 32x48, all 56 pairs; one scene each, so no spread",
        "errors": "ATE after a similarity, in units of the scene (cameras on an arc of radius 3);"
        " rotation and direction over all pairs of frames; depth after one median scale",
        "original": "its stored figures; its start and result on the same inputs",
    }
    record.write([line for name in FIXTURES for line in rows(args.parity / name)], notes)
    notes["fixtures"] = "frames 0 and 4 of the same scene, both pairs"
    record.write(pair_rows(args.parity / "dust3r_align_pair"), notes, table="pair")


if __name__ == "__main__":
    main()

"""The star of a stored pair graph: its truth is known, and what another optimiser reached on it."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from jog3r.alignment import PairPointmaps, Regularisers, solve
from jog3r.geometry import crop_intrinsics, intrinsics_from_focal
from jog3r.metrics.relative_pose import relative_pose_errors

pytestmark = pytest.mark.parity


def star(folder: Path) -> tuple[PairPointmaps, Tensor, Tensor]:
    """Return the pairs (0, f), the true world_from_camera and K.

    The stored pixels lie at whole numbers around (width / 2, height / 2): in our pixels, half a
    pixel further right and down.
    """
    stored = load_file(folder / "io.safetensors")
    chosen = stored["edges"][:, 0] == 0
    pairs = PairPointmaps(
        pairs=stored["edges"][chosen],
        points_i=stored["pred1.pts3d"][chosen],
        points_j=stored["pred2.pts3d_in_view1"][chosen],
        confidence_i=stored["pred1.conf"][chosen].float(),
        confidence_j=stored["pred2.conf"][chosen].float(),
    )
    K = intrinsics_from_focal(stored["gt.focal"][0], pairs.size)
    return pairs, stored["gt.c2w"], crop_intrinsics(K, -0.5, -0.5)


def test_clean_pairs_give_the_stored_truth(shared: Path) -> None:
    pairs, truth, K = star(shared / "parity" / "dust3r_align_clean")
    found = solve(pairs, intrinsics=K)
    errors = relative_pose_errors(found.world_from_camera, truth)
    assert float(errors.rotation_deg.max()) < 0.01
    assert float(errors.direction_deg.max()) < 0.01


def test_a_noisy_star_is_better_than_the_start_of_the_whole_graph(shared: Path) -> None:
    # The stored optimiser had 56 pairs, of which the star has 7; its final result is out of reach
    # for those, the start of its optimisation is not.
    folder = shared / "parity" / "dust3r_align_noisy"
    pairs, truth, K = star(folder)
    stored = json.loads((folder / "meta.json").read_text())["metrics_after_init"]
    found = solve(pairs, intrinsics=K, regularisers=Regularisers.off())
    errors = relative_pose_errors(found.world_from_camera, truth)
    assert float(errors.rotation_deg.mean()) < 0.6 * stored["rel_rot_deg_mean"]
    assert float(errors.direction_deg.mean()) < stored["rel_trans_deg_mean"]
    assert errors.auc() > stored["mAA30"]

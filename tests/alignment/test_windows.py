"""Long videos, window by window, against exact truth: what is known, what drifts, what is said."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jog3r.alignment import PairPointmaps, Regularisers
from jog3r.alignment.windows import align_windows, cut
from jog3r.errors import AlignmentError, InputError
from jog3r.geometry import fit_similarity, intrinsics_from_focal, relative
from jog3r.results import Reconstruction, Video
from tests.lazy_scenes import EXACT, LazyScene, PairNoise, circle, wander

GRAPH = "window-2"
SMALL = {"graph": GRAPH, "window": 10, "overlap": 3, "regularisers": Regularisers.off()}
# The same video, each pair at its own free scale.
SCALED = PairNoise(scale=0.25, turn_deg=0, shift=0, slow=0, white=0, across=0, outliers=0)


def path_error(found: Reconstruction, truth: Tensor) -> float:
    """Return the root mean square error of the positions after a similarity."""
    centres, right = found.cameras.world_from_camera[:, :3, 3].double(), truth[:, :3, 3]
    moved = fit_similarity(centres, right).points(centres)
    return float((moved - right).square().sum(dim=1).mean().sqrt())


def turn_errors_deg(a: Tensor, b: Tensor) -> Tensor:
    turn = a[:, :3, :3].double().transpose(1, 2) @ b[:, :3, :3].double()
    cosine = (turn.diagonal(dim1=1, dim2=2).sum(dim=1) - 1) / 2
    return cosine.clamp(-1, 1).arccos().rad2deg()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_windows_cover_all_frames(data: st.DataObject) -> None:
    frames, window = data.draw(st.integers(2, 500)), data.draw(st.integers(2, 40))
    overlap = data.draw(st.integers(1, window - 1))
    spans = cut(frames, window, overlap)
    assert (spans[0].first, spans[-1].stop) == (0, frames)
    assert all(a.stop - b.first == overlap for a, b in pairwise(spans))
    lengths = [len(span) for span in spans]
    assert max(lengths) <= window
    assert max(lengths) - min(lengths) <= 1


def test_exact_pointmaps_give_the_exact_scene() -> None:
    source = LazyScene(wander(31), noise=SCALED)
    found = align_windows(source, 31, **SMALL)
    truth = source.world_from_camera
    assert path_error(found, truth) < 1e-4
    assert float(turn_errors_deg(found.cameras.world_from_camera, truth).max()) < 0.05
    torch.testing.assert_close(found.cameras.world_from_camera[0], torch.eye(4))
    torch.testing.assert_close(found.cameras.K[0], source.intrinsics.float(), rtol=1e-3, atol=0)
    assert torch.equal(found.cameras.K, found.cameras.K[:1].expand(31, 3, 3))
    ratio = torch.stack([found.depth[f] / source.depth(f) for f in range(31)])
    torch.testing.assert_close(ratio / ratio.median(), torch.ones_like(ratio), rtol=1e-3, atol=0)
    assert found.scale == "relative"
    assert all(flag.startswith("loop-closed") for flag in found.flags)


def test_noise_drifts_but_nothing_jumps() -> None:
    frames = 38
    source = LazyScene(wander(frames), noise=PairNoise())
    found = align_windows(source, frames, **SMALL)
    poses, truth = found.cameras.world_from_camera.double(), source.world_from_camera
    assert path_error(found, truth) < 0.1
    scale = float(fit_similarity(poses[:, :3, 3], truth[:, :3, 3]).scale)
    step, right = relative(poses[:-1], poses[1:]), relative(truth[:-1], truth[1:])
    shift = (scale * step[:, :3, 3] - right[:, :3, 3]).norm(dim=1)
    seams = {f for span in cut(frames, 10, 3)[1:] for f in range(span.first - 1, span.first + 4)}
    at_seam = torch.tensor([f in seams for f in range(frames - 1)])
    assert float(shift[at_seam].median()) < 1.5 * float(shift[~at_seam].median())
    level = found.depth.flatten(1).median(dim=1).values.log()
    truth_level = torch.stack([source.depth(f).median() for f in range(frames)]).log()
    jump = (level - truth_level).diff().abs()
    assert float(jump.max()) < 0.06


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_closing_a_circle_lessens_the_drift(seed: int) -> None:
    frames = 60
    source = LazyScene(circle(frames), noise=PairNoise(), seed=seed)
    closed = align_windows(source, frames, **SMALL)
    open_ = align_windows(source, frames, loop_check=False, **SMALL)
    assert path_error(closed, source.world_from_camera) < path_error(
        open_, source.world_from_camera
    )
    ends = closed.cameras.world_from_camera[[0, -1]]
    open_ends = open_.cameras.world_from_camera[[0, -1]]
    assert float((ends[1] - ends[0])[:3, 3].norm()) < float(
        (open_ends[1] - open_ends[0])[:3, 3].norm()
    )
    assert any(flag.startswith("loop-closed: 1 pairs of windows") for flag in closed.flags)
    assert "window 0 (frames 0-9)" in closed.flags[0]
    assert not any("loop" in flag for flag in open_.flags)


def test_exact_circle_stays_exact() -> None:
    source = LazyScene(circle(60), noise=SCALED)
    found = align_windows(source, 60, **SMALL)
    assert path_error(found, source.world_from_camera) < 1e-3
    assert any(flag.startswith("loop-closed") for flag in found.flags)


def test_answers_about_two_places_close_no_loop() -> None:
    source = LazyScene(circle(60), noise=PairNoise())
    elsewhere = LazyScene(wander(90)[30:], noise=PairNoise(), fov_y_deg=60)

    def pointmaps(frames: Sequence[int], pairs: Tensor) -> PairPointmaps:
        far = max(frames) - min(frames) > 20
        return (
            elsewhere([f % 7 for f in frames] if far else frames, pairs)
            if far
            else source(frames, pairs)
        )

    found = align_windows(pointmaps, 60, **SMALL)
    without = align_windows(source, 60, loop_check=False, **SMALL)
    assert found == without


def test_no_loop_is_looked_at_where_the_camera_does_not_return() -> None:
    source = LazyScene(circle(60)[:40], noise=EXACT)
    align_windows(source, 40, **SMALL)
    assert max(abs(i - j) for i, j in source.asked) <= 2


def test_known_intrinsics_are_kept() -> None:
    source = LazyScene(wander(20), noise=PairNoise())
    K = source.intrinsics.float()
    found = align_windows(source, 20, intrinsics=K, **SMALL)
    assert torch.equal(found.cameras.K, K.expand(20, 3, 3))
    per_frame = K.repeat(20, 1, 1)
    per_frame[:, 0, 0] += torch.linspace(0, 1, 20)
    each = align_windows(source, 20, intrinsics=per_frame, **SMALL)
    torch.testing.assert_close(each.cameras.K, per_frame)
    wrong = align_windows(
        source, 20, intrinsics=intrinsics_from_focal(torch.tensor(60.0), (24, 32)), **SMALL
    )
    assert path_error(found, source.world_from_camera) < path_error(wrong, source.world_from_camera)


def test_windows_share_a_focal_length_unless_told_otherwise() -> None:
    source = LazyScene(wander(20), noise=PairNoise())
    shared = align_windows(source, 20, **SMALL).cameras.K[:, 0, 0]
    each = align_windows(source, 20, shared_focal=False, **SMALL).cameras.K[:, 0, 0]
    assert float(shared.std()) == 0.0
    assert float(each.std()) > 0.0
    assert float(shared[0]) == pytest.approx(float(source.intrinsics[0, 0]), rel=0.02)


def test_known_cameras_are_kept_and_end_the_drift() -> None:
    frames = 40
    source = LazyScene(wander(frames), noise=PairNoise())
    world = torch.eye(4)
    world[:3, :3] = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    world[:3, 3] = torch.tensor([5.0, 6.0, 7.0])
    given = world @ source.world_from_camera.float()
    given[:, :3, 3] *= 2.0
    some = {f: given[f] for f in (0, 3, 18, 20, 36, 39)}
    found = align_windows(source, frames, cameras=some, loop_check=False, **SMALL)
    assert found.scale == "given-poses"
    for f, camera in some.items():
        assert torch.equal(found.cameras.world_from_camera[f], camera)
    off = (found.cameras.world_from_camera[:, :3, 3] - given[:, :3, 3]).norm(dim=1)
    assert float(off.mean()) < 0.1
    free = align_windows(source, frames, loop_check=False, **SMALL)
    assert path_error(found, source.world_from_camera) < path_error(free, source.world_from_camera)
    # Depth has the same unit as the positions.
    ratio = torch.stack([found.depth[f] / source.depth(f) for f in range(frames)]).median()
    assert float(ratio) == pytest.approx(2.0, rel=0.1)


def test_one_known_camera_turns_the_world_only() -> None:
    source = LazyScene(wander(26), noise=SCALED)
    camera = source.world_from_camera[12].float()
    camera[:3, 3] += torch.tensor([3.0, 0.0, 0.0])
    found = align_windows(source, 26, cameras={12: camera}, **SMALL)
    assert torch.equal(found.cameras.world_from_camera[12], camera)
    assert found.scale == "relative"
    assert path_error(found, source.world_from_camera) < 1e-3


def test_all_cameras_known() -> None:
    source = LazyScene(wander(26), noise=PairNoise())
    given = source.world_from_camera.float()
    found = align_windows(source, 26, cameras=given, **SMALL)
    assert torch.equal(found.cameras.world_from_camera, given)
    assert found.scale == "given-poses"


def test_masks_keep_pixels_out() -> None:
    frames, source = 26, LazyScene(wander(26), noise=EXACT)
    masks = torch.ones(frames, 24, 32, dtype=torch.bool)
    masks[:, :, :12] = False

    def spoilt(numbers: Sequence[int], pairs: Tensor) -> PairPointmaps:
        found = source(numbers, pairs)
        found.points_i[:, :, :12] *= 1.5
        found.points_j[:, :, :12] *= 0.5
        return found

    masked = align_windows(spoilt, frames, masks=masks, **SMALL)
    assert path_error(masked, source.world_from_camera) < 1e-3
    assert path_error(align_windows(spoilt, frames, **SMALL), source.world_from_camera) > 3e-3
    assert masked.mask is masks


def test_outputs_in_files_are_the_same(tmp_path: Path) -> None:
    source = LazyScene(wander(17), noise=PairNoise())
    in_memory = align_windows(source, 17, **SMALL)
    on_disk = align_windows(source, 17, folder=tmp_path / "frames", **SMALL)
    assert on_disk == in_memory
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == [
        "confidence.npy",
        "depth.npy",
    ]
    saved = on_disk.save(tmp_path / "scene")
    assert Reconstruction.load(saved) == in_memory


def test_video_travels_along() -> None:
    source = LazyScene(wander(12), noise=EXACT)
    video = Video(torch.zeros(12, 24, 32, 3, dtype=torch.uint8), fps=5.0)
    assert align_windows(source, 12, video=video, **SMALL).video is video
    grey = align_windows(source, 12, **SMALL).video
    assert (len(grey), grey.height, grey.width) == (12, 24, 32)
    assert grey.frames.untyped_storage().nbytes() == 1


def test_short_video_is_one_window() -> None:
    source = LazyScene(wander(5), noise=EXACT)
    found = align_windows(source, 5, **SMALL)
    assert len(source.asked) == len(set(source.asked))
    assert path_error(found, source.world_from_camera) < 1e-3


def test_windows_with_no_parallax_are_named() -> None:
    truth = wander(40)
    truth[15:, :3, 3] = truth[15, :3, 3]
    source = LazyScene(truth, noise=SCALED)
    found = align_windows(source, 40, **SMALL)
    turning = [flag for flag in found.flags if flag.startswith("no-parallax")]
    assert len(turning) == 1
    assert turning[0].endswith("(frames 19-27, frames 25-33, frames 31-39)")
    assert path_error(found, truth) < 1e-3  # the depths still carry the scale


def test_windows_without_anything_in_common_are_named() -> None:
    source = LazyScene(wander(26), noise=EXACT)

    def blind(numbers: Sequence[int], pairs: Tensor) -> PairPointmaps:
        found = source(numbers, pairs)
        own = torch.tensor(numbers)[pairs]
        late = (own >= 6) & (own <= 8) if numbers[0] else own < 0
        found.confidence_i[late[:, 0], :, 3:] = 1.0
        found.confidence_j[late[:, 1], :, 3:] = 1.0
        early = (own >= 6) & (own <= 8) if not numbers[0] else own < 0
        found.confidence_i[early[:, 0], :, :29] = 1.0
        found.confidence_j[early[:, 1], :, :29] = 1.0
        return found

    named = r"window 0 \(frames 0-8\) and window 1 \(frames 6-14\): expected at least 16 pixels"
    with pytest.raises(AlignmentError, match=named):
        align_windows(blind, 26, **SMALL)


def test_window_that_no_camera_explains_is_named(tmp_path: Path) -> None:
    source = LazyScene(wander(26), noise=EXACT)

    def behind(numbers: Sequence[int], pairs: Tensor) -> PairPointmaps:
        found = source(numbers, pairs)
        if numbers[0] > 10:
            found.points_i[..., 2] *= -1
            found.points_j[..., 2] *= -1
        return found

    with pytest.raises(InputError, match=r"^window 2 \(frames"):
        align_windows(behind, 26, folder=tmp_path, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_arguments_that_do_not_fit() -> None:
    source = LazyScene(wander(26), noise=EXACT)
    ones = torch.ones(25, 24, 32, dtype=torch.bool)
    K = source.intrinsics.float()
    with pytest.raises(InputError, match="frames: expected at least 2, got 1"):
        cut(1, 10, 3)
    with pytest.raises(InputError, match="window: expected at least 2"):
        cut(10, 1, 3)
    for overlap in (0, 10):
        with pytest.raises(InputError, match="overlap: expected from 1 to 9"):
            cut(30, 10, overlap)
    with pytest.raises(InputError, match="masks: expected 26 frames, got 25"):
        align_windows(source, 26, masks=ones, **SMALL)
    with pytest.raises(InputError, match="intrinsics: expected 26 frames, got 25"):
        align_windows(source, 26, intrinsics=K.repeat(25, 1, 1), **SMALL)
    with pytest.raises(InputError, match=r"cameras: expected \(26, 4, 4\)"):
        align_windows(source, 26, cameras=torch.eye(4).repeat(25, 1, 1), **SMALL)
    with pytest.raises(
        InputError, match=r"cameras: expected some of the frames 0 to 25, got \[26\]"
    ):
        align_windows(source, 26, cameras={26: torch.eye(4)}, **SMALL)
    with pytest.raises(InputError, match=r"cameras\[3\]: expected \(4, 4\), got \(1, 4, 4\)"):
        align_windows(source, 26, cameras={3: torch.eye(4)[None]}, **SMALL)
    with pytest.raises(InputError, match=r"cameras\[3\]: expected rotations"):
        align_windows(source, 26, cameras={3: torch.diag(torch.tensor([1.0, 1, -1, 1]))}, **SMALL)
    video = Video(torch.zeros(26, 48, 64, 3, dtype=torch.uint8), fps=5.0)
    with pytest.raises(InputError, match="video: expected 32x24 px as the pointmaps have"):
        align_windows(source, 26, video=video, **SMALL)
    with pytest.raises(InputError, match="pointmaps: expected the pairs asked for"):
        align_windows(lambda f, p: source(f, p.flip(0)), 26, **SMALL)
    with pytest.raises(InputError, match=r"pointmaps: expected PairPointmaps .* got NoneType"):
        align_windows(lambda f, p: None, 26, **SMALL)  # type: ignore[arg-type, return-value]


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"masks": 3}, "masks: expected a Tensor, got int"),
        ({"intrinsics": [1.0]}, "intrinsics: expected a Tensor, got list"),
        ({"video": torch.zeros(26, 24, 32, 3)}, "video: expected a Video, got Tensor"),
        ({"refine": "yes"}, "refine: expected True or False, got 'yes'"),
        ({"regularisers": True}, "regularisers: expected Regularisers or None, got True"),
    ],
)
def test_arguments_of_another_kind(option: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        align_windows(LazyScene(wander(26), noise=EXACT), 26, **(SMALL | option))


def test_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    source = LazyScene(wander(26), noise=EXACT)
    with pytest.raises(InputError, match="folder: expected a new or empty folder"):
        align_windows(source, 26, folder=tmp_path, **SMALL)
    assert source.asked == []

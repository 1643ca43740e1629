"""Any graph, and what the caller knows beforehand: each prior changes the result as documented."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from jog3r.alignment import PairPointmaps, Regularisers, align, complete, pair_graph, solve
from jog3r.errors import AlignmentError, InputError
from jog3r.geometry import fit_similarity, intrinsics_from_focal, invert, rigid
from jog3r.results import Video
from tests.scenes import Path, Scene, exact_pairs, graph_pairs, scene

OFF = Regularisers.off()


def scales(count: int) -> Tensor:
    return torch.exp(0.4 * torch.randn(count, generator=torch.Generator().manual_seed(1)))


def exact(
    path: Path = "arc", graph: str = "complete", frames: int = 5
) -> tuple[Scene, PairPointmaps]:
    truth, chosen = scene(path, frames=frames), pair_graph(graph, frames)
    return truth, exact_pairs(truth, chosen, scales(len(chosen)))


def noisy(graph: str = "complete", seed: int = 0, frames: int = 5) -> tuple[Scene, PairPointmaps]:
    truth = scene("arc", frames=frames, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    return truth, graph_pairs(truth, pair_graph(graph, frames), generator)


def position_error(world_from_camera: Tensor, truth: Scene) -> float:
    found, wanted = world_from_camera[:, :3, 3].double(), truth.world_from_camera[:, :3, 3]
    moved = fit_similarity(found, wanted).points(found)
    return float((moved - wanted).square().sum(dim=1).mean().sqrt())


@pytest.mark.parametrize("graph", ["star", "window-1", "window-2", "log-window-2", "complete"])
@pytest.mark.parametrize("path", ["arc", "handheld"])
def test_exact_pairs_on_any_graph_give_exact_cameras(path: Path, graph: str) -> None:
    truth, pairs = exact(path, graph)
    found = align(pairs, regularisers=OFF)
    scale = float((truth.depth / found.depth).median())
    cameras = found.cameras.world_from_camera.double()
    cameras[:, :3, 3] *= scale
    torch.testing.assert_close(cameras, truth.world_from_camera, rtol=0, atol=3e-6)
    torch.testing.assert_close(scale * found.depth.double(), truth.depth, rtol=3e-6, atol=3e-6)
    torch.testing.assert_close(found.cameras.K.double(), truth.K, rtol=1e-5, atol=1e-4)
    assert found.scale == "relative"
    assert found.flags == ()


def test_refinement_keeps_an_exact_start() -> None:
    _, pairs = exact()
    start = solve(pairs, refine=False).world_from_camera
    torch.testing.assert_close(solve(pairs).world_from_camera, start, rtol=0, atol=1e-6)


def test_more_pairs_give_better_cameras() -> None:
    def error(graph: str, *, refine: bool = True) -> float:
        total = 0.0
        for seed in range(4):
            truth, pairs = noisy("complete", seed)
            found = solve(pairs, graph=graph, regularisers=OFF, refine=refine)
            total += position_error(found.world_from_camera, truth)
        return total

    assert error("complete") < 0.7 * error("star")
    assert error("complete") < 0.5 * error("complete", refine=False)


def test_the_chosen_graph_is_what_its_pairs_alone_give() -> None:
    _, pairs = noisy()
    chosen = pair_graph("window-1", 5)
    given = {tuple(pair): k for k, pair in enumerate(pairs.pairs.tolist())}
    alone = pairs.chosen(torch.tensor([given[tuple(pair)] for pair in chosen.tolist()]))
    by_name, by_list = solve(pairs, graph="window-1"), solve(pairs, graph=chosen)
    assert torch.equal(by_name.world_from_camera, solve(alone).world_from_camera)
    assert torch.equal(by_name.world_from_camera, by_list.world_from_camera)
    assert not torch.allclose(by_name.world_from_camera, solve(pairs).world_from_camera)


def test_a_graph_whose_pairs_are_not_given_is_refused() -> None:
    _, pairs = exact(graph="window-1")
    with pytest.raises(InputError, match=r"graph: expected pairs that are given, got .*\(0, 2\)"):
        solve(pairs, graph="complete")


def test_regularisers_are_off_where_every_frame_is_paired_with_every_other() -> None:
    _, pairs = noisy()
    default = solve(pairs).world_from_camera
    assert torch.equal(default, solve(pairs, regularisers=OFF).world_from_camera)
    assert not torch.equal(default, solve(pairs, regularisers=Regularisers()).world_from_camera)
    window = solve(pairs, graph="window-2").world_from_camera
    on = solve(pairs, graph="window-2", regularisers=Regularisers()).world_from_camera
    assert torch.equal(window, on)


def test_known_cameras_are_held_and_give_the_scale() -> None:
    truth, pairs = noisy()
    world = rigid(
        scene("handheld").world_from_camera[3, :3, :3], torch.tensor([5.0, -2, 1]).double()
    )
    cameras = world @ truth.world_from_camera
    known = {1: cameras[1].float(), 4: cameras[4].float()}
    found = align(pairs, cameras=known)
    for frame, camera in known.items():
        torch.testing.assert_close(
            found.cameras.world_from_camera[frame], camera, atol=1e-6, rtol=0
        )
    assert found.scale == "given-poses"
    ratio = float((found.depth.double() / truth.depth).median())
    assert ratio == pytest.approx(1.0, abs=0.05)
    free = align(pairs)
    assert free.scale == "relative"

    def error(cameras_found: Tensor) -> float:
        wanted = cameras[2, :3, 3]
        return float((cameras_found[2, :3, 3].double() - wanted).norm())

    assert error(found.cameras.world_from_camera) < 0.1
    everything = align(pairs, cameras=cameras.float())
    torch.testing.assert_close(
        everything.cameras.world_from_camera, cameras.float(), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("path", ["arc", "handheld"])
def test_exact_pairs_stay_exact_between_known_cameras(path: Path) -> None:
    truth, pairs = exact(path)
    far = truth.world_from_camera.clone()
    far[:, :3, 3] = 10 * far[:, :3, 3] + 3.0
    found = solve(pairs, cameras={0: far[0].float(), 3: far[3].float()})
    torch.testing.assert_close(found.world_from_camera.double(), far, rtol=0, atol=3e-5)
    torch.testing.assert_close(found.depth.double(), 10 * truth.depth, rtol=1e-5, atol=1e-4)


def test_one_known_camera_moves_the_world_but_gives_no_scale() -> None:
    truth, pairs = noisy()
    camera = truth.world_from_camera[2].clone()
    camera[:3, 3] += torch.tensor([1.0, 2.0, 3.0])
    found, free = solve(pairs, cameras={2: camera.float()}), solve(pairs)
    assert found.scale == "relative"
    torch.testing.assert_close(found.world_from_camera[2], camera.float(), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.depth, free.depth, rtol=1e-2, atol=1e-2)


def test_masked_pixels_have_no_say() -> None:
    truth, pairs = exact()
    moving = torch.zeros(5, 24, 32, dtype=torch.bool)
    moving[:, 4:20, 6:20] = True
    first, second = pairs.pairs.unbind(dim=1)
    points_i, points_j = pairs.points_i.clone(), pairs.points_j.clone()
    shift = torch.tensor([0.8, 0.1, -0.3])
    points_i[moving[first]] += shift
    points_j[moving[second]] += 2 * shift
    wrong = replace(pairs, points_i=points_i, points_j=points_j)
    masked = align(wrong, masks=~moving)
    assert position_error(masked.cameras.world_from_camera, truth) < 1e-5
    assert position_error(align(wrong).cameras.world_from_camera, truth) > 1e-4
    assert masked.mask is not None
    assert torch.equal(masked.mask, ~moving)
    assert len(masked.points) <= int((~moving).sum())
    assert align(wrong).mask is None


def test_intrinsics_of_each_frame_are_obeyed() -> None:
    truth, pairs = exact()
    K = truth.K.clone()
    K[:, 0, 0] *= 1.1
    K[2, 1, 2] += 1.5
    found = solve(pairs, intrinsics=K)
    torch.testing.assert_close(found.K, K.float())
    assert position_error(found.world_from_camera, truth) > 1e-3
    right = solve(pairs, intrinsics=truth.K)
    assert position_error(right.world_from_camera, truth) < 1e-5


def test_intrinsics_that_contradict_the_pointmaps_are_flagged() -> None:
    truth, pairs = exact()
    K = intrinsics_from_focal(1.6 * truth.K[:1, 0, 0], (24, 32))[0]
    # So wrong a lens may leave the positions in doubt as well.
    codes = {flag.split(":")[0] for flag in solve(pairs, intrinsics=K).flags}
    assert {"intrinsics-mismatch"} <= codes <= {"intrinsics-mismatch", "no-parallax"}
    assert solve(pairs, intrinsics=truth.K).flags == ()


@pytest.mark.parametrize("path", ["arc", "forward", "handheld"])
@pytest.mark.parametrize("graph", ["star", "complete"])
def test_cameras_that_contradict_the_pointmaps_are_flagged(path: Path, graph: str) -> None:
    truth = scene(path, frames=5)
    pairs = graph_pairs(truth, pair_graph(graph, 5), torch.Generator().manual_seed(0))
    right = truth.world_from_camera.float()
    axes = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    wrong = {"inverted": invert(right), "in the other order": right.flip(0)}
    if path != "arc":  # to the side and hardly turning: other axes cannot be seen
        wrong["with OpenGL axes"] = right @ axes
    for cameras in (right, {1: right[1], 4: right[4]}, {2: right[2]}):
        assert solve(pairs, cameras=cameras).flags == ()
    for name, cameras in wrong.items():
        codes = [flag.split(":")[0] for flag in solve(pairs, cameras=cameras).flags]
        assert codes == ["cameras-mismatch"], name


@pytest.mark.parametrize("path", ["pan", "static"])
@pytest.mark.parametrize("graph", ["star", "complete"])
@pytest.mark.parametrize("clean", [True, False])
def test_cameras_that_do_not_move_are_flagged(path: Path, graph: str, clean: bool) -> None:
    truth, chosen = scene(path, frames=5), pair_graph(graph, 5)
    pairs = exact_pairs(truth, chosen)
    if not clean:
        pairs = graph_pairs(truth, chosen, torch.Generator().manual_seed(0))
    found = solve(pairs)
    assert [flag.split(":")[0] for flag in found.flags] == ["no-parallax"]
    assert solve(pairs, refine=False).flags or not clean


@pytest.mark.parametrize("path", ["arc", "forward", "truck", "handheld"])
def test_cameras_that_move_are_not(path: Path) -> None:
    truth = scene(path, frames=5)
    pairs = graph_pairs(truth, complete(5), torch.Generator().manual_seed(0))
    assert solve(pairs).flags == ()


def test_uncertainty_grows_with_noise_and_is_none_where_cameras_are_held() -> None:
    truth = scene("arc", frames=5)
    found = [
        solve(graph_pairs(truth, complete(5), torch.Generator().manual_seed(0), noise=noise))
        for noise in (0.01, 0.1)
    ]
    low, high = (f.position_std for f in found)
    assert low is not None
    assert high is not None
    assert float(low[0]) == float(high[0]) == 0.0
    assert bool((high[1:] > 1.5 * low[1:]).all())
    assert bool((low[1:] > 0).all())


def test_metric_pairs_keep_metres_in_the_geometric_mean() -> None:
    truth, pairs = exact()
    metres = replace(exact_pairs(truth, pairs.pairs), metric=True)
    found = align(metres)
    assert found.scale == "metric"
    torch.testing.assert_close(found.depth.double(), truth.depth, rtol=1e-5, atol=1e-5)
    factor = 3.0
    larger = replace(metres, points_i=factor * metres.points_i, points_j=factor * metres.points_j)
    torch.testing.assert_close(align(larger).depth, factor * found.depth, rtol=1e-5, atol=1e-5)
    known = dict(enumerate(truth.world_from_camera.float()))
    assert align(metres, cameras=known).scale == "given-poses"


@pytest.mark.usefixtures("as_a_user")
def test_a_video_gives_the_colours_and_grey_stands_in() -> None:
    _, pairs = exact()
    frames = torch.randint(0, 255, (5, 24, 32, 3), generator=torch.Generator().manual_seed(0))
    video = Video(frames.to(torch.uint8), fps=5.0)
    assert align(pairs, video=video).video == video
    assert bool((align(pairs).video.frames == 128).all())
    with pytest.raises(InputError, match=r"video: expected 5 frames of 32x24 px, .* got Video.4 "):
        align(pairs, video=Video(frames[:4].to(torch.uint8), fps=5.0))
    with pytest.raises(InputError, match=r"video: expected a jog3r.Video, got Tensor"):
        align(pairs, video=frames)  # type: ignore[arg-type]


def test_a_pair_without_confidence_takes_no_part() -> None:
    truth, pairs = exact()
    blind, wrong = pairs.confidence_j.clone(), pairs.points_j.clone()
    blind[3], wrong[3] = 1.0, wrong[3] + 1.0
    found = solve(replace(pairs, confidence_j=blind, points_j=wrong))
    assert position_error(found.world_from_camera, truth) < 1e-5


@pytest.mark.usefixtures("as_a_user")
def test_frames_of_which_nothing_is_known_are_named() -> None:
    _, pairs = exact()
    masks = torch.ones(5, 24, 32, dtype=torch.bool)
    masks[3] = False
    with pytest.raises(AlignmentError, match="got 0 in frame 3"):
        solve(pairs, masks=masks)
    confidence = pairs.confidence_j.clone()
    confidence[pairs.pairs[:, 1] == 2] = 1.0
    window = pair_graph("star", 5)
    with pytest.raises(AlignmentError, match="got 0 in frame 2"):
        solve(replace(pairs, confidence_j=confidence), graph=window)


def test_pairs_that_fall_apart_without_their_blind_ones_are_named() -> None:
    _, pairs = exact(graph="window-1")
    confidence = pairs.confidence_j.clone()
    between = (pairs.pairs.sum(dim=1) == 5).nonzero().flatten()  # (2, 3) and (3, 2)
    confidence[between] = 1.0
    with pytest.raises(AlignmentError, match=r"separate parts \[0, 1, 2\], \[3, 4\]"):
        solve(replace(pairs, confidence_j=confidence))


K_WITH_GRAD = torch.tensor([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]], requires_grad=True)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cameras": {}}, "cameras: expected some of the frames"),
        ({"cameras": {7: torch.eye(4)}}, r"expected some of the frames 0 to 4, got \[7\]"),
        ({"cameras": {1: torch.eye(3)}}, r"cameras\[1\]: expected \(4, 4\), got \(3, 3\)"),
        ({"cameras": torch.eye(4)}, r"cameras: expected \(5, 4, 4\)"),
        ({"cameras": {1: torch.diag(torch.tensor([1.0, 1, -1, 1]))}}, "mirrored"),
        ({"cameras": {1: 2 * torch.eye(4)}}, r"cameras\[1\]: expected the last row"),
        ({"cameras": {True: torch.eye(4)}}, r"expected some of the frames 0 to 4, got \[True\]"),
        ({"cameras": {1: np.eye(4)}}, r"cameras\[1\]: expected a tensor .* got ndarray"),
        ({"cameras": np.eye(4)}, "cameras: expected a tensor .* got ndarray"),
        ({"cameras": {1: torch.eye(4, requires_grad=True)}}, r"cameras\[1\]: .* got one with grad"),
        ({"intrinsics": K_WITH_GRAD}, "intrinsics: expected a plain tensor, got one with grad"),
        ({"masks": np.ones((5, 24, 32), bool)}, "masks: expected a tensor .* got ndarray"),
        ({"masks": torch.ones(5, 24, 32)}, "masks: expected .* of booleans"),
        ({"masks": torch.ones(4, 24, 32, dtype=torch.bool)}, r"masks: expected \(5, 24, 32\)"),
        ({"graph": "ring"}, "graph: expected star"),
    ],
)
def test_priors_that_do_not_fit_are_refused(options: dict, message: str) -> None:
    _, pairs = exact()
    with pytest.raises(InputError, match=message):
        solve(pairs, **options)

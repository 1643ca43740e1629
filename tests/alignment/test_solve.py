"""Aligning a star of pairs: exact where the pairs are exact, better than the start where not."""

from dataclasses import replace

import pytest
import roma
import torch
from torch import Tensor

from jog3r.alignment import Alignment, PairPointmaps, Regularisers, solve
from jog3r.alignment.pairs import check_pairs
from jog3r.errors import InputError
from jog3r.geometry import check_transforms, intrinsics_from_fov, pixel_centres
from tests.scenes import Path, Scene, noisy_pairs, pairs, scene

OFF = Regularisers.off()
MOVING: list[Path] = ["forward", "truck", "arc", "handheld"]


def tensors(found: Alignment | PairPointmaps) -> dict[str, Tensor]:
    return {name: value for name, value in vars(found).items() if isinstance(value, Tensor)}


def alone(**weight: float) -> Regularisers:
    """Return regularisers of which only one is on."""
    return replace(OFF, **weight)


def assert_cameras(found: Alignment, truth: Scene, atol: float) -> None:
    """Check cameras and depth against the truth up to one common scale."""
    scale = float((truth.depth / found.depth).median())
    cameras = found.world_from_camera.double()
    cameras[:, :3, 3] *= scale
    torch.testing.assert_close(cameras, truth.world_from_camera, rtol=0, atol=atol)
    torch.testing.assert_close(scale * found.depth.double(), truth.depth, rtol=atol, atol=atol)
    torch.testing.assert_close(found.K.double(), truth.K, rtol=10 * atol, atol=1e-4)


def pose_errors(found: Alignment, truth: Scene) -> tuple[Tensor, Tensor]:
    """Return rotation and direction errors [deg] over all pairs of frames."""
    i, j = torch.triu_indices(len(found.K), len(found.K), 1)

    def relative(cameras: Tensor) -> tuple[Tensor, Tensor]:
        cameras = cameras.double()
        rotation, position = cameras[:, :3, :3], cameras[:, :3, 3]
        direction = rotation[i].transpose(1, 2) @ (position[j] - position[i])[..., None]
        return rotation[i].transpose(1, 2) @ rotation[j], direction[..., 0]

    (r0, d0), (r1, d1) = relative(found.world_from_camera), relative(truth.world_from_camera)
    cosine = torch.nn.functional.cosine_similarity(d0, d1, dim=-1).clamp(-1, 1)
    return roma.rotmat_geodesic_distance(r0, r1).rad2deg(), cosine.acos().rad2deg()


def mean_errors(path: Path, seeds: range, **options) -> Tensor:
    """Return the mean rotation and direction error [deg] over noisy clips."""
    errors = []
    for seed in seeds:
        truth = scene(path, frames=8, seed=seed)
        noisy = noisy_pairs(truth, torch.Generator().manual_seed(seed))
        errors.append(torch.stack([e.mean() for e in pose_errors(solve(noisy, **options), truth)]))
    return torch.stack(errors).mean(dim=0)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("path", [*MOVING, "pan", "static"])
def test_exact_pairs_of_any_scale_give_exact_cameras(path: Path, shared: bool) -> None:
    truth = scene(path)
    scales = torch.exp(torch.randn(4, generator=torch.Generator().manual_seed(1)))
    found = solve(pairs(truth, scales), shared_focal=shared)
    assert_cameras(found, truth, atol=2e-6)
    torch.testing.assert_close(found.confidence, torch.full_like(found.depth, 10.0))


def test_the_first_camera_is_the_world_and_all_are_rigid() -> None:
    found = solve(noisy_pairs(scene("arc"), torch.Generator().manual_seed(0)))
    torch.testing.assert_close(found.world_from_camera[0], torch.eye(4))
    check_transforms(found.world_from_camera, tolerance=1e-5)
    for value in tensors(found).values():
        assert value.dtype == torch.float32
        assert torch.isfinite(value).all()


def test_the_scale_of_a_pair_does_not_matter() -> None:
    noisy = noisy_pairs(scene("truck"), torch.Generator().manual_seed(0))
    factor = torch.tensor([1.0, 0.1, 30.0, 2.0])[:, None, None, None]
    scaled = replace(noisy, points_i=factor * noisy.points_i, points_j=factor * noisy.points_j)
    a, b = solve(noisy), solve(scaled)
    ratio = b.depth.median() / a.depth.median()
    assert float(ratio) == pytest.approx((1.0 * 0.1 * 30.0 * 2.0) ** 0.25, rel=1e-4)
    torch.testing.assert_close(b.world_from_camera[:, :3, :3], a.world_from_camera[:, :3, :3])
    torch.testing.assert_close(
        b.world_from_camera[:, :3, 3] / ratio, a.world_from_camera[:, :3, 3], rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_the_unit_of_length_passes_through(factor: float) -> None:
    noisy = noisy_pairs(scene("handheld"), torch.Generator().manual_seed(0))
    scaled = replace(noisy, points_i=factor * noisy.points_i, points_j=factor * noisy.points_j)
    a, b = solve(noisy), solve(scaled)
    torch.testing.assert_close(b.depth / factor, a.depth, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(b.K, a.K, rtol=1e-4, atol=1e-4)


def test_the_order_of_the_pairs_does_not_matter() -> None:
    noisy = noisy_pairs(scene("arc"), torch.Generator().manual_seed(0))
    order = torch.tensor([2, 0, 3, 1])
    shuffled = noisy.chosen(order)
    torch.testing.assert_close(solve(shuffled).world_from_camera, solve(noisy).world_from_camera)


def test_confident_outliers_are_withstood() -> None:
    truth = scene("arc")
    exact = pairs(truth)
    wild = torch.rand(exact.confidence_j.shape, generator=torch.Generator().manual_seed(0)) < 0.15
    points = exact.points_j.clone()
    points[wild] = 10 * torch.rand(int(wild.sum()), 3, generator=torch.Generator().manual_seed(1))
    found = solve(replace(exact, points_j=points))
    torch.testing.assert_close(
        found.world_from_camera.double(), truth.world_from_camera, rtol=0, atol=1e-4
    )


def test_pixels_without_confidence_do_not_count() -> None:
    truth = scene("forward")
    exact = pairs(truth)
    points, confidence = exact.points_j.clone(), exact.confidence_j.clone()
    points[:, :12], confidence[:, :12] = 3.0, 1.0
    found = solve(replace(exact, points_j=points, confidence_j=confidence))
    torch.testing.assert_close(
        found.world_from_camera.double(), truth.world_from_camera, rtol=0, atol=1e-5
    )


def test_confidence_helps_where_it_follows_the_noise() -> None:
    def error(blind: bool) -> float:
        total = 0.0
        for seed in range(6):
            truth = scene("handheld", seed=seed)
            noisy = noisy_pairs(
                truth, torch.Generator().manual_seed(seed), cloud_deg=0, cloud_shift=0
            )
            if blind:
                flat = torch.full_like(noisy.confidence_i, 2.0)
                noisy = replace(noisy, confidence_i=flat, confidence_j=flat)
            total += float(pose_errors(solve(noisy, regularisers=OFF), truth)[1].mean())
        return total

    assert error(blind=False) < 0.9 * error(blind=True)


@pytest.mark.parametrize("path", MOVING)
def test_refinement_with_regularisers_beats_the_start_on_noise(path: Path) -> None:
    start = mean_errors(path, range(4), refine=False)
    refined = mean_errors(path, range(4))
    assert refined[0] < start[0]
    assert refined[1] < 0.7 * start[1]


def test_refinement_without_regularisers_stays_near_the_start() -> None:
    start = mean_errors("handheld", range(4), refine=False)
    refined = mean_errors("handheld", range(4), regularisers=OFF)
    torch.testing.assert_close(refined, start, rtol=0.05, atol=0)


def path_length(found: Alignment) -> float:
    return float(found.world_from_camera[:, :3, 3].diff(dim=0).norm(dim=1).sum())


def bends(found: Alignment) -> float:
    return float(found.world_from_camera[:, :3, 3].diff(n=2, dim=0).norm(dim=1).sum())


def turns(found: Alignment) -> Tensor:
    rotation = found.world_from_camera[:, :3, :3]
    return roma.rotmat_to_rotvec(rotation[:-1].transpose(1, 2) @ rotation[1:])


def test_each_regulariser_does_what_it_says() -> None:
    noisy = noisy_pairs(scene("handheld", frames=7), torch.Generator().manual_seed(0))
    plain = solve(noisy, regularisers=OFF)
    static = solve(noisy, regularisers=alone(static_camera=3.0))
    steady = solve(noisy, regularisers=alone(constant_velocity=3.0))
    calm = solve(noisy, regularisers=alone(rotation_smoothness=1e4))
    even = solve(noisy, regularisers=alone(constant_turn=1e3))
    assert path_length(static) < 0.8 * path_length(plain)
    assert bends(steady) < 0.3 * bends(plain)
    assert float(turns(calm).norm(dim=1).sum()) < 0.8 * float(turns(plain).norm(dim=1).sum())
    change_plain, change_even = turns(plain).diff(dim=0), turns(even).diff(dim=0)
    assert float(change_even.norm(dim=1).sum()) < 0.5 * float(change_plain.norm(dim=1).sum())


def test_focal_smoothness_pulls_focal_lengths_together() -> None:
    noisy = noisy_pairs(scene("arc", frames=6), torch.Generator().manual_seed(0), noise=0.06)

    def spread(weight: float) -> float:
        weights = alone(focal_smoothness=weight)
        return float(solve(noisy, regularisers=weights, shared_focal=False).K[:, 0, 0].std())

    assert spread(1e4) < 0.3 * spread(0.0)
    shared = solve(noisy, regularisers=OFF).K[:, 0, 0]
    assert torch.equal(shared, shared[:1].expand(6))


def test_regularisers_cannot_move_cameras_that_exact_points_fix() -> None:
    truth = scene("handheld", frames=6)
    heavy = Regularisers(static_camera=1.0, constant_velocity=10.0, rotation_smoothness=100.0)
    assert_cameras(solve(pairs(truth), regularisers=heavy), truth, atol=2e-6)


def test_known_intrinsics_are_kept_and_obeyed() -> None:
    truth = scene("truck")
    exact = pairs(truth)
    K = truth.K[0].clone()
    K[0, 0] *= 1.2
    K[0, 2] += 2.0
    found = solve(exact, intrinsics=truth.K[0])
    assert torch.equal(found.K, truth.K.float())
    assert_cameras(found, truth, atol=2e-6)
    wrong = solve(exact, intrinsics=K)
    torch.testing.assert_close(wrong.K, K.float().expand(5, 3, 3))
    assert not torch.allclose(wrong.world_from_camera, found.world_from_camera, atol=1e-2)


def test_a_principal_point_off_the_centre_is_honoured_when_known() -> None:
    truth = scene("handheld", size=(24, 40))
    left = Scene(truth.world_from_camera, truth.K, truth.depth[:, :, :32].contiguous())
    found = solve(pairs(replace(left, K=truth.K)), intrinsics=truth.K)
    assert_cameras(found, replace(left, K=truth.K), atol=2e-6)
    guessed = solve(pairs(left))
    assert not torch.allclose(guessed.K, truth.K.float(), rtol=0.01)


def test_per_frame_focal_lengths_are_found() -> None:
    truth = scene("arc", frames=3)
    zoomed = scene("arc", frames=3, fov_y_deg=40.0)
    mixed = Scene(
        truth.world_from_camera,
        torch.stack([truth.K[0], zoomed.K[1], truth.K[2]]),
        torch.stack([truth.depth[0], zoomed.depth[1], truth.depth[2]]),
    )
    found = solve(pairs(mixed), shared_focal=False, regularisers=OFF)
    assert_cameras(found, mixed, atol=1e-4)


def test_a_camera_that_does_not_move_stays_put_under_noise() -> None:
    truth = scene("static", frames=5)
    found = solve(noisy_pairs(truth, torch.Generator().manual_seed(0)))
    assert torch.isfinite(found.world_from_camera).all()
    scale = float(truth.depth.median() / found.depth.median())
    assert float(found.world_from_camera[:, :3, 3].norm(dim=1).max()) * scale < 0.2
    assert float(turns(found).norm(dim=1).max()) < 0.03


def test_a_single_frame_gives_its_focal_length_and_depth() -> None:
    truth = scene("static", frames=2)
    exact = pairs(truth, torch.tensor([1.0]))
    found = solve(replace(exact, pairs=torch.tensor([[0, 0]])))
    assert found.world_from_camera.shape == (1, 4, 4)
    assert torch.equal(found.world_from_camera[0], torch.eye(4))
    torch.testing.assert_close(found.depth.double(), truth.depth[:1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.K.double(), truth.K[:1], rtol=1e-5, atol=1e-4)


def test_two_frames_are_enough() -> None:
    truth = scene("truck", frames=2)
    assert_cameras(solve(pairs(truth)), truth, atol=2e-6)


def test_the_input_is_left_alone() -> None:
    noisy = noisy_pairs(scene("arc"), torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in tensors(noisy).items()}
    solve(noisy)
    assert all(torch.equal(value, before[name]) for name, value in tensors(noisy).items())


@pytest.mark.parametrize("seed", range(12))
def test_nonsense_gives_a_finite_result_or_a_clear_error(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(2, 3, 12, 12, 3, generator=generator)
    points = points / torch.rand(2, 3, 12, 12, 1, generator=generator)  # with wild ones among them
    points[0, ..., :2] += pixel_centres((12, 12)) - 6.0  # so that many have a focal length
    points[0, ..., 2] = points[0, ..., 2].abs()
    confidence = 1 + torch.randn(2, 3, 12, 12, generator=generator).exp()
    indices = torch.tensor([[0, 1], [0, 2], [0, 3]])
    pair = PairPointmaps(indices, points[0], points[1], confidence[0], confidence[1])
    for shared in (True, False):
        try:
            found = solve(pair, shared_focal=shared)
        except InputError:
            continue
        assert all(torch.isfinite(value).all() for value in tensors(found).values())
        check_transforms(found.world_from_camera)


def test_one_wild_point_does_not_make_a_pointmap_look_collapsed() -> None:
    truth = scene("arc")
    exact = pairs(truth)
    points = exact.points_j.clone()
    points[2, 5, 5] = 1e9
    found = solve(replace(exact, points_j=points)).world_from_camera.double()
    torch.testing.assert_close(found, truth.world_from_camera, rtol=0, atol=1e-4)


def changed(**values) -> PairPointmaps:
    return replace(pairs(scene("forward", frames=3)), **values)


ONES = torch.ones(2, 24, 32)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ({"points_j": torch.full((2, 24, 32, 3), float("nan"))}, {}, "points_j: expected finite"),
        ({"points_i": torch.ones(2, 24, 32, 3)}, {}, "points_i: expected a surface, got equal"),
        ({"points_j": torch.arange(2.0 * 24 * 32 * 3).view(2, 24, 32, 3)}, {}, "collinear"),
        ({"confidence_j": ONES}, {}, "at least 6 usable pixels .* got 0 in frame 1"),
        ({}, {"masks": torch.zeros(3, 24, 32).bool()}, "masks: .* got 0 in frame 0; .* invert"),
        ({"confidence_i": 0.5 * ONES}, {}, "confidence_i: expected values >= 1, got 0.5"),
        ({"confidence_i": 1e30 * ONES}, {}, r"confidence_i: expected values up to 1e\+12"),
        ({"metric": "yes"}, {}, "metric: expected True or False, got 'yes'"),
        ({}, {"graph": 3}, "graph: expected a name or a tensor of pairs, got int"),
        ({}, {"graph": [[0, 1], [0, 2]]}, r"got list; use torch\.as_tensor"),
        ({}, {"graph": torch.zeros(0, 2, dtype=torch.int64)}, r"at least one, got \(0, 2\)"),
        ({}, {"graph": torch.zeros(2, 2)}, r"float32; use \.long\(\)"),
        ({}, {"regularisers": {}}, "regularisers: expected Regularisers or None, got {}"),
        ({}, {"regularisers": "off"}, "regularisers: .* got 'off'"),
        ({}, {"shared_focal": "yes"}, "shared_focal: expected True or False, got 'yes'"),
        ({}, {"refine": "yes"}, "refine: expected True or False, got 'yes'"),
        ({"confidence_i": ONES[:1]}, {}, "confidence_i: expected"),
        ({"points_j": torch.ones(2, 24, 30, 3)}, {}, "points_j: expected"),
        ({"points_i": torch.ones(24, 32, 3)}, {}, "points_i: expected"),
        ({"points_i": -pairs(scene(frames=3)).points_i}, {}, "in front of the camera, got none"),
        ({"pairs": torch.tensor([[0, 1], [0, 3]])}, {}, r"separate parts \[0, 1, 3\], \[2\]"),
        ({"pairs": torch.tensor([[0, 1], [2, 3]])}, {}, r"separate parts \[0, 1\], \[2, 3\]"),
        ({"pairs": torch.tensor([[0, 1], [0, 1]])}, {}, r"every pair once, got \[\(0, 1\)\]"),
        ({"pairs": torch.tensor([[0, 1], [1, 1]])}, {}, "expected different frames"),
        ({"pairs": torch.tensor([[0, 1], [0, -1]])}, {}, "frame numbers from 0"),
        ({"pairs": torch.tensor([[0.0, 1.0], [0.0, 2.0]])}, {}, "pairs: expected whole numbers"),
        ({"pairs": torch.tensor([[0, 1], [0, 2]]).int()}, {}, r"torch.int32; use \.long\(\)"),
        ({"pairs": [[0, 1], [0, 2]]}, {}, "pairs: expected a tensor .* got list"),
        ({"pairs": torch.tensor([[0, 1], [0, 10**12]])}, {}, "every frame in a pair, got frame 10"),
        ({"confidence_i": ONES.numpy()}, {}, "confidence_i: expected a tensor .* got ndarray"),
        ({"confidence_i": (2 * ONES).requires_grad_()}, {}, "confidence_i: .* got one with grad"),
        ({}, {"intrinsics": intrinsics_from_fov(50.0, (240, 320))}, "use resize_intrinsics"),
        (
            {},
            {"intrinsics": intrinsics_from_fov(50.0, (24, 32)).expand(2, 3, 3)},
            "or \\(3, 3, 3\\)",
        ),
        (
            {},
            {"intrinsics": intrinsics_from_fov(50.0, (24, 32)), "shared_focal": False},
            "shared_focal: expected True",
        ),
    ],
)
def test_what_cannot_be_aligned_is_refused(values, options, message: str) -> None:
    with pytest.raises(InputError, match=message):
        solve(changed(**values), **options)


@pytest.mark.usefixtures("as_a_user")
def test_no_pairs_and_no_pointmaps_are_refused() -> None:
    with pytest.raises(InputError, match="pairs: expected at least one, got none"):
        solve(pairs(scene(frames=3)).chosen(torch.tensor([], dtype=torch.int64)))
    with pytest.raises(InputError, match="pairs: expected PairPointmaps, got NoneType"):
        check_pairs(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), True])
def test_regularisers_refuse_what_is_no_weight(weight: float) -> None:
    with pytest.raises(InputError, match="static_camera: expected a finite weight"):
        Regularisers(static_camera=weight)

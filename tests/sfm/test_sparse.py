import pytest
import torch

from jog3r.geometry import invert, project, transform_points
from jog3r.sfm.depths import depth_factors, sparse_depth
from jog3r.sfm.matches import Matches, agreement, epipolar_error, only_turns
from jog3r.sfm.sparse import SparseModel, linked_frames, only
from tests.sfm.conftest import SIZE, Clip


def exact_model(clip: Clip, points: int = 40) -> SparseModel:
    """See points in space in all frames."""
    generator = torch.Generator().manual_seed(0)
    xyz = torch.rand(points, 3, generator=generator, dtype=torch.float64)
    xyz = (xyz - 0.5) * torch.tensor([1.0, 1.0, 1.0]) + torch.tensor([0.7, 0.1, 4.0])
    cameras, K = clip.world_from_camera.double(), clip.K.double()
    count = len(cameras)
    seen = transform_points(invert(cameras), xyz.expand(count, points, 3))
    pixel, _ = project(seen, K)
    frame = torch.arange(count).repeat_interleave(points)
    return SparseModel(
        torch.ones(count, dtype=torch.bool),
        cameras,
        K,
        xyz,
        torch.zeros(points, dtype=torch.float64),
        frame,
        pixel.reshape(-1, 2),
        torch.arange(points).repeat(count),
    )


def matches_of(model: SparseModel) -> Matches:
    count = len(model.registered)
    pixel = model.pixel.reshape(count, -1, 2)
    i, j = torch.triu_indices(count, count, offset=1).unbind()
    pixels = torch.stack([pixel[i], pixel[j]], dim=2).reshape(-1, 2, 2)
    frames = torch.stack([i, j], 1).repeat_interleave(pixel.shape[1], 0)
    return Matches(frames, pixels, count)


def test_true_cameras_explain_all_matches(corner: Clip) -> None:
    model = exact_model(corner)
    matches = matches_of(model)
    error = epipolar_error(matches, model.world_from_camera, model.K)
    assert float(error.max()) < 1e-4  # the rotations are float32
    assert agreement(matches, model.world_from_camera, model.K) == 1
    registered = torch.tensor([True, True, True, False, False, False])
    share = agreement(matches, model.world_from_camera, model.K, registered)
    assert share == pytest.approx(3 / 15)
    assert len(matches.between(registered)) == 3 * 40


def test_a_shifted_match_is_off_by_its_shift(corner: Clip) -> None:
    model = exact_model(corner)
    cameras = torch.eye(4).repeat(2, 1, 1)
    cameras[1, 0, 3] = 1.0
    pixels = torch.tensor([[[60.0, 50.0], [40.0, 53.0]]]).double()
    matches = Matches(torch.tensor([[0, 1]]), pixels, 2)
    # Epipolar lines are rows; Sampson's distance shares 3 px between both pictures.
    error = epipolar_error(matches, cameras, model.K[:2])
    torch.testing.assert_close(error, torch.tensor([3 / 2**0.5]).double())


def test_no_match_is_no_agreement(corner: Clip) -> None:
    none = Matches(torch.zeros(0, 2, dtype=torch.long), torch.zeros(0, 2, 2).double(), 6)
    assert agreement(none, corner.world_from_camera, corner.K) == 0


def test_only_turns_tells_turning_from_walking(corner: Clip) -> None:
    turning = corner.world_from_camera.clone()
    turning[:, :3, 3] = 0
    for cameras, answer in ((corner.world_from_camera, False), (turning, True)):
        matches = matches_of(exact_model(corner._replace(world_from_camera=cameras)))
        assert only_turns(matches, corner.K, known=True) is answer
        wrong = corner.K.clone()
        wrong[:, 0, 0] = wrong[:, 1, 1] = 400.0
        assert only_turns(matches, wrong, known=False) is answer


def test_parts_that_share_few_points_fall_apart(corner: Clip) -> None:
    model = exact_model(corner)
    # Frames 0 to 3 see the first half of the points, 4 and 5 the second, and four of the first.
    first = model.point < 20
    early = model.frame < 4
    keep = (first & early) | (~first & ~early) | ((model.point < 4) & ~early)
    parts = SparseModel(
        *(model.registered, model.world_from_camera, model.K, model.points, model.error),
        *(model.frame[keep], model.pixel[keep], model.point[keep]),
    )
    linked = linked_frames(parts)
    assert linked.tolist() == [True] * 4 + [False] * 2
    left = only(parts, linked)
    assert len(left.points) == 20
    assert left.track_length.tolist() == [4] * 20
    assert int(left.frame.max()) == 3


def test_depth_factors_are_those_of_each_frame(corner: Clip) -> None:
    model = exact_model(corner)
    truth = torch.tensor([1.0, 2.0, 0.5, 1.0, 4.0, 1.0], dtype=torch.float64)
    depth = torch.zeros(6, *SIZE)
    row, column = model.pixel.floor().long().flip(1).unbind(dim=1)
    depth[model.frame, row, column] = (model.depth / truth[model.frame]).float()
    factors = depth_factors(model, depth)
    assert factors is not None
    torch.testing.assert_close(factors, truth, rtol=0.05, atol=0)
    depth[2] = 0
    factors = depth_factors(model, depth)
    assert factors is not None
    assert float(factors[2]) == pytest.approx(1.0, rel=0.05)
    assert depth_factors(model, torch.zeros_like(depth)) is None


def test_the_surer_point_of_a_pixel_stands() -> None:
    eye = torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)
    K = torch.tensor([[8.0, 0, 4], [0, 8, 4], [0, 0, 1]], dtype=torch.float64).repeat(3, 1, 1)
    points = torch.tensor([[0.0, 0, 2], [0.0, 0, 3]], dtype=torch.float64)
    model = SparseModel(
        torch.ones(3, dtype=torch.bool),
        eye,
        K,
        points,
        torch.zeros(2, dtype=torch.float64),
        torch.tensor([0, 1, 2, 0, 1]),
        torch.full((5, 2), 4.5, dtype=torch.float64),
        torch.tensor([1, 1, 1, 0, 0]),
    )
    depth, confidence = sparse_depth(model, (8, 8))
    assert depth[:, 4, 4].tolist() == [3, 3, 3]
    assert confidence[:, 4, 4].tolist() == [3, 3, 3]
    assert int((depth > 0).sum()) == 3

"""Lenses: closed forms, and straightened pictures against the analytic room."""

import pytest
import torch

from jog3r.data.readers.lens import Lens, look_up, opencv_lens, straighten
from jog3r.errors import FileError
from tests.data.readers.trees import colour_error, colours, shoot
from tests.scenes import cast_rays

BARREL = Lens((60.0, 62.0), (49.0, 34.0), (70, 96), (-0.12, 0.02), (0.004, -0.003))
PINCUSHION = Lens((60.0, 62.0), (47.0, 36.0), (70, 96), (0.09, 0.01))


def test_pixels_follow_the_opencv_model() -> None:
    lens = opencv_lens(
        (10.0, 20.0), (3.0, 4.0), (8, 6), {"k1": 0.1, "k2": 0.2, "p1": 0.01, "p2": 0.02}
    )
    x, y = 0.5, -0.25
    r2 = x * x + y * y
    stretch = 1 + 0.1 * r2 + 0.2 * r2 * r2
    u = x * stretch + 2 * 0.01 * x * y + 0.02 * (r2 + 2 * x * x)
    v = y * stretch + 0.01 * (r2 + 2 * y * y) + 2 * 0.02 * x * y
    expected = torch.tensor([10 * u + 3, 20 * v + 4], dtype=torch.float64)
    torch.testing.assert_close(lens.pixels(torch.tensor([x, y], dtype=torch.float64)), expected)


def test_a_reduced_picture_takes_its_lens_along() -> None:
    small = PINCUSHION.resized((35, 48))
    torch.testing.assert_close(small.matrix[:2], PINCUSHION.matrix[:2] / 2)
    assert small.radial == PINCUSHION.radial
    with pytest.raises(FileError, match="expected 96x70 px or a reduced picture of that shape"):
        PINCUSHION.resized((48, 48))


@pytest.mark.parametrize("lens", [BARREL, PINCUSHION])
def test_a_straight_picture_is_what_a_pinhole_sees(lens: Lens) -> None:
    shots = shoot(lens, frames=1)
    straight, K = straighten(torch.from_numpy(shots.frames[0]).float(), lens)
    pinhole = Lens((float(K[0, 0]), float(K[1, 1])), lens.centre, lens.size)
    truth = torch.from_numpy(shoot(pinhole, frames=1).frames[0]).float()
    assert colour_error(straight, truth) < 0.6
    assert colour_error(torch.from_numpy(shots.frames[0]), truth) > 2.0


def test_a_straight_picture_is_filled_to_its_borders() -> None:
    white = torch.full((70, 96, 3), 255.0)
    straight, K = straighten(white, PINCUSHION)
    assert bool((straight.round() == 255).all())
    assert 1 < float(K[0, 0]) / PINCUSHION.focal[0] < 1.2
    corners = torch.tensor([[0.0, 0.0], [96.0, 0.0], [0.0, 70.0], [96.0, 70.0]]).double()
    rays = (corners - K[:2, 2]) / K.diagonal()[:2]
    seen = PINCUSHION.pixels(rays)
    assert bool(((seen >= 0) & (seen <= seen.new_tensor([96, 70]))).all())
    # A barrel sees more than its pinhole: nothing has to be cut.
    assert torch.equal(
        Lens((60.0, 60.0), (48.0, 35.0), (70, 96), (-0.1,)).straight_matrix(),
        Lens((60.0, 60.0), (48.0, 35.0), (70, 96)).matrix,
    )


def test_nothing_is_touched_without_distortion() -> None:
    lens = Lens((60.0, 60.0), (48.0, 35.0), (70, 96))
    picture = torch.rand(70, 96, 3, generator=torch.Generator().manual_seed(0))
    straight, K = straighten(picture, lens)
    assert straight is picture
    assert torch.equal(K, lens.matrix)
    assert torch.equal(look_up(picture, lens, K, lens.size), picture)


def test_maps_of_another_camera_at_the_same_place() -> None:
    shots = shoot(BARREL, frames=1)
    other = Lens((50.0, 50.0), (32.0, 24.0), (48, 64))
    K = other.matrix
    found = look_up(shots.depth[0][..., None], BARREL, K, other.size)[..., 0]
    truth = shoot(other, frames=1).depth[0]
    off = (found / truth - 1).abs()
    assert float((off[found > 0] < 0.03).double().mean()) > 0.97
    wide = torch.diag(torch.tensor([20.0, 20.0, 1.0])).double()
    wide[:2, 2] = torch.tensor([32.0, 24.0])
    outside = look_up(shots.depth[0][..., None], BARREL, wide, other.size)
    assert float(outside[0, 0, 0]) == 0.0  # the lens did not see so far aside


@pytest.mark.parametrize(
    ("lens", "message"),
    [
        (Lens((60.0, 60.0), (48.0, 35.0), (70, 96), (-0.9,)), "straightened by a zoom below 1.5"),
        (Lens((60.0, 60.0), (48.0, 35.0), (70, 96), (2.5,)), "straightened by a zoom below 1.5"),
        (Lens((60.0, 60.0), (48.0, 35.0), (70, 96), (float("nan"),)), "distortion"),
        (Lens((60.0, 60.0), (99.0, 35.0), (70, 96)), "lens: .*principal point"),
        (Lens((-60.0, 60.0), (48.0, 35.0), (70, 96)), "lens: .*fx, fy > 0"),
    ],
)
def test_impossible_lenses_are_refused(lens: Lens, message: str) -> None:
    with pytest.raises(FileError, match=message):
        lens.check()


def test_the_room_is_the_same_for_any_rays() -> None:
    shots = shoot(PINCUSHION, frames=2)
    rays = torch.tensor([[[[0.1, -0.2, 1.0]]]], dtype=torch.float64).expand(2, 1, 1, 3)
    assert cast_rays(shots.world_from_camera, rays).shape == (2, 1, 1)
    assert float(colours(torch.zeros(1, 3)).min()) >= 27

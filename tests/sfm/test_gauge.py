import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jog3r.geometry import rigid
from jog3r.sfm import gauge
from tests.sfm.conftest import arc


def some_similarity(seed: int) -> tuple[torch.Tensor, float]:
    generator = torch.Generator().manual_seed(seed)
    turn, shift = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    return rigid(roma.rotvec_to_rotmat(turn), shift), 0.1 + 5 * float(turn.square().sum())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_fit_finds_the_similarity_that_was_applied(seed: int) -> None:
    source, (transform, scale) = arc(6).double(), some_similarity(seed)
    target = transform @ gauge.move(source, scale)
    fit = gauge.fit_cameras(source, target)
    assert fit is not None
    torch.testing.assert_close(fit.cameras(source), target, rtol=0, atol=1e-6)


def test_fit_of_cameras_that_stand_still_is_none() -> None:
    still = torch.eye(4).repeat(4, 1, 1)
    assert gauge.fit_cameras(still, arc(4)) is None
    assert gauge.fit_cameras(arc(4), still) is None


def test_first_camera_stands_where_it_is_told() -> None:
    first = arc(3)[2]
    moved = gauge.in_world_of_first(arc(5), first)
    torch.testing.assert_close(moved[0], first)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.booleans(), min_size=6, max_size=6).filter(lambda x: sum(x) >= 2), st.integers())
def test_carried_cameras_are_the_guides(registered: list[bool], seed: int) -> None:
    truth, (transform, scale) = arc(6).double(), some_similarity(abs(seed) % 1000)
    keep = torch.tensor(registered)
    holes = torch.where(keep[:, None, None], truth, torch.eye(4, dtype=torch.float64))
    guide = transform @ gauge.move(truth, scale)
    torch.testing.assert_close(gauge.carry(holes, keep, guide), truth, rtol=0, atol=1e-6)


def test_interpolation_halves_a_turn_and_a_step() -> None:
    turn = torch.tensor([0.0, 0.6, 0.0])
    last = rigid(roma.rotvec_to_rotmat(turn), torch.tensor([2.0, 0.0, 4.0]))
    cameras = torch.stack([torch.eye(4), torch.eye(4), last, torch.eye(4)])
    registered = torch.tensor([True, False, True, False])
    found = gauge.interpolate(cameras, registered)
    half = rigid(roma.rotvec_to_rotmat(turn / 2), torch.tensor([1.0, 0.0, 2.0]))
    torch.testing.assert_close(found, torch.stack([torch.eye(4), half, last, last]))


def test_interpolation_before_the_first_is_the_first() -> None:
    cameras = arc(4)
    found = gauge.interpolate(cameras, torch.tensor([False, False, True, True]))
    assert torch.equal(found[:2], cameras[2:3].expand(2, 4, 4))

"""The record of a clip: what may be missing, what is refused, selecting frames, another size."""

from typing import Any

import pytest
import torch

from jog3r.data.clip import PARTS, Clip
from jog3r.data.clip_fit import fit_clip
from jog3r.data.world import World, WorldConfig
from jog3r.errors import InputError
from jog3r.geometry import project, transform_points

T, H, W = 4, 12, 20


def parts() -> dict[str, Any]:
    depth = torch.linspace(1, 3, T * H * W).reshape(T, H, W)
    return {
        "frames": torch.arange(T * H * W * 3).reshape(T, H, W, 3).to(torch.uint8),
        "fps": 12.0,
        "K": torch.tensor([[9.0, 0, 10], [0, 9.0, 6], [0, 0, 1]]).repeat(T, 1, 1),
        "world_from_camera": torch.eye(4).repeat(T, 1, 1),
        "depth": depth,
        "points_world": depth[..., None].repeat(1, 1, 1, 3),
        "mask": depth > 2,
        "caption": "a room",
    }


def clip(**changed: Any) -> Clip:
    return Clip(**{"id": "a", "source": "mine", "licence": "CC0-1.0", **changed})


def test_any_part_may_be_missing_and_the_record_says_so() -> None:
    assert clip().missing == PARTS
    assert len(clip()) == 0
    assert clip().image_size is None
    whole = clip(**parts())
    assert whole.missing == ()
    assert len(whole) == T
    assert whole.image_size == (H, W)
    for name in PARTS:
        lacking = clip(**{**parts(), name: None})
        assert lacking.missing == (name,)
        assert not lacking.has("frames", name)
        assert lacking.has(*(set(PARTS) - {name}))


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"id": " "}, "id: expected a name, got an empty one"),
        ({"source": ""}, "source: expected a name"),
        ({"licence": ""}, "licence: expected a name"),
        ({"caption": " \n"}, "a: expected a caption or None, got an empty one; use None"),
        ({"scale": "feet"}, "a: expected a scale of .*, got 'feet'"),
        ({"fps": 0.0}, "fps: expected frames per second"),
        ({"fps": "12"}, "fps: expected frames per second"),
        ({"frames": parts()["frames"].float()}, "a: frames: expected torch.uint8"),
        ({"frames": parts()["frames"][..., :1]}, r"a: frames: expected \(T, H, W, 3\)"),
        ({"frames": torch.tensor(1, dtype=torch.uint8)}, r"a: frames: expected \(T, H, W, 3\)"),
        ({"frames": parts()["frames"].numpy()}, "a: frames: expected a tensor"),
        ({"frames": parts()["frames"][:0]}, r"a: frames: expected \(T, H, W, 3\), got \(0,"),
        ({"K": parts()["K"][0]}, r"a: K: expected \(T, 3, 3\)"),
        ({"K": parts()["K"] * 9}, "a: K: expected"),
        ({"K": parts()["K"].double()}, "a: K: expected torch.float32"),
        ({"K": parts()["K"][:2]}, "a: expected parts of one length, got .*'K': 2"),
        ({"world_from_camera": torch.zeros(T, 4, 4)}, "a: world_from_camera: expected"),
        ({"depth": -parts()["depth"]}, "a: expected depth of at least 0"),
        ({"depth": parts()["depth"] / 0}, "a: expected depth of at least 0"),
        ({"depth": parts()["depth"] * torch.nan}, "a: expected depth of at least 0"),
        ({"depth": parts()["depth"][:, 1:]}, "a: expected maps of one size, got .*depth"),
        ({"depth": parts()["depth"].requires_grad_()}, "a: depth: expected a plain tensor"),
        ({"points_world": parts()["points_world"] / 0}, "a: expected points or NaN, got infinite"),
        ({"mask": parts()["mask"].float()}, "a: mask: expected torch.bool"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_makes_no_clip_is_refused(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        clip(**{**parts(), **changed})


def test_points_may_be_unknown_and_depth_may_be_zero() -> None:
    known = clip(points_world=torch.full((T, H, W, 3), torch.nan), depth=torch.zeros(T, H, W))
    assert known.has("points_world", "depth")


def test_frames_are_selected_in_all_parts_and_in_any_order() -> None:
    whole = clip(**parts())
    back = whole.select([3, 1])
    for name in ("frames", "K", "world_from_camera", "depth", "points_world", "mask"):
        assert torch.equal(getattr(back, name), getattr(whole, name)[[3, 1]])
    assert (back.id, back.caption, back.scale) == ("a", "a room", "relative")


@pytest.mark.parametrize(
    ("frames", "fps"),
    [([0, 1, 2], 12.0), ([3, 1], 6.0), ([2], 12.0), ([0, 1, 3], None), ([2, 2], None)],
    ids=str,
)
def test_the_frame_rate_follows_the_stride(frames: list[int], fps: float | None) -> None:
    assert clip(**parts()).select(frames).fps == fps
    assert clip(**{**parts(), "fps": None}).select(frames).fps is None


@pytest.mark.parametrize("frames", [[], [4], [-1]], ids=str)
def test_frames_that_are_not_there_are_refused(frames: list[int]) -> None:
    with pytest.raises(InputError, match="a: expected some of the frames 0 to 3"):
        clip(**parts()).select(frames)


def test_replacing_checks_again() -> None:
    assert clip().replaced(caption="a hall").caption == "a hall"
    with pytest.raises(InputError, match="fps"):
        clip().replaced(fps=0.0)


def test_crops_and_resizes_update_intrinsics() -> None:
    world = World(WorldConfig(size=64)).clip(3, 2)
    maps = {name: torch.from_numpy(getattr(world, name)) for name in ("frames", "depth", "K")}
    cameras = torch.from_numpy(world.world_from_camera)
    points = torch.from_numpy(world.points_world())
    points[maps["depth"] == 0] = torch.nan
    whole = clip(**maps, world_from_camera=cameras, points_world=points, mask=maps["depth"] > 0)
    small = fit_clip(whole, (24, 32))
    assert small.image_size == (24, 32)
    assert small.world_from_camera is cameras
    assert small.K is not None
    assert small.points_world is not None
    assert small.depth is not None
    assert small.frames is not None
    # 64x64 -> the 48 middle rows -> half of the size.
    assert torch.allclose(small.K[0, :2, 2], torch.tensor([16.0, 12.0]))
    assert torch.allclose(small.K[:, 0, 0], maps["K"][:, 0, 0] / 2)
    # Every point is still seen by the pixel that holds it, to the half of an old pixel.
    camera = transform_points(torch.linalg.inv(cameras), small.points_world)
    pixels, depth = project(camera, small.K)
    known = small.points_world.isfinite().all(dim=-1)
    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(32), indexing="ij")
    centres = torch.stack([columns, rows], dim=-1) + 0.5
    assert known.float().mean() > 0.8
    assert float((pixels - centres)[known].abs().max()) < 0.26
    assert torch.allclose(depth[known], small.depth[known], atol=1e-4)
    assert small.frames.float().mean() == pytest.approx(
        maps["frames"][:, 8:56].float().mean().item(), abs=0.5
    )


def test_a_clip_of_that_size_or_without_pixels_stays_as_it_is() -> None:
    whole = clip(**parts())
    assert fit_clip(whole, (H, W)) is whole
    assert fit_clip(clip(), (H, W)).missing == PARTS


def test_a_mask_is_used_only_where_all_of_it_may_be() -> None:
    mask = torch.ones(1, 4, 4, dtype=torch.bool)
    mask[0, 0, 0] = False
    small = fit_clip(clip(mask=mask), (2, 2)).mask
    assert small is not None
    assert small.tolist() == [[[False, True], [True, True]]]


def test_no_size_is_refused() -> None:
    with pytest.raises(InputError, match="image_size"):
        fit_clip(clip(**parts()), (0, 4))

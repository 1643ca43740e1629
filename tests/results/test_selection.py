"""The rule behind every export: each option does what it says, alone and together."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jog3r import InputError, PointCloud, Reconstruction
from jog3r.results import PointSelection
from jog3r.results.selection import chosen_pixels, thinned_pixels

EVERYTHING = PointSelection(drop_fraction=0.0)


def with_flying_pixels(scene: Reconstruction) -> tuple[Reconstruction, torch.Tensor]:
    """Blur the depth as upsampling does; the second says which pixels lie in the air."""
    blurred = torch.nn.functional.avg_pool2d(scene.depth[:, None], 3, 1, 1, count_include_pad=False)
    blurred = blurred[:, 0]
    return replace(scene, depth=blurred), (blurred / scene.depth - 1).abs() > 0.05


def median(values: torch.Tensor) -> float:
    """Return the upper of both middle values."""
    return float(values.sort().values[len(values) // 2])


def same_points(a: PointCloud, b: PointCloud) -> bool:
    return {*map(tuple, a.points.tolist())} == {*map(tuple, b.points.tolist())}


def test_plain_values_go_through_json() -> None:
    full = PointSelection(
        drop_fraction=0.1,
        max_depth_ratio=3.0,
        max_slant_deg=85.0,
        voxel_ratio=1 / 512,
        outlier_neighbours=20,
        outlier_std_ratio=1.5,
        normal_neighbours=30,
        max_points=1000,
    )
    for selection in (full, PointSelection()):
        assert PointSelection(**json.loads(json.dumps(asdict(selection)))) == selection


@pytest.mark.parametrize(
    "changes",
    [
        {"drop_fraction": 20},
        {"drop_fraction": 1.0},
        {"drop_fraction": -0.1},
        {"drop_fraction": math.nan},
        {"max_depth_ratio": 0.0},
        {"max_depth_ratio": math.nan},
        {"max_slant_deg": 0.0},
        {"max_slant_deg": 91.0},
        {"voxel_ratio": -0.1},
        {"voxel_ratio": 1.5},
        {"outlier_neighbours": 0},
        {"outlier_neighbours": 2.5},
        {"outlier_std_ratio": 0.0},
        {"outlier_std_ratio": math.nan},
        {"normal_neighbours": 2},
        {"max_points": 0},
        {"max_points": True},
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_values_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(changes))}: expected"):
        PointSelection(**changes)


def test_the_defaults_are_those_of_points(world_scene: Reconstruction) -> None:
    assert world_scene.points == world_scene.select_points(PointSelection())
    assert world_scene.points == world_scene.select_points(PointSelection(drop_fraction=0.2))


def test_points_are_those_of_the_pixels_bit_by_bit(world_scene: Reconstruction) -> None:
    pixels = world_scene.point_mask(EVERYTHING)
    cloud = world_scene.select_points(EVERYTHING)
    assert torch.equal(cloud.points, world_scene.points_world[pixels])
    assert torch.equal(cloud.colors, world_scene.video.frames[pixels])
    assert cloud.normals is None


def test_deep_pixels_are_left_out(world_scene: Reconstruction) -> None:
    selection = replace(EVERYTHING, max_depth_ratio=1.5)
    depth = world_scene.depth
    valid = depth > 0
    expected = valid & (depth <= 1.5 * median(depth[valid]))
    assert torch.equal(world_scene.point_mask(selection), expected)
    assert 0 < int(expected.sum()) < int(valid.sum())
    # The median is that of the pixels inside the mask.
    near = depth < 0.8 * median(depth[valid])
    masked = world_scene.point_mask(selection, mask=near)
    limit = 1.5 * median(depth[near & valid])
    assert torch.equal(masked, near & valid & (depth <= limit))


def test_most_flying_pixels_and_few_others_are_left_out(world_scene: Reconstruction) -> None:
    scene, flying = with_flying_pixels(world_scene)
    assert 0.01 < flying.float().mean() < 0.2
    kept = scene.point_mask(replace(EVERYTHING, max_slant_deg=80.0))
    assert kept[flying].float().mean() < 0.3
    assert kept[~flying].float().mean() > 0.9
    wider = scene.point_mask(replace(EVERYTHING, max_slant_deg=89.0))
    assert bool((wider | ~kept).all())
    assert int(wider.sum()) > int(kept.sum())


def test_pixels_beside_a_hole_count_as_slanted(world_scene: Reconstruction) -> None:
    depth = torch.full_like(world_scene.depth, 2.0)
    depth[:, 20:30, 20:30] = 0
    kept = replace(world_scene, depth=depth).point_mask(replace(EVERYTHING, max_slant_deg=80.0))
    assert kept[0, 0, 0]
    assert not kept[0, 25, 19]
    assert kept[0, 25, 17]


@settings(deadline=None, max_examples=10)
@given(fraction=st.floats(0, 0.9), ratio=st.floats(0.5, 3), slant=st.floats(30, 90))
def test_pixel_steps_do_not_depend_on_each_other(
    fraction: float, ratio: float, slant: float
) -> None:
    from tests.results.conftest import build_world_scene  # hypothesis runs without fixtures

    generator = torch.Generator().manual_seed(0)
    scene = build_world_scene()
    scene = replace(scene, confidence=1 + torch.rand(scene.depth.shape, generator=generator))
    one_by_one = [
        PointSelection(drop_fraction=fraction),
        replace(EVERYTHING, max_depth_ratio=ratio),
        replace(EVERYTHING, max_slant_deg=slant),
    ]
    together = PointSelection(drop_fraction=fraction, max_depth_ratio=ratio, max_slant_deg=slant)
    a, b, c = map(scene.point_mask, one_by_one)
    assert torch.equal(scene.point_mask(together), a & b & c)


def test_steps_on_points_follow_each_other(world_scene: Reconstruction) -> None:
    cloud = world_scene.select_points(EVERYTHING)
    small = cloud.voxel_downsampled(cloud.extent / 64)
    selection = replace(EVERYTHING, voxel_ratio=1 / 64)
    assert world_scene.select_points(selection) == small
    clean = small.without_outliers(10, 1.5)
    selection = replace(selection, outlier_neighbours=10, outlier_std_ratio=1.5)
    assert world_scene.select_points(selection) == clean
    assert 0 < len(clean) < len(small) < len(cloud)
    selection = replace(selection, max_points=100)
    assert world_scene.select_points(selection) == clean.thinned(100)


def test_every_frame_keeps_its_share(world_scene: Reconstruction) -> None:
    uneven = world_scene.depth > 0
    uneven[1, 20:] = False
    uneven[2] = False
    everything = world_scene.select_points(EVERYTHING, mask=uneven)
    for most in (1, 100, 1001):
        thin = thinned_pixels(uneven, most)
        assert int(thin.sum()) == most
        assert not bool((thin & ~uneven).any())
        assert torch.equal(thin, thinned_pixels(uneven, most))
        expected = most * uneven.sum(dim=(1, 2)) / uneven.sum()
        assert (thin.sum(dim=(1, 2)) - expected).abs().max() <= 1
        selection = replace(EVERYTHING, max_points=most)
        cloud = world_scene.select_points(selection, mask=uneven)
        assert torch.equal(cloud.points, world_scene.points_world[thin])
    assert thinned_pixels(uneven, int(uneven.sum())) is uneven
    assert (
        world_scene.select_points(replace(EVERYTHING, max_points=None), mask=uneven) == everything
    )


def test_steps_on_points_see_all_of_them(world_scene: Reconstruction) -> None:
    for step in ({"voxel_ratio": 1 / 64}, {"outlier_neighbours": 10}, {"normal_neighbours": 12}):
        selection = replace(EVERYTHING, max_points=100, **step)
        without = world_scene.select_points(replace(selection, max_points=None))
        assert world_scene.select_points(selection) == without.thinned(100)


@settings(deadline=None, max_examples=50)
@given(
    values=st.lists(st.floats(1, 2.0**100, width=32), min_size=1, max_size=60),
    fraction=st.floats(0, 1, exclude_max=True),
)
def test_the_least_confident_go_first(values: list[float], fraction: float) -> None:
    count = len(values)
    confidence = torch.tensor(values).reshape(1, 1, count)
    valid = torch.ones_like(confidence, dtype=torch.bool)
    K = torch.tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]]])
    kept = chosen_pixels(
        PointSelection(drop_fraction=fraction), valid, torch.ones_like(confidence), confidence, K
    )
    least = confidence.flatten().sort().values[min(int(fraction * count), count - 1)]
    assert torch.equal(kept, confidence >= least)


def test_normals_face_the_camera_that_saw_the_point(world_scene: Reconstruction) -> None:
    from jog3r.geometry import normals_from_pointmap, unproject

    cloud = world_scene.select_points(replace(EVERYTHING, normal_neighbours=12))
    pixels = world_scene.point_mask(EVERYTHING)
    frames = pixels.nonzero()[:, 0]
    position = world_scene.cameras.world_from_camera[frames, :3, 3]
    assert cloud.normals is not None
    assert ((position - cloud.points) * cloud.normals).sum(dim=1).min() >= -1e-5
    camera = normals_from_pointmap(unproject(world_scene.depth, world_scene.cameras.K))
    rotation = world_scene.cameras.world_from_camera[:, None, None, :3, :3]
    truth = (rotation @ camera[..., None])[..., 0][pixels]
    assert (truth * cloud.normals).sum(dim=1).median() > 0.99
    small = world_scene.select_points(
        replace(EVERYTHING, voxel_ratio=1 / 64, normal_neighbours=12, outlier_neighbours=10)
    )
    assert small.normals is not None
    torch.testing.assert_close(small.normals.norm(dim=1), torch.ones(len(small)))


def test_the_own_mask_counts_in_every_step(world_scene: Reconstruction) -> None:
    left = torch.zeros_like(world_scene.depth, dtype=torch.bool)
    left[:, :, :32] = True
    selection = PointSelection(
        max_depth_ratio=2.0, max_slant_deg=85.0, voxel_ratio=1 / 64, max_points=500
    )
    own = replace(world_scene, mask=left).select_points(selection)
    assert own == world_scene.select_points(selection, mask=left)
    assert not same_points(own, world_scene.select_points(selection))


def test_everything_masked_is_an_empty_cloud_or_a_typed_error(world_scene: Reconstruction) -> None:
    scene = replace(world_scene, mask=torch.zeros_like(world_scene.depth, dtype=torch.bool))
    selection = PointSelection(max_depth_ratio=2.0, max_slant_deg=85.0, max_points=5)
    assert len(scene.select_points(selection)) == 0
    with pytest.raises(InputError, match="expected some to measure their extent, got none"):
        scene.select_points(PointSelection(voxel_ratio=0.1))
    with pytest.raises(InputError, match=r"points: expected \(n, 3\) with n above 20"):
        scene.select_points(PointSelection(outlier_neighbours=20))
    with pytest.raises(InputError, match="neighbours: expected 3 to 0"):
        scene.select_points(PointSelection(normal_neighbours=30))


def test_maps_may_lie_in_files(world_scene: Reconstruction, tmp_path: Path) -> None:
    names = ("depth", "confidence")
    for name in names:
        np.save(tmp_path / f"{name}.npy", getattr(world_scene, name).numpy())
    maps = {
        name: torch.from_numpy(np.load(tmp_path / f"{name}.npy", mmap_mode="r+")) for name in names
    }
    scene = replace(world_scene, **maps)  # type: ignore[arg-type]
    assert scene.points == world_scene.points
    (tmp_path / "depth.npy").unlink()  # the map keeps the file alive
    maps["depth"][0, 0, 0] = math.nan
    with pytest.raises(InputError, match="depth: expected finite values, got 1 NaN"):
        replace(world_scene, **maps)  # type: ignore[arg-type]

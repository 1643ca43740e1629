"""The unit of depth by reprojection: the world's exact depth, and real depth of a device."""

import json
import math
from pathlib import Path

import pytest
import torch

from jog3r.data.clip import Clip
from jog3r.data.depth_unit import check_depth_units, depth_unit, require_depth_unit
from jog3r.data.readers.registry import open_reader
from jog3r.data.world import HELD_OUT, World, WorldConfig
from jog3r.errors import FileError, InputError


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """Three whose cameras move enough; the others of the first six show a parallax of 4 %."""
    reader = open_reader(None, "world", clips=6, first_seed=HELD_OUT, frames=16)
    return [reader.read(reader.index.entries[place]) for place in (0, 1, 5)]


def scaled(clip: Clip, factor: float) -> Clip:
    assert clip.depth is not None
    return clip.replaced(depth=clip.depth * factor)


@pytest.mark.parametrize("factor", [1.0, 10.0, 0.1, 100.0, 0.01, 1000.0, 0.001])
def test_the_factor_between_depth_and_cameras_is_found(clips: list[Clip], factor: float) -> None:
    for clip in clips:
        unit = depth_unit(scaled(clip, 1 / factor))
        assert unit.verdict == ("right" if factor == 1.0 else "wrong")
        assert unit.factor == factor
        assert unit.best_error < 0.03
        assert f"times {factor:g}" in str(unit)


def test_factors_of_no_unit_are_told_as_numbers(clips: list[Clip]) -> None:
    told = depth_unit(scaled(clips[0], 1 / 3.0)).factor
    assert told == pytest.approx(3.0, rel=0.1)


def test_noise_of_scale_is_no_wrong_unit(clips: list[Clip]) -> None:
    assert depth_unit(scaled(clips[0], 1.2)).verdict == "right"


def test_nothing_is_told_without_parallax(clips: list[Clip]) -> None:
    clip = clips[0]
    assert clip.depth is not None
    assert clip.world_from_camera is not None
    still = clip.replaced(
        depth=clip.depth[:1].repeat(16, 1, 1),
        world_from_camera=clip.world_from_camera[:1].repeat(16, 1, 1),
    )
    for silent in (still, scaled(still, 1000.0), clip.select([0]), scaled(clip, 0.0)):
        unit = depth_unit(silent)
        assert (unit.verdict, unit.factor) == ("cannot tell", None)
        assert str(unit) == "cannot tell"


def test_nothing_is_told_of_depth_without_sense(clips: list[Clip]) -> None:
    clip, seed = clips[0], torch.Generator().manual_seed(0)
    assert clip.depth is not None
    noise = 1 + 3 * torch.rand(clip.depth.shape, generator=seed)
    assert depth_unit(clip.replaced(depth=noise)).verdict == "cannot tell"


def test_a_data_set_stops_where_more_clips_are_wrong_than_right(clips: list[Clip]) -> None:
    assert [unit.verdict for unit in require_depth_unit(clips)] == ["right"] * 3
    without = clips[0].replaced(depth=None)
    one_wrong = [scaled(clips[0], 1000.0), clips[1], clips[2], without]
    assert [unit.verdict for unit in require_depth_unit(one_wrong)] == ["wrong", "right", "right"]
    with pytest.raises(FileError, match=r"2 of 3 clips whose depth fits when multiplied by 0\.001"):
        require_depth_unit([scaled(clips[0], 1000.0), scaled(clips[1], 1000.0), clips[2]])
    check_depth_units([])


def test_a_clip_without_depth_is_refused(clips: list[Clip]) -> None:
    with pytest.raises(InputError, match=r"expected a clip with depth, K and world_from_camera"):
        depth_unit(clips[0].replaced(depth=None))


def test_real_depth_in_millimetres_is_told(shared: Path) -> None:
    from jog3r.data.readers.pictures import read_16_bit

    folder = shared / "data" / "hololens_rgbd"
    frames = json.loads((folder / "cameras.json").read_text())["frames"][:8]
    stored = [torch.from_numpy(read_16_bit(folder / f["depth"]).astype("float32")) for f in frames]
    clip = Clip(
        id="walk",
        source="hololens",
        licence="MIT",
        depth=torch.stack(stored),
        K=torch.tensor([f["K_depth"] for f in frames]),
        world_from_camera=torch.tensor([f["world_from_camera"] for f in frames]),
    )
    unit = depth_unit(clip)
    assert (unit.verdict, unit.factor) == ("wrong", 0.001)
    right = depth_unit(scaled(clip, 0.001))
    assert right.verdict == "right"
    assert right.error < 0.01


@pytest.fixture(scope="module", params=[16, 32, 64])
def exact(request: pytest.FixtureRequest) -> tuple[int, list[Clip]]:
    """Clips of eight frames at sizes of tiny models."""
    world = World(WorldConfig(size=request.param, samples=1, shadows=False))
    made = [world.clip(seed, 8) for seed in range(7000, 7045)]
    clips = [
        Clip(
            id="a",
            source="world",
            licence="CC0-1.0",
            depth=torch.from_numpy(clip.depth),
            K=torch.from_numpy(clip.K),
            world_from_camera=torch.from_numpy(clip.world_from_camera),
        )
        for clip in made
    ]
    return request.param, clips


TOLD = {16: 0.35, 32: 0.45, 64: 0.55}
"""Share of the world's clips that say something: small pictures show little parallax."""


class TestExactClips:
    """What is said is true, at every size; what cannot be known is not said."""

    def test_exact_depth_is_right(self, exact: tuple[int, list[Clip]]) -> None:
        size, clips = exact
        verdicts = [depth_unit(clip).verdict for clip in clips]
        assert "wrong" not in verdicts
        assert verdicts.count("right") >= TOLD[size] * len(clips)

    def test_a_wrong_unit_is_named(self, exact: tuple[int, list[Clip]]) -> None:
        size, clips = exact
        factors = (1000.0, 0.001, 0.1, 10.0, 3.28)
        told = 0
        for number, clip in enumerate(clips):
            stored = factors[number % len(factors)]
            factor = depth_unit(scaled(clip, stored)).factor
            told += factor is not None
            assert factor is None or abs(math.log(factor * stored)) < math.log(1.3), (
                number,
                factor,
            )
        assert told >= (TOLD[size] - 0.15) * len(clips)

    def test_a_standing_camera_tells_nothing(self, exact: tuple[int, list[Clip]]) -> None:
        drawn = torch.Generator().manual_seed(1)
        for clip in exact[1][::3]:
            assert clip.depth is not None
            assert clip.world_from_camera is not None
            poses = clip.world_from_camera[:1].repeat(8, 1, 1)
            noise = 1 + 0.05 * torch.randn(clip.depth.shape, generator=drawn)
            for depth in (clip.depth[:1].repeat(8, 1, 1), clip.depth[:1] * noise):
                still = clip.replaced(depth=depth, world_from_camera=poses)
                assert depth_unit(still).verdict == "cannot tell"

    def test_a_noisy_sensor_is_not_called_wrong(self, exact: tuple[int, list[Clip]]) -> None:
        drawn = torch.Generator().manual_seed(2)
        for clip in exact[1]:
            assert clip.depth is not None
            noise = 1 + 0.1 * torch.randn(clip.depth.shape, generator=drawn)
            unit = depth_unit(clip.replaced(depth=clip.depth * noise.clamp(min=0.5)))
            assert unit.verdict != "wrong"

    def test_random_depth_tells_nothing(self, exact: tuple[int, list[Clip]]) -> None:
        drawn = torch.Generator().manual_seed(3)
        for clip in exact[1][::2]:
            assert clip.depth is not None
            depth = 1 + 3 * torch.rand(clip.depth.shape, generator=drawn)
            assert depth_unit(clip.replaced(depth=depth)).verdict == "cannot tell"


def test_masks_and_pointmaps_are_judged_as_depth(clips: list[Clip]) -> None:
    from jog3r.geometry import pointmap_from_depth

    clip = clips[0]
    assert clip.depth is not None
    assert clip.K is not None
    assert clip.world_from_camera is not None
    points = pointmap_from_depth(clip.depth * 1000.0, clip.K, clip.world_from_camera)
    millimetres = clip.replaced(depth=None, points_world=points)
    assert (depth_unit(millimetres).verdict, depth_unit(millimetres).factor) == ("wrong", 0.001)
    nothing = torch.zeros_like(clip.depth, dtype=torch.bool)
    assert depth_unit(clip.replaced(mask=nothing)).verdict == "cannot tell"

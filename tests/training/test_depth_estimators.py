"""Depth estimates in the unit of the cameras, and depth models of transformers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from jog3r.data.clip import Clip
from jog3r.data.given_depth import given_depth
from jog3r.data.world import World, WorldConfig
from jog3r.errors import FileError, InputError
from jog3r.geometry import pointmap_from_depth
from jog3r.training.depth_estimators import (
    DepthEstimator,
    TransformersDepth,
    estimated_depth,
)


@pytest.fixture(scope="module")
def clip() -> Clip:
    made = World(WorldConfig(size=64, samples=1, shadows=False)).clip(5, 8)
    return Clip(
        id="a",
        source="mine",
        licence="CC0-1.0",
        frames=torch.from_numpy(made.frames),
        K=torch.from_numpy(made.K),
        world_from_camera=torch.from_numpy(made.world_from_camera),
        depth=torch.from_numpy(made.depth),
    )


class Knowing:
    """An estimator that knows the truth but for what its kind cannot know."""

    name = "knowing"

    def __init__(self, gives: Literal["depth", "inverse"], made: Tensor) -> None:
        self.gives: Literal["depth", "inverse"] = gives
        self.made = made

    def __call__(self, frames: Tensor) -> Tensor:
        return self.made


def truth(clip: Clip) -> Tensor:
    assert clip.depth is not None
    return clip.depth


def sparse(clip: Clip) -> Tensor:
    """Return a depth in a hundred pixels or so of every frame."""
    drawn = torch.Generator().manual_seed(0)
    return torch.where(torch.rand(truth(clip).shape, generator=drawn) < 0.03, truth(clip), 0.0)


def test_a_metric_clip_takes_depth_as_it_is(clip: Clip) -> None:
    metric = clip.replaced(depth=None, scale="metric")
    found = estimated_depth(metric, Knowing("depth", truth(clip) * 1.3))
    assert found is not None
    torch.testing.assert_close(found, truth(clip) * 1.3)


def test_cameras_tell_the_factor(clip: Clip) -> None:
    found = estimated_depth(clip.replaced(depth=None), Knowing("depth", truth(clip) / 4.2))
    assert found is not None
    torch.testing.assert_close(found, truth(clip), rtol=0.05, atol=0.0)


def test_known_points_tell_the_factor(clip: Clip) -> None:
    some = clip.replaced(depth=sparse(clip))
    found = estimated_depth(some, Knowing("depth", truth(clip) / 4.2))
    assert found is not None
    torch.testing.assert_close(found, truth(clip), rtol=1e-4, atol=0.0)


def test_known_points_tell_line_and_offset_of_inverse_depth(clip: Clip) -> None:
    slopes = torch.linspace(0.5, 2.0, 8)[:, None, None]
    inverse = slopes / truth(clip).clamp(min=1e-3) + 0.3
    found = estimated_depth(clip.replaced(depth=sparse(clip)), Knowing("inverse", inverse))
    assert found is not None
    kept = found > 0
    assert kept.float().mean() > 0.95
    torch.testing.assert_close(found[kept], truth(clip)[kept], rtol=1e-2, atol=0.0)


def test_frames_with_too_few_points_stay_unknown(clip: Clip) -> None:
    known = sparse(clip)
    known[3] = 0.0
    inverse = 1.0 / truth(clip).clamp(min=1e-3)
    found = estimated_depth(clip.replaced(depth=known), Knowing("inverse", inverse))
    assert found is not None
    assert not found[3].any()
    assert found[4].any()


def test_where_the_unit_cannot_be_told(clip: Clip) -> None:
    assert clip.world_from_camera is not None
    bare = clip.replaced(depth=None)
    assert estimated_depth(bare, Knowing("inverse", 1.0 / truth(clip).clamp(min=1e-3))) is None
    still = bare.replaced(world_from_camera=clip.world_from_camera[:1].repeat(8, 1, 1))
    assert estimated_depth(still, Knowing("depth", truth(clip))) is None
    empty = clip.replaced(depth=torch.zeros_like(truth(clip)))
    assert estimated_depth(empty, Knowing("inverse", truth(clip))) is None


@pytest.mark.parametrize("made", [torch.ones(8, 4, 4), torch.full((8, 64, 64), torch.nan)])
def test_an_estimator_that_gives_something_else(clip: Clip, made: Tensor) -> None:
    with pytest.raises(InputError, match="knowing: expected finite depth of"):
        estimated_depth(clip, Knowing("depth", made))


def test_depth_of_pointmaps_and_masks(clip: Clip) -> None:
    assert clip.K is not None
    assert clip.world_from_camera is not None
    points = pointmap_from_depth(truth(clip), clip.K, clip.world_from_camera)
    points[0, :5] = torch.nan
    mask = torch.ones_like(truth(clip), dtype=torch.bool)
    mask[:, :, 60:] = False
    found = given_depth(clip.replaced(depth=None, points_world=points, mask=mask))
    assert found is not None
    assert not found[0, :5].any()
    assert not found[:, :, 60:].any()
    torch.testing.assert_close(found[1:, :, :60], truth(clip)[1:, :, :60], rtol=1e-4, atol=1e-4)
    assert given_depth(clip.replaced(depth=None)) is None


def glpn(folder: Path) -> None:
    import transformers as tf

    config = tf.GLPNConfig(
        depths=[1] * 4,
        hidden_sizes=[8] * 4,
        num_attention_heads=[1] * 4,
        decoder_hidden_size=8,
        head_in_index=-1,
    )
    tf.GLPNForDepthEstimation(config).save_pretrained(folder)
    tf.GLPNImageProcessor().save_pretrained(folder)


def dpt(folder: Path) -> None:
    import transformers as tf

    config = tf.DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8] * 4,
        fusion_hidden_size=8,
    )
    tf.DPTForDepthEstimation(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    tf.DPTImageProcessor(size=size).save_pretrained(folder)


@pytest.mark.parametrize(("save", "gives"), [(glpn, "depth"), (dpt, "inverse")])
def test_models_of_transformers(
    save: Callable[[Path], None], gives: str, tmp_path: Path, generator: torch.Generator
) -> None:
    torch.manual_seed(0)
    save(tmp_path / "small")
    estimator: Any = TransformersDepth(str(tmp_path / "small"), chunk=2)
    assert isinstance(estimator, DepthEstimator)
    assert estimator.gives == gives
    assert estimator.name.startswith("small (")
    frames = torch.randint(0, 256, (3, 40, 64, 3), generator=generator, dtype=torch.uint8)
    depth = estimator(frames)
    assert depth.shape == (3, 40, 64)
    assert depth.isfinite().all()
    alone = TransformersDepth(str(tmp_path / "small"), chunk=1)(frames)
    torch.testing.assert_close(depth, alone, atol=1e-4, rtol=1e-3)


def test_a_model_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="expected a depth model of transformers, got none"):
        TransformersDepth(str(tmp_path))

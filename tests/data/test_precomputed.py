"""Precomputed clips: what is saved comes back, and wrong files say what is wrong."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from jog3r.data.precomputed import PrecomputedClip, clip_length
from jog3r.errors import FileError, InputError
from jog3r.geometry.transforms import invert, rigid

FRAMES = 5


@pytest.fixture
def clip(generator: torch.Generator) -> PrecomputedClip:
    turns = torch.linalg.qr(torch.randn(FRAMES, 3, 3, generator=generator)).Q
    turns *= torch.linalg.det(turns)[:, None, None]
    K = torch.tensor([[20.0, 0.0, 12.0], [0.0, 20.0, 8.0], [0.0, 0.0, 1.0]])
    return PrecomputedClip(
        latents=torch.randn(4, FRAMES, 2, 3, generator=generator).half().float(),
        text=torch.randn(6, 8, generator=generator).bfloat16().float(),
        text_mask=torch.arange(6) < 4,
        depth=torch.rand(FRAMES, 16, 24, generator=generator).half().float(),
        K=K.expand(FRAMES, -1, -1),
        world_from_camera=rigid(turns, torch.randn(FRAMES, 3, generator=generator)),
        caption="a red cube",
    )


@pytest.fixture
def file(clip: PrecomputedClip, tmp_path: Path) -> Path:
    clip.save(tmp_path / "clip.safetensors")
    return tmp_path / "clip.safetensors"


def test_round_trip_moves_the_world_to_the_first_camera(clip: PrecomputedClip, file: Path) -> None:
    again = PrecomputedClip.load(file)
    assert len(again) == clip_length(file) == FRAMES
    assert again.caption == "a red cube"
    for name in ("latents", "text", "text_mask", "depth", "K"):
        assert torch.equal(getattr(again, name), getattr(clip, name)), name
    poses = clip.world_from_camera
    torch.testing.assert_close(again.world_from_camera, invert(poses[:1]) @ poses)
    torch.testing.assert_close(again.world_from_camera[0], torch.eye(4), atol=1e-6, rtol=0)


@pytest.mark.parametrize("frames", [[0, 2, 4], [4, 2, 0], [3]])
def test_some_frames_in_any_order(clip: PrecomputedClip, file: Path, frames: list[int]) -> None:
    some = PrecomputedClip.load(file, frames)
    assert torch.equal(some.latents, clip.latents[:, frames])
    assert torch.equal(some.depth, clip.depth[frames])
    poses = clip.world_from_camera[frames]
    torch.testing.assert_close(some.world_from_camera, invert(poses[:1]) @ poses)


@pytest.mark.parametrize("frames", [[5], [-1], []])
def test_frames_that_it_does_not_have(file: Path, frames: list[int]) -> None:
    with pytest.raises(InputError, match="frames: expected some of 0 to 4"):
        PrecomputedClip.load(file, frames)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"latents": torch.zeros(4, 3, 2, 3)}, r"depth: expected \(\.\.\., 3, H, W\)"),
        ({"depth": torch.full((FRAMES, 16, 24), float("nan"))}, "depth: expected finite"),
        ({"text_mask": torch.ones(5, dtype=torch.bool)}, r"text_mask: expected \(6,\) booleans"),
        ({"text_mask": torch.ones(6)}, "text_mask: expected"),
        ({"text_mask": torch.zeros(6).bool()}, "text_mask: expected a True among them"),
        ({"depth": torch.full((FRAMES, 16, 24), -1.0)}, "depth: expected at least 0, got -1"),
        ({"world_from_camera": torch.zeros(FRAMES, 4, 4)}, "world_from_camera: expected"),
        ({"K": torch.zeros(FRAMES, 3, 3)}, "K: expected"),
    ],
)
def test_parts_that_do_not_belong_together(
    clip: PrecomputedClip, changed: dict[str, Any], message: str, as_a_user: None
) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(clip, **changed)


@pytest.mark.parametrize("name", ["latents", "depth"])
def test_numbers_that_half_precision_does_not_hold(
    clip: PrecomputedClip, tmp_path: Path, name: str
) -> None:
    large = dataclasses.replace(clip, **{name: torch.full_like(getattr(clip, name), 7e4)})
    with pytest.raises(InputError, match=f"{name}: expected numbers that torch.float16 holds, up"):
        large.save(tmp_path / "clip.safetensors")
    assert not list(tmp_path.iterdir())
    text = torch.full_like(clip.text, 7e4)
    dataclasses.replace(clip, text=text).save(tmp_path / "clip.safetensors")


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-50])


def web_page(file: Path) -> None:
    file.write_text("<!doctype html><title>404</title>")


def without_depth(file: Path) -> None:
    save_file({k: v for k, v in load_file(file).items() if k != "depth"}, file)


def with_fewer_cameras(file: Path) -> None:
    state = load_file(file)
    save_file({**state, "K": state["K"][:2].contiguous()}, file)


def mirrored(file: Path) -> None:
    state = load_file(file)
    state["world_from_camera"][:, :3, 0] *= -1
    save_file(state, file)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncated, "truncated or foreign"),
        (web_page, "truncated or foreign"),
        (without_depth, "depth"),
        (with_fewer_cameras, "expected a precomputed clip"),
        (mirrored, "makes none .*world_from_camera"),
        (Path.unlink, "got no file"),
    ],
)
def test_wrong_files(file: Path, spoil: Any, message: str, as_a_user: None) -> None:
    spoil(file)
    with pytest.raises(FileError, match=rf"clip\.safetensors: .*{message}"):
        PrecomputedClip.load(file)

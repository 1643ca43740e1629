"""Precomputed clips: what is written comes back, and wrong bytes say what is wrong."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from jog3r.data.precomputed import GEOMETRY, PrecomputedClip
from jog3r.data.tensor_parts import AT_ONCE, TensorParts
from jog3r.errors import FileError, InputError
from jog3r.geometry.transforms import invert, rigid

FRAMES = 5
BEFORE = b"something that lies before it"
NAMED = {"clip": '{"id": "a"}'}


@pytest.fixture
def clip(generator: torch.Generator) -> PrecomputedClip:
    turns = torch.linalg.qr(torch.randn(FRAMES, 3, 3, generator=generator)).Q
    turns *= torch.linalg.det(turns)[:, None, None]
    K = torch.tensor([[20.0, 0.0, 12.0], [0.0, 20.0, 8.0], [0.0, 0.0, 1.0]])
    return PrecomputedClip(
        id="shelf/07",
        latents=torch.randn(4, FRAMES, 2, 3, generator=generator).half().float(),
        text=torch.randn(6, 8, generator=generator).bfloat16().float(),
        text_mask=torch.arange(6) < 4,
        depth=torch.rand(FRAMES, 16, 24, generator=generator).half().float(),
        K=K.expand(FRAMES, -1, -1),
        world_from_camera=rigid(turns, torch.randn(FRAMES, 3, generator=generator)),
        caption="a red cube",
        source="mine",
        licence="CC0-1.0",
    )


def read(file: Path, frames: list[int] | None = None) -> PrecomputedClip:
    with file.open("rb", buffering=0) as opened:
        return PrecomputedClip.read(TensorParts(opened, file, len(BEFORE)), frames)


@pytest.fixture
def file(clip: PrecomputedClip, tmp_path: Path) -> Path:
    (tmp_path / "shard").write_bytes(BEFORE + clip.to_bytes())
    return tmp_path / "shard"


def test_round_trip_moves_the_world_to_the_first_camera(clip: PrecomputedClip, file: Path) -> None:
    again = read(file)
    assert len(again) == FRAMES
    assert again.has_geometry
    for name in ("id", "caption", "source", "licence"):
        assert getattr(again, name) == getattr(clip, name), name
    for name in ("latents", "text", "text_mask", "depth", "K"):
        assert torch.equal(getattr(again, name), getattr(clip, name)), name
    poses = clip.world_from_camera
    assert poses is not None
    assert again.world_from_camera is not None
    torch.testing.assert_close(again.world_from_camera, invert(poses[:1]) @ poses)
    torch.testing.assert_close(again.world_from_camera[0], torch.eye(4), atol=1e-6, rtol=0)


@pytest.mark.parametrize("frames", [[0, 2, 4], [4, 2, 0], [3]])
def test_some_frames_in_any_order(clip: PrecomputedClip, file: Path, frames: list[int]) -> None:
    some = read(file, frames)
    assert torch.equal(some.latents, clip.latents[:, frames])
    assert clip.depth is not None
    assert some.depth is not None
    assert torch.equal(some.depth, clip.depth[frames])
    assert clip.world_from_camera is not None
    poses = clip.world_from_camera[frames]
    assert some.world_from_camera is not None
    torch.testing.assert_close(some.world_from_camera, invert(poses[:1]) @ poses)


@pytest.mark.parametrize("frames", [[0, 8], [8, 4, 0], [8, 7, 6, 5, 4, 3, 2, 1, 0]])
def test_large_frames_are_read_one_by_one(tmp_path: Path, frames: list[int]) -> None:
    """The same numbers whether a span is read at once or frame by frame."""
    side = int(AT_ONCE**0.5)
    depth = torch.arange(9.0)[:, None, None] + torch.zeros(9, side, side // 8)
    file = tmp_path / "large"
    file.write_bytes(save({"depth": depth.half()}))
    with file.open("rb", buffering=0) as opened:
        part = TensorParts(opened, file, 0).read("depth", frames)
    assert torch.equal(part.float(), depth[frames])


def test_a_clip_without_geometry(clip: PrecomputedClip, tmp_path: Path) -> None:
    bare = dataclasses.replace(clip, **dict.fromkeys(GEOMETRY))
    (tmp_path / "shard").write_bytes(BEFORE + bare.to_bytes())
    again = read(tmp_path / "shard", [1, 2])
    assert not again.has_geometry
    assert again.K is None
    assert torch.equal(again.latents, clip.latents[:, 1:3])


@pytest.mark.parametrize("frames", [[5], [-1], []])
def test_frames_that_it_does_not_have(file: Path, frames: list[int]) -> None:
    with pytest.raises(InputError, match="frames: expected some of 0 to 4"):
        read(file, frames)


def test_a_caption_longer_than_what_is_read_first(clip: PrecomputedClip, tmp_path: Path) -> None:
    wordy = dataclasses.replace(clip, caption="a very long story, " * 500)
    (tmp_path / "shard").write_bytes(BEFORE + wordy.to_bytes())
    assert read(tmp_path / "shard").caption == wordy.caption


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
        ({"depth": None}, r"geometry: expected all of .* got \['K', 'world_from_camera'\] only"),
        ({"id": ""}, "id: expected a name"),
    ],
)
def test_parts_that_do_not_belong_together(
    clip: PrecomputedClip, changed: dict[str, Any], message: str, as_a_user: None
) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(clip, **changed)


@pytest.mark.parametrize("name", ["latents", "depth"])
def test_numbers_that_half_precision_does_not_hold(clip: PrecomputedClip, name: str) -> None:
    large = dataclasses.replace(clip, **{name: torch.full_like(getattr(clip, name), 7e4)})
    with pytest.raises(InputError, match=f"{name}: expected numbers that torch.float16 holds, up"):
        large.to_bytes()
    dataclasses.replace(clip, text=torch.full_like(clip.text, 7e4)).to_bytes()


def truncated(content: bytes) -> bytes:
    return content[:-50]


def cut_in_the_header(content: bytes) -> bytes:
    return content[:100]


def web_page(_: bytes) -> bytes:
    return b"<!doctype html><title>404</title>" * 10


def without_depth(content: bytes) -> bytes:
    return save({k: v for k, v in load(content).items() if k != "depth"}, NAMED)


def without_text(content: bytes) -> bytes:
    return save({k: v for k, v in load(content).items() if k != "text"}, NAMED)


def without_a_name(content: bytes) -> bytes:
    return save(load(content))


def with_fewer_cameras(content: bytes) -> bytes:
    state = load(content)
    return save({**state, "K": state["K"][:, :2].contiguous()}, NAMED)


def mirrored(content: bytes) -> bytes:
    state = load(content)
    state["world_from_camera"][:, :3, 0] *= -1
    return save(state, NAMED)


def of_another_kind(content: bytes) -> bytes:
    return save({**load(content), "latents": torch.zeros(3, 2, dtype=torch.int64)})


def a_list(_: bytes) -> bytes:
    header = json.dumps([1, 2]).encode()
    return len(header).to_bytes(8, "little") + header


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncated, "truncated or damaged"),
        (cut_in_the_header, "truncated or damaged"),
        (web_page, "truncated or damaged"),
        (a_list, "truncated or damaged"),
        (of_another_kind, "latents"),
        (without_text, "nothing of the name text"),
        (without_depth, "makes none .*geometry"),
        (without_a_name, "makes none .*id"),
        (with_fewer_cameras, "expected a precomputed clip"),
        (mirrored, "makes none .*world_from_camera"),
    ],
)
def test_wrong_bytes(
    clip: PrecomputedClip, tmp_path: Path, spoil: Any, message: str, as_a_user: None
) -> None:
    (tmp_path / "shard").write_bytes(BEFORE + spoil(clip.to_bytes()))
    with pytest.raises(FileError, match=rf"shard at byte 29: .*{message}"):
        read(tmp_path / "shard")

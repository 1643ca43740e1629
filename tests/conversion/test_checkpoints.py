"""Where a checkpoint lies: one file, shards, or a folder."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from jog3r.conversion.checkpoints import read_checkpoint
from jog3r.errors import FileError
from jog3r.weights_file import write_weights

WEIGHTS = {"a": torch.arange(300.0), "b": torch.ones(300), "c": torch.zeros(3)}
BIN_INDEX = "pytorch_model.bin.index.json"


def same(source: Path) -> None:
    tensors = read_checkpoint(source).tensors
    assert set(tensors) == set(WEIGHTS)
    assert all(torch.equal(tensors[name], WEIGHTS[name]) for name in WEIGHTS)


def fails(source: Path, says: str) -> None:
    with pytest.raises(FileError, match=says):
        read_checkpoint(source)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Write two shards of torch.save and their index."""
    folder = tmp_path / "shards"
    folder.mkdir()
    places = {"a": "x-1-of-2.bin", "b": "x-2-of-2.bin", "c": "x-2-of-2.bin"}
    for file in set(places.values()):
        torch.save({name: WEIGHTS[name] for name in places if places[name] == file}, folder / file)
    (folder / BIN_INDEX).write_text(json.dumps({"weight_map": places}))
    return folder


@pytest.mark.parametrize("name", ["model.safetensors", "model.bin", "model"])
def test_safetensors_under_any_name(tmp_path: Path, name: str) -> None:
    save_file(WEIGHTS, tmp_path / name)
    same(tmp_path / name)


@pytest.mark.parametrize("new", [True, False])
def test_a_pickle_named_as_safetensors(tmp_path: Path, new: bool) -> None:
    torch.save(WEIGHTS, tmp_path / "w.safetensors", _use_new_zipfile_serialization=new)
    fails(tmp_path, "w.safetensors: expected a safetensors file, got a Python pickle, .*rename it")
    (tmp_path / "w.safetensors").rename(tmp_path / "w.pth")
    same(tmp_path)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pt", "w.bin", "w.ckpt"])
def test_a_folder_with_one_file(tmp_path: Path, name: str) -> None:
    if name.endswith("safetensors"):
        save_file(WEIGHTS, tmp_path / name)
    else:
        torch.save(WEIGHTS, tmp_path / name)
    (tmp_path / "README.md").write_text("...")
    same(tmp_path)


def test_safetensors_go_before_pickles(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    (tmp_path / "w.bin").write_bytes(b"not looked at")
    same(tmp_path)


def test_variants_stand_back(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    (tmp_path / "w.fp16.safetensors").write_bytes(b"not looked at")
    same(tmp_path)


def test_shards_of_safetensors(tmp_path: Path) -> None:
    write_weights(WEIGHTS, tmp_path, max_shard_size=1500)
    assert len(list(tmp_path.glob("*-of-*"))) == 2
    same(tmp_path)
    same(tmp_path / "model.safetensors.index.json")


def test_shards_of_pickles(shards: Path) -> None:
    same(shards)
    same(shards / BIN_INDEX)


def test_missing_and_damaged_shards(shards: Path) -> None:
    second = shards / "x-2-of-2.bin"
    content = second.read_bytes()
    second.write_bytes(content[:-10])
    fails(shards, "x-2-of-2.bin: expected a checkpoint, got a truncated")
    torch.save({"b": WEIGHTS["b"]}, second)
    fails(shards, "x-2-of-2.bin: expected the 2 tensors that .* places there, got others")
    second.unlink()
    fails(shards, r"expected 2 shards beside it, got 1 missing \['x-2-of-2.bin'\]")
    (shards / BIN_INDEX).write_text("{}")
    fails(shards, "expected an index of shards .*, got other JSON")
    (shards / BIN_INDEX).write_text('{"weight_map": {"a": "x-1-')
    fails(shards, "expected an index of shards .*, got no JSON, or a truncated one")
    (shards / BIN_INDEX).unlink()
    fails(shards, "expected an index .* beside the shards of a checkpoint, got none beside")


def test_nothing_there(tmp_path: Path) -> None:
    fails(tmp_path / "none", "none: expected a checkpoint, got nothing there; check the path")
    fails(tmp_path, "got an empty folder; give the folder or file")
    (tmp_path / "vae").mkdir()
    (tmp_path / "two-of-a-kind.txt").touch()
    fails(tmp_path, r"got \['two-of-a-kind.txt', 'vae'\]; give the folder or file")


def test_a_place_that_cannot_be_read(tmp_path: Path) -> None:
    # A name that is too long fails as a folder does that may not be read; tests run as root too.
    fails(tmp_path / ("x" * 300), r"got a place that cannot be read \(.+\); check the path and its")


def test_several_checkpoints(tmp_path: Path) -> None:
    for name in ("a.pth", "b.pth"):
        torch.save(WEIGHTS, tmp_path / name)
    fails(tmp_path, r"expected one checkpoint, got \['a.pth', 'b.pth'\]; give the path of one")


def test_the_config_beside(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    (tmp_path / "config.json").write_text('{"depth": 3}')
    assert read_checkpoint(tmp_path).hints == {"depth": 3}
    assert read_checkpoint(tmp_path / "w.safetensors").hints == {"depth": 3}
    for content in ("", "[1]", "<html>", "[" * 100_000):
        (tmp_path / "config.json").write_text(content)
        fails(tmp_path, "config.json: expected (JSON beside|keys and values)")

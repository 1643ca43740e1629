"""`jog3r data prepare`, from its words to shards."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from jog3r.cli.data_prepare import (
    depth_source,
    device_of_process,
    part_of,
    part_of_process,
    read_captions,
    size_px,
)
from jog3r.cli.entry import main
from jog3r.data.shards import ShardFolder
from jog3r.errors import FileError, InputError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model.save_pretrained(folder)
    return folder


def prepare(model: Path, out: Path, *words: str) -> int:
    options = ("--option", "clips=3", "frames=4", "size=[16, 16]")
    common = ("data", "prepare", "--as", "world", "--out", str(out), "--model", str(model))
    return main([*common, *options, *words])


def test_it_makes_shards(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(model, tmp_path / "shards", "--clips-per-shard", "2") == 0
    told = capsys.readouterr().out
    assert "portion 2 of 2 is there" in told
    assert "3 with 12 frames" in told
    assert "16x16: 3 clips" in told
    assert ShardFolder(tmp_path / "shards").manifest["clips"] == 3


def test_parts_one_after_the_other(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--clips-per-shard", "1", "--no-progress")
    assert prepare(model, tmp_path / "s", "--part", "1/2", *words) == 0
    assert "part 1/2 is done, others are not yet" in capsys.readouterr().out
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert prepare(model, tmp_path / "s", *words) == 0
    assert ShardFolder(tmp_path / "s").manifest["clips"] == 3


def test_options_reach_the_shards(model: Path, tmp_path: Path) -> None:
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"seed-0": "a red cube", "seed-1": ""}))
    words = ("--captions", str(captions), "--max-frames", "2", "--depth", "none", "--size", "8x16")
    assert prepare(model, tmp_path / "s", *words) == 0
    shards = ShardFolder(tmp_path / "s")
    assert shards.read("8x16-generation", 0).caption == "a red cube"
    assert shards.manifest["frames"] == 4
    assert list(shards.manifest["skipped"]["no-caption"]["ids"]) == ["seed-1"]
    assert prepare(model, tmp_path / "s", *words, "--uncaptioned", "keep") == 2


@pytest.mark.parametrize(
    "words",
    [
        ("--depth", "guessed"),
        ("--depth", "estimator"),
        ("--depth", "given", "more"),
        ("--depth", "colmap"),
        ("--size", "15x16"),
    ],
)
def test_wrong_usage(model: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    assert prepare(model, tmp_path / "s", *words) == 2


def test_words() -> None:
    assert size_px("64x112") == (64, 112)
    assert part_of("3/3") == (2, 3)
    assert depth_source(["estimator", "a/b"]) == ("estimator", "a/b")
    for read, word in ((size_px, "64"), (size_px, "0x8"), (part_of, "3/2"), (part_of, "0/2")):
        with pytest.raises(argparse.ArgumentTypeError, match="expected"):
            read(word)
    with pytest.raises(InputError, match="--depth: expected given, colmap, none or estimator"):
        depth_source(["none", "x"])


@pytest.mark.parametrize(("folder", "out"), [("", "s"), ("films", "")])
def test_paths_without_a_name(folder: str, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["data", "prepare", folder, "--as", "videos", "--out", out])
    assert "expected the name of a file or folder, got none" in capsys.readouterr().err


def test_processes_of_torchrun() -> None:
    assert part_of_process({}) == (0, 1)
    assert part_of_process({"RANK": "3", "WORLD_SIZE": "8"}) == (3, 8)
    with pytest.raises(InputError, match="RANK, WORLD_SIZE: expected numbers"):
        part_of_process({"RANK": "first"})
    assert device_of_process("cuda", {"LOCAL_RANK": "2"}) == "cuda:2"
    assert device_of_process("cpu", {"LOCAL_RANK": "2"}) == "cpu"
    assert device_of_process("cuda", {}) == "cuda"


@pytest.mark.parametrize("content", ["[]", '{"a": 1}', "{", None])
def test_captions_that_are_none(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "captions.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(FileError, match=r"captions\.json: expected JSON such as"):
        read_captions(file)

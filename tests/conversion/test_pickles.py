"""What torch.save may hold: tensors and plain values are read, nothing is run, and no file lies."""

import argparse
import functools
import math
import os
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from jog3r.conversion.checkpoints import Checkpoint, read_checkpoint
from jog3r.conversion.pickles import read_pickle
from jog3r.errors import FileError

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


class Code:
    """Would make a folder, if it were run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def saved(folder: Path, content: Any, name: str = "weights.pth", **options: Any) -> Path:
    torch.save(content, folder / name, **options)
    return folder / name


def fails(file: Path, says: str) -> None:
    with pytest.raises(FileError, match=says) as caught:
        read_checkpoint(file)
    assert str(caught.value).startswith(f"{file}: expected ")
    assert "weights_only" not in str(caught.value)


def same(checkpoint: Checkpoint, expected: dict[str, Tensor] = WEIGHTS) -> None:
    assert set(checkpoint.tensors) == set(expected)
    assert all(torch.equal(checkpoint.tensors[name], expected[name]) for name in expected)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize(
    ("content", "taken_off"),
    [
        (WEIGHTS, []),
        ({"model": WEIGHTS, "epoch": 3}, ["model"]),
        ({"state_dict": {f"module.{k}": v for k, v in WEIGHTS.items()}}, ["state_dict", "module."]),
        ({"ema": WEIGHTS, "model": {"a": torch.zeros(1)}, "opt": {}}, ["ema"]),
        ({"model": {"module": WEIGHTS}}, ["model", "module"]),
        ({"ema": {}, "model": WEIGHTS}, ["model"]),
        ({"ema": {"decay": 0.99, "module": {}}, "model": WEIGHTS}, ["model"]),
        ({f"_orig_mod.model.{k}": v for k, v in WEIGHTS.items()}, ["_orig_mod.", "model."]),
    ],
)
def test_wrappers_and_prefixes_are_taken_off(
    tmp_path: Path, content: dict[str, Any], taken_off: list[str], new: bool
) -> None:
    file = saved(tmp_path, content, _use_new_zipfile_serialization=new)
    checkpoint = read_checkpoint(file)
    same(checkpoint)
    assert checkpoint.taken_off == taken_off
    assert checkpoint.source == file


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.ckpt", "w"])
def test_any_name(tmp_path: Path, name: str) -> None:
    same(read_checkpoint(saved(tmp_path, WEIGHTS, name)))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")
def test_values_stay_in_the_file(tmp_path: Path) -> None:
    file = saved(tmp_path, {"a": torch.zeros(1000)})
    checkpoint = read_checkpoint(file)
    assert str(file) in Path("/proc/self/maps").read_text()
    assert not checkpoint.tensors["a"].any()


class TestOptions:
    def test_those_of_the_training_stand_beside(self, tmp_path: Path) -> None:
        call = " Net(img_size=(5, 6), mode=('exp', -inf, inf), head='dpt', f=g(), **more)"
        args = argparse.Namespace(model=call, lr=0.1)
        hints = read_checkpoint(saved(tmp_path, {"model": WEIGHTS, "args": args})).hints
        assert hints["img_size"] == (5, 6)
        assert hints["mode"] == ("exp", -math.inf, math.inf)
        assert hints["head"] == "dpt"
        assert hints["lr"] == 0.1
        assert "f" not in hints

    @pytest.mark.parametrize("model", ["Net", "Net(", "1 + 1", "import os", 3, "(" * 5000])
    def test_what_is_no_call_tells_nothing(self, tmp_path: Path, model: Any) -> None:
        content = {"model": WEIGHTS, "args": {"model": model}}
        assert read_checkpoint(saved(tmp_path, content)).hints == {"model": model}

    def test_calls_are_not_made(self, tmp_path: Path) -> None:
        content = {"model": WEIGHTS, "args": {"model": f"os.mkdir(path={str(tmp_path / 'new')!r})"}}
        hints = read_checkpoint(saved(tmp_path, content)).hints
        assert hints["path"] == str(tmp_path / "new")
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("new", [True, False])
def test_code_is_named_and_not_run(tmp_path: Path, new: bool) -> None:
    content = {"model": WEIGHTS, "more": Code(tmp_path / "made")}
    file = saved(tmp_path, content, _use_new_zipfile_serialization=new)
    fails(file, r"got a pickle that holds code \((posix|nt)\.mkdir\), which was not run; take the")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_bare_pickle(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(pickle.dumps(Code(tmp_path / "made"), protocol=protocol))
    if protocol:  # the oldest is text, and could be anything
        fails(file, r"holds code \((posix|nt)\.mkdir\), which was not run")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        ({"f": functools.partial(print, 1)}, "builtins.print, functools.partial"),
        ({"model": WEIGHTS, "epoch": np.float64(1)}, "numpy"),
        ({"model": WEIGHTS, "where": Path("x")}, "pathlib"),
    ],
)
def test_other_objects_are_code_too(tmp_path: Path, content: Any, named: str) -> None:
    fails(saved(tmp_path, content), f"holds code .*{named}")


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("keep", [4, 20, 0.3, 0.6, 0.97, -1])
def test_truncated_files(tmp_path: Path, new: bool, keep: float) -> None:
    file = saved(tmp_path, {"model": WEIGHTS}, _use_new_zipfile_serialization=new)
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content)) if 0 < keep < 1 else int(keep)])
    fails(file, "expected a checkpoint, got a truncated or foreign one of [0-9]+ bytes; copy it")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html>\n<html>", "a web page saved under its name; download the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        (b'{"error": "not found"}', r"text \(JSON\)"),
        (b"hello world " * 20, "a truncated or foreign one of 240 bytes"),
        (pickle.dumps({"a": 1}), "a truncated or foreign one"),
        (bytes(range(256)), "a truncated or foreign one"),
    ],
)
def test_foreign_files(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    fails(file, f"expected a checkpoint, got {says}")


def test_values_that_changed_on_their_way(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save({"weight": torch.ones(64, 64)}, file)
    content = bytearray(file.read_bytes())
    place = bytes(content).index(torch.ones(8).numpy().tobytes()) + 1000
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(FileError, match="not those that were written"):
        read_pickle(file)


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz"])
def test_an_archive_of_something_else(tmp_path: Path, mode: Any) -> None:
    inside, file = saved(tmp_path, WEIGHTS, "inside.pth"), tmp_path / "weights.pth"
    if mode == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.write(inside, "inside.pth")
    else:
        with tarfile.open(file, mode) as archive:
            archive.add(inside, "inside.pth")
    fails(file, "got an archive of something else; unpack it, and give what lies in it")


def test_a_file_of_zeros(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(bytes(10240))
    fails(tmp_path / "weights.pth", "a truncated or foreign one of 10240 bytes")


def test_a_compiled_program(tmp_path: Path) -> None:
    program = torch.export.export(torch.nn.Linear(1, 1), (torch.zeros(1, 1),))
    torch.export.save(program, tmp_path / "weights.pt2")
    fails(tmp_path / "weights.pt2", "got ")


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ([torch.ones(1)], "got list"),
        (torch.ones(1), "got Tensor"),
        ({}, "got nothing"),
        ({"optimizer": WEIGHTS, "epoch": 3}, r"got a dictionary with \['optimizer', 'epoch'\]"),
        ({"model": {"a": 1}}, r"got a dictionary with \['a'\]"),
        ({1: torch.ones(1)}, r"got a dictionary with \['1'\]"),
    ],
)
def test_no_tensors_by_name(tmp_path: Path, content: Any, got: str) -> None:
    fails(saved(tmp_path, content), f"expected tensors by name, .*{got}; give the file that holds")


def test_wrappers_that_lie_in_themselves(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["model"] = content["ema"] = content
    fails(saved(tmp_path, content), r"got a dictionary with \['model', 'ema'\]")
    content["state_dict"] = WEIGHTS
    assert read_checkpoint(saved(tmp_path, content)).taken_off == ["state_dict"]


def test_wrappers_without_end(tmp_path: Path) -> None:
    content: dict[str, Any] = {"a": 1}
    for _ in range(200):
        content = {"model": content}
    fails(saved(tmp_path, content), r"got a dictionary with \['model'\]")


@pytest.mark.parametrize("tensor", [torch.ones(2).to_sparse(), torch.ones(2, device="meta")])
def test_tensors_of_other_layouts(tmp_path: Path, tensor: Tensor) -> None:
    fails(saved(tmp_path, {"a": tensor}), r"expected plain tensors, got \['a'\] sparse")

"""Reading recipes, and stages that say only what differs from another one."""

import os
from pathlib import Path

import pytest
import torch

from jog3r.errors import FileError
from jog3r.training.recipes import merged, read_stages
from jog3r.training.run_folders import newest_checkpoint

BASE = """\
stages:
  joint:
    trainer: {max_steps: 10, callbacks: [{class_path: a.B}]}
    model: {class_path: a.Model, init_args: {rate: 1, parts: {one: 1, two: 2}}}
    data: {class_path: a.Data, init_args: {folder: x}}
"""


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_only_what_differs(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", BASE)
    text = """\
stages:
  fine:
    extends: base.yaml:joint
    trainer: {max_steps: 3, callbacks: []}
    model: {init_args: {parts: {two: null}}}
    data: {class_path: b.Data, init_args: {number: 1}}
  own: {trainer: {max_steps: 1}}
"""
    assert read_stages(write(tmp_path, "child.yaml", text)) == {
        "fine": {
            "trainer": {"max_steps": 3, "callbacks": []},
            "model": {
                "class_path": "a.Model",
                "init_args": {"rate": 1, "parts": {"one": 1, "two": None}},
            },
            "data": {"class_path": "b.Data", "init_args": {"number": 1}},
        },
        "own": {"trainer": {"max_steps": 1}},
    }


def test_a_stage_of_the_same_file(tmp_path: Path) -> None:
    text = BASE + "  more: {extends: ':joint', trainer: {max_steps: 20}}\n"
    stages = read_stages(write(tmp_path, "a.yaml", text))
    assert stages["more"]["trainer"] == {"max_steps": 20, "callbacks": [{"class_path": "a.B"}]}
    assert stages["more"]["data"] == stages["joint"]["data"]


def test_what_is_extended_stays_as_it_is() -> None:
    base = {"a": {"b": [1]}}
    assert merged(base, {"a": {"b": [2]}, "c": 3}) == {"a": {"b": [2]}, "c": 3}
    assert base == {"a": {"b": [1]}}


@pytest.mark.parametrize(
    "told", ["base.yaml:none", "base.yaml", "base.yaml:twice", ":self", "3", "null", "[a]"]
)
def test_nothing_to_extend(tmp_path: Path, told: str) -> None:
    write(tmp_path, "base.yaml", BASE + "  twice: {extends: ':joint'}\n")
    file = write(
        tmp_path, "child.yaml", f"stages: {{self: {{extends: {told!r}}}}}".replace("'", '"')
    )
    with pytest.raises(FileError, match=r"child\.yaml: expected extends: FILE:STAGE with a stage"):
        read_stages(file)


def test_the_newest_checkpoint_of_a_recipe_with_several_folders(tmp_path: Path) -> None:
    """What resuming wants is not the newest of the best."""
    folders = [tmp_path / name for name in ("checkpoints", "best")]
    callbacks = [
        {"class_path": "a.ModelCheckpoint", "init_args": {"dirpath": str(folder)}}
        for folder in folders
    ]
    for age, folder in enumerate(folders):
        folder.mkdir()
        for step in (1, 2):
            torch.save({}, folder / f"step={step}.ckpt")
            os.utime(folder / f"step={step}.ckpt", (100 * step - age, 100 * step - age))
    found = newest_checkpoint({"trainer": {"callbacks": callbacks}})
    assert found == folders[0] / "step=2.ckpt"


def test_no_such_file_to_extend(tmp_path: Path) -> None:
    file = write(tmp_path, "child.yaml", "stages: {a: {extends: 'other.yaml:joint'}}")
    with pytest.raises(FileError, match=r"child\.yaml: expected .*, got .*other\.yaml, which does"):
        read_stages(file)

"""What holds for every reader: its name, its layout in the docstring, and refusals of one line."""

import importlib
import inspect
import pickle
from pathlib import Path

import pytest

from jog3r.data.readers.interface import ClipReader
from jog3r.data.readers.registry import HOMES, open_reader
from jog3r.errors import FileError, InputError


def reader_class(name: str) -> type[ClipReader]:
    module, _, attribute = HOMES[name].partition(":")
    return getattr(importlib.import_module(f"jog3r.data.readers.{module}"), attribute)


@pytest.mark.parametrize("name", HOMES)
def test_a_reader_says_who_it_is_and_how_its_folder_is_laid_out(name: str) -> None:
    kind = reader_class(name)
    assert kind.name == name
    assert "Layout" in (inspect.getdoc(kind) or "")
    page = (Path(__file__).parents[3] / "docs" / "data.md").read_text("utf-8")
    assert f"[`{name}`]" in page


@pytest.mark.parametrize("name", HOMES)
def test_a_folder_of_something_else_is_one_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("nothing")
    with pytest.raises(FileError) as caught:
        _ = open_reader(tmp_path, name).index
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(FileError, match="expected a folder of"):
        open_reader(tmp_path / "none", name)
    with pytest.raises(InputError, match="options that its reader takes"):
        open_reader(tmp_path, name, colour="red")


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("name", sorted(set(HOMES) - {"world"}))
def test_a_folder_is_needed(name: str) -> None:
    with pytest.raises(InputError, match=f"folder: expected a folder of {name}, got none"):
        open_reader(None, name)


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data set: expected one of \['re10k', .*got 're1k'"):
        open_reader(tmp_path, "re1k")


def test_a_reader_goes_to_other_processes(tmp_path: Path) -> None:
    from tests.data.readers.films import numbers, write_film

    write_film(tmp_path / "a.mp4", 3)
    reader = open_reader(tmp_path, "videos")
    entry = reader.index.entries[0]
    there, place = pickle.loads(pickle.dumps((reader, entry)))
    assert numbers(there.read(place, [2]).frames) == [2]

"""MegaScenes against the analytic room: many cameras, sizes and lenses in one model."""

from pathlib import Path

import pytest

from jog3r.data.readers.lens import Lens
from jog3r.data.readers.megascenes import MegaScenes
from jog3r.data.readers.registry import open_reader
from jog3r.errors import FileError
from tests.data.readers.trees import (
    Model,
    check_truth,
    colmap_model,
    save,
    shoot,
    write_json,
    write_model_binary,
)

# As COLMAP finds them for photographs of the web: a lens per picture, SIMPLE_RADIAL.
LENSES = [
    Lens((75.0, 75.0), (32.0, 24.0), (48, 64), (-0.04,)),
    Lens((70.0, 70.0), (24.0, 32.0), (64, 48), (0.05,)),
    Lens((90.0, 90.0), (40.0, 30.0), (60, 80), (0.01,)),
]
FILES = [
    "commons/Arco/0/pictures/north.jpg",
    "commons/Arco/0/pictures/Être là.jpg",
    "commons/Arco_in_art/0/pictures/south.jpg",
]


def build(
    folder: Path, names: list[str], *, middle: str = "sparses", scene: str = "000/007"
) -> Model:
    shots = [shoot(lens, frames=1, offset=index) for index, lens in enumerate(LENSES)]
    for file, each in zip(FILES, shots, strict=True):
        save(folder / "images" / scene / file, each.frames[0])
    model = colmap_model(shots, [[name] for name in names])
    write_model_binary(folder / "reconstruct" / scene / middle / "0", model)
    return model


def test_photographs_are_straightened_and_fitted(tmp_path: Path) -> None:
    build(tmp_path, FILES)
    write_json(tmp_path / "metadata/categories.json", {"Arco_degli_Argentari": 7, "Other": 8})
    reader = open_reader(tmp_path, "megascenes", depth=True, size=(48, 48))
    (entry,) = reader.index.entries
    assert (entry.id, entry.length) == ("000/007/0", 3)
    assert reader.index.problems == ()
    clip = reader.read(entry)
    assert clip.image_size == (48, 48)
    check_truth(clip, colour=1.5, depth=0.06)
    assert clip.caption == "Arco degli Argentari"
    assert clip.missing == ("fps", "points_world", "mask")
    assert clip.licence == "CC BY 4.0; photographs: each its own"
    plain = MegaScenes(tmp_path)
    assert plain.read(plain.index.entries[0], [1]).image_size == (512, 512)


@pytest.mark.parametrize(
    "names",
    [
        [file.removeprefix("commons/") for file in FILES],
        [Path(file).name for file in FILES],
    ],
)
def test_images_are_found_by_the_end_of_their_path(tmp_path: Path, names: list[str]) -> None:
    build(tmp_path, names, middle="colmap", scene="422/678")
    reader = MegaScenes(tmp_path, size=(40, 40))
    (entry,) = reader.index.entries
    assert (entry.id, entry.length) == ("422/678/0", 3)
    clip = reader.read(entry)
    check_truth(clip, colour=1.5)
    assert clip.caption is None


def test_a_name_that_two_files_have_is_missing(tmp_path: Path) -> None:
    build(tmp_path, [Path(file).name for file in FILES])
    twin = tmp_path / "images/000/007/commons/Arco_in_art/0/pictures/north.jpg"
    save(twin, shoot(LENSES[0], frames=1).frames[0])
    reader = MegaScenes(tmp_path, size=(40, 40))
    assert reader.index.counted() == {"no-picture": 1}
    assert reader.index.entries[0].length == 2


def test_what_is_broken_is_counted(tmp_path: Path) -> None:
    build(tmp_path, FILES)
    build(tmp_path, FILES, scene="000/008")
    build(tmp_path, FILES, scene="000/009", middle="sparses")
    build(tmp_path, FILES, scene="000/009", middle="colmap")
    path = tmp_path / "reconstruct/000/007/sparses/0/images.bin"
    path.write_bytes(path.read_bytes()[:-20])
    (tmp_path / "images/000/008" / FILES[2]).unlink()
    reader = MegaScenes(tmp_path, size=(40, 40))
    index = reader.index
    assert index.announced == 4
    assert index.unexplained == 0
    assert index.counted() == {"unreadable": 1, "no-picture": 1, "duplicate-id": 1}
    assert [(entry.id, entry.length) for entry in index.entries] == [
        ("000/008/0", 2),
        ("000/009/0", 3),
    ]
    check_truth(reader.read(index.entries[0]), colour=1.5)


def test_names_of_places_in_another_form_stop_the_reading(tmp_path: Path) -> None:
    build(tmp_path, FILES)
    path = tmp_path / "metadata/categories.json"
    for content, message in (([], "expected a JSON object"), ({"Arco": [7]}, "Arco: expected")):
        write_json(path, content)
        with pytest.raises(FileError, match=f"categories.json: {message}"):
            MegaScenes(tmp_path)

"""DL3DV-10K against the analytic room."""

from pathlib import Path

import pytest

from jog3r.data.readers.dl3dv import DL3DV
from jog3r.data.readers.lens import Lens
from jog3r.data.readers.registry import open_reader
from jog3r.errors import InputError
from tests.data.readers.trees import check_truth, dl3dv_scene, shoot

# An ultra-wide phone: about what COLMAP finds for it.
LENS = Lens((43.0, 43.5), (32.5, 17.5), (36, 64), (0.04, -0.03), (0.0006, -0.0004))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dl3dv")
    dl3dv_scene(folder / "1K" / "aa01", shoot(LENS))
    dl3dv_scene(folder / "2K" / "bb02", shoot(LENS, path="forward"), reduced=8)
    return folder


def test_scenes_of_subsets(tree: Path) -> None:
    reader = open_reader(tree, "dl3dv")
    found = [(entry.id, entry.length) for entry in reader.index.entries]
    assert found == [("aa01", 4), ("bb02", 4)]
    assert reader.index.problems == ()
    clips = [reader.read(entry) for entry in reader.index.entries]
    for clip in clips:
        assert clip.image_size == (36, 64)
        check_truth(clip)
    clip = clips[0]
    assert (clip.source, clip.licence) == ("DL3DV-10K", "DL3DV-10K Terms of Use")
    assert clip.missing == ("fps", "depth", "points_world", "mask", "caption")


def test_the_layouts_of_one_subset_and_of_the_benchmark(tree: Path, tmp_path: Path) -> None:
    assert [entry.id for entry in DL3DV(tree / "1K").index.entries] == ["aa01"]
    dl3dv_scene(tmp_path / "cc03" / "nerfstudio", shoot(LENS, frames=2))
    (tmp_path / "cc03" / "gaussian_splat").mkdir()
    reader = DL3DV(tmp_path)
    (entry,) = reader.index.entries
    assert entry.id == "cc03"
    check_truth(reader.read(entry))


def test_the_largest_pictures_are_taken_or_those_asked_for(tmp_path: Path) -> None:
    dl3dv_scene(tmp_path / "aa01", shoot(LENS.resized((18, 32)), frames=2), reduced=8)
    dl3dv_scene(tmp_path / "aa01", shoot(LENS, frames=2), reduced=4)
    for reduced, size in ((None, (36, 64)), (8, (18, 32))):
        reader = DL3DV(tmp_path, reduced=reduced)
        clip = reader.read(reader.index.entries[0])
        assert clip.image_size == size
        check_truth(clip, colour=2.0)
    index = DL3DV(tmp_path, reduced=2).index
    assert index.counted() == {"unreadable": 1}
    assert "expected a folder images_2, got ['images_4', 'images_8']" in index.problems[0].what
    with pytest.raises(InputError, match="reduced: expected 1, 2, 4 or 8, got 0"):
        DL3DV(tmp_path, reduced=0)


def test_what_is_broken_is_counted(tmp_path: Path) -> None:
    for place in ("1K/aa01", "2K/aa01", "2K/bb02", "2K/cc03"):
        dl3dv_scene(tmp_path / place, shoot(LENS, frames=4))
    (tmp_path / "2K/bb02/transforms.json").unlink()
    (tmp_path / "2K/cc03/images_4/frame_00002.png").unlink()
    reader = DL3DV(tmp_path)
    index = reader.index
    assert index.announced == 4
    assert index.unexplained == 0
    counted = {"unreadable": 1, "no-picture": 1, "missing-frames": 1, "duplicate-id": 1}
    assert index.counted() == counted
    assert [(entry.id, entry.length) for entry in index.entries] == [("aa01", 4), ("cc03", 2)]
    assert DL3DV(tmp_path, even=False).index.entries[1].length == 3
    missing = next(problem for problem in index.problems if problem.kind == "no-picture")
    assert missing.where == "2K/cc03/images_4/frame_00002.png"
    for entry in index.entries:
        check_truth(reader.read(entry))

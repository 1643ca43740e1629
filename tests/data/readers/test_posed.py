"""What all readers of frames with cameras share, by the example of nerfstudio folders."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jog3r.data.readers.lens import Lens
from jog3r.data.readers.nerfstudio import NerfstudioFolder
from jog3r.data.readers.registry import open_reader
from jog3r.errors import FileError, InputError
from tests.data.readers.trees import check_truth, save, shoot, transforms, write_json

LENS = Lens((50.0, 52.0), (31.0, 25.0), (48, 64))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shots = shoot(LENS)
    files = [f"images/{index}.png" for index in range(len(shots))]
    for file, frame in zip(files, shots.frames, strict=True):
        save(tmp_path / "room" / file, frame)
    write_json(tmp_path / "room" / "transforms.json", transforms(shots, files, LENS))
    return tmp_path


def edit(tree: Path, change: Callable[[dict], object]) -> None:
    path = tree / "room" / "transforms.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_frames_are_read_on_demand_and_in_any_order(tree: Path) -> None:
    reader = NerfstudioFolder(tree)
    (entry,) = reader.index.entries
    assert (entry.id, entry.length) == ("room", 4)
    whole, part = reader.read(entry), reader.read(entry, [3, 1])
    check_truth(whole)
    assert whole.frames is not None
    assert part.frames is not None
    assert torch.equal(part.frames, whole.frames[[3, 1]])
    save(tree / "room/images/0.png", np.zeros((48, 64, 3), np.uint8))
    (tree / "room/images/2.png").write_bytes(b"not a picture")
    again = NerfstudioFolder(tree).read(entry, [3, 1]).frames
    assert again is not None
    assert torch.equal(again, part.frames)
    for wrong in ([], [4], [-1]):
        with pytest.raises(InputError, match="expected some of the frames 0 to 3"):
            reader.read(entry, wrong)


def _first(entry: str, value: object) -> Callable[[dict], object]:
    return lambda content: content["frames"][0].__setitem__(entry, value)


MIRRORED = np.diag([1.0, 1.0, -1.0, 1.0]).tolist()
INFINITE = np.full((4, 4), -np.inf).tolist()
SCALED = np.diag([2.0, 2.0, 2.0, 1.0]).tolist()


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (_first("file_path", "images/9.png"), "no-picture", "9.png: .*No such file"),
        (_first("file_path", "images/1.png"), "duplicate-id", "the first is used"),
        (_first("transform_matrix", MIRRORED), "camera", "determinant -1"),
        (_first("transform_matrix", SCALED), "camera", "mirrored or scaled"),
        (_first("transform_matrix", INFINITE), "camera", "4x4 finite numbers"),
        (_first("transform_matrix", None), "camera", "4x4 finite numbers"),
        (_first("file_path", None), "camera", "expected the name of a file"),
    ],
)
def test_broken_frames_are_left_out_and_counted(
    tree: Path, change: Callable[[dict], object], kind: str, message: str
) -> None:
    edit(tree, change)
    index = NerfstudioFolder(tree).index
    assert index.counted() == {kind: 1}
    assert index.unexplained == 0
    (problem,) = index.problems
    assert problem.where.startswith("room/")
    with pytest.raises(FileError, match=message):
        raise FileError(problem.what)
    (entry,) = index.entries
    assert entry.length == 3
    check_truth(NerfstudioFolder(tree).read(entry))


def test_an_empty_picture_is_counted(tree: Path) -> None:
    (tree / "room/images/1.png").write_bytes(b"")
    index = NerfstudioFolder(tree).index
    assert index.counted() == {"no-picture": 1}
    assert "empty file" in index.problems[0].what


@pytest.mark.parametrize(
    ("shape", "kind", "message"),
    [((48, 64, 4), np.uint8, "opaque"), ((48, 64), np.uint16, "8-bit colours")],
)
def test_pictures_of_other_kinds_stop_their_reading(
    tree: Path, shape: tuple[int, ...], kind: type, message: str
) -> None:
    save(tree / "room/images/1.png", np.full(shape, 99, kind))
    reader = NerfstudioFolder(tree)
    with pytest.raises(FileError, match=rf"1.png: expected .*{message}"):
        reader.read(reader.index.entries[0])


def test_a_truncated_picture_stops_its_reading(tree: Path) -> None:
    path = tree / "room/images/1.png"
    path.write_bytes(path.read_bytes()[:300])
    reader = NerfstudioFolder(tree)
    (entry,) = reader.index.entries
    with pytest.raises(FileError, match=r"1.png: expected a readable image"):
        reader.read(entry)
    check_truth(reader.read(entry, [0, 2]))


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda content: content.pop("frames"), "unreadable"),
        (lambda content: content.update(frames=[]), "unreadable"),
        (lambda content: content.update(applied_scale=0.5), "unreadable"),
        (lambda content: content.update(fl_x=-5.0), "no-frames"),
        (lambda content: content.update(k1=-3.0), "no-frames"),
        (lambda content: content.update(k1="much"), "no-frames"),
        (lambda content: content.update(camera_model="OPENCV_FISHEYE"), "no-frames"),
    ],
)
def test_scenes_that_cannot_be_used_are_counted(
    tree: Path, change: Callable[[dict], object], kind: str
) -> None:
    edit(tree, change)
    index = NerfstudioFolder(tree).index
    assert index.entries == ()
    assert index.announced == 1
    assert index.unexplained == 0
    assert index.counted()[kind] == 1


def test_distortion_that_cannot_be_straightened_is_counted_as_such(tree: Path) -> None:
    edit(tree, lambda content: content.update(k1=-3.0))
    assert NerfstudioFolder(tree).index.counted() == {"distortion": 4, "no-frames": 1}


def test_a_truncated_file_of_cameras_is_counted(tree: Path) -> None:
    path = tree / "room/transforms.json"
    path.write_text(path.read_text()[:500])
    index = NerfstudioFolder(tree).index
    assert index.counted() == {"unreadable": 1}
    assert "is the file truncated?" in index.problems[0].what


def test_frames_of_another_size_are_left_out_or_fitted(tree: Path) -> None:
    other = Lens((40.0, 40.0), (30.0, 30.0), (60, 60))
    shots = shoot(other, frames=1, offset=2)
    save(tree / "room/images/2.png", shots.frames[0])

    def change(content: dict) -> None:
        shared = {key: content.pop(key) for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")}
        for frame in content["frames"]:
            frame |= shared
        own = {"fl_x": 40.0, "fl_y": 40.0, "cx": 30.0, "cy": 30.0, "w": 60, "h": 60}
        content["frames"][2] |= own

    edit(tree, change)
    reader = NerfstudioFolder(tree)
    assert reader.index.counted() == {"other-size": 1}
    check_truth(reader.read(reader.index.entries[0]))
    fitted = NerfstudioFolder(tree, size=(40, 40))
    assert fitted.index.problems == ()
    clip = fitted.read(fitted.index.entries[0])
    assert clip.image_size == (40, 40)
    assert len(clip) == 4
    assert clip.K is not None
    assert float(clip.K[0, 0, 0]) == pytest.approx(50 * 40 / 48)
    assert float(clip.K[2, 0, 0]) == pytest.approx(40 * 40 / 60)
    check_truth(clip)


def test_pictures_of_another_size_than_their_lens(tree: Path) -> None:
    save(tree / "room/images/2.png", shoot(LENS.resized((24, 32)), frames=1, offset=2).frames[0])
    reader = NerfstudioFolder(tree)
    (entry,) = reader.index.entries
    with pytest.raises(FileError, match="room: expected pictures of one size"):
        reader.read(entry)
    check_truth(reader.read(entry, [2]))  # alone it is a reduced picture, and K follows
    save(tree / "room/images/2.png", np.zeros((48, 48, 3), np.uint8))
    with pytest.raises(FileError, match=r"2.png: expected 64x48 px or a reduced picture"):
        reader.read(entry, [2])


def test_films_are_used_in_even_runs(tree: Path) -> None:
    shots = shoot(LENS, frames=8)
    numbers = [1, 2, 3, 7, 8, 9, 10, 20]
    files = [f"images/{number}.png" for number in numbers]
    for file, frame in zip(files, shots.frames, strict=True):
        save(tree / "room" / file, frame)
    write_json(tree / "room" / "transforms.json", transforms(shots, files, LENS))
    reader = NerfstudioFolder(tree, even=True)
    (entry,) = reader.index.entries
    assert entry.length == 4
    assert reader.index.counted() == {"missing-frames": 1}
    assert "4 of them, is used" in reader.index.problems[0].what
    assert reader.index.unexplained == 0
    clip, truth = reader.read(entry), shots.world_from_camera[3:7].float()
    assert clip.world_from_camera is not None
    torch.testing.assert_close(clip.world_from_camera, truth, atol=1e-6, rtol=1e-6)
    check_truth(clip)
    assert NerfstudioFolder(tree).index.entries[0].length == 8
    (tree / "room/images/8.png").rename(tree / "room/images/one.png")
    edit(tree, lambda content: content["frames"][4].update(file_path="images/one.png"))
    index = NerfstudioFolder(tree, even=True).index
    assert index.counted() == {"unreadable": 1}
    assert "one.png: expected names that number the frames" in index.problems[0].what


def test_bad_calls(tree: Path) -> None:
    with pytest.raises(InputError, match="image_size: expected"):
        NerfstudioFolder(tree, size=(0, 5))
    with pytest.raises(InputError, match="folder: expected a folder of dl3dv, got none"):
        open_reader(None, "dl3dv")
    with pytest.raises(InputError, match="nerfstudio: expected options that its reader takes"):
        open_reader(tree, "nerfstudio", colour="blue")
    with pytest.raises(FileError, match="expected a folder of nerfstudio, got none"):
        NerfstudioFolder(tree / "nowhere")
    empty = tree / "empty"
    empty.mkdir()
    with pytest.raises(FileError, match="expected a folder laid out as nerfstudio"):
        NerfstudioFolder(empty).index  # noqa: B018


def test_the_truth_would_notice_half_a_pixel(tree: Path) -> None:
    reader = NerfstudioFolder(tree)
    clip = reader.read(reader.index.entries[0])
    assert clip.K is not None
    shifted = clip.K.clone()
    shifted[:, :2, 2] += 0.5
    with pytest.raises(AssertionError):
        check_truth(replace(clip, K=shifted))

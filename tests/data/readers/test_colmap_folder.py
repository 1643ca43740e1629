"""COLMAP folders against the analytic room."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jog3r.data.clip import Clip
from jog3r.data.readers.colmap import ColmapFolder
from jog3r.data.readers.lens import Lens
from jog3r.data.readers.registry import open_reader
from jog3r.errors import FileError
from jog3r.geometry import invert, project, transform_points
from tests.data.readers.trees import (
    Model,
    check_truth,
    colmap_model,
    save,
    shoot,
    write_model_binary,
    write_model_text,
)

STRAIGHT = Lens((60.0, 62.0), (33.0, 24.0), (48, 64))
RADIAL = Lens((60.0, 60.0), (33.0, 24.0), (48, 64), (0.06,))
OPENCV = Lens((60.0, 62.0), (33.0, 24.0), (48, 64), (-0.08, 0.01), (0.002, -0.001))
WRITERS = {"text": write_model_text, "binary": write_model_binary}


def build(scene: Path, lens: Lens, kind: str = "binary", place: str = "sparse/0") -> Model:
    shots = shoot(lens)
    # Written out of order: 10 comes after 2.
    numbers = [10, 1, 2, 3]
    names = [f"walk/{number}.png" for number in numbers]
    for name, frame in zip(names, shots.frames, strict=True):
        save(scene / "images" / name, frame)
    save(scene / "images/walk/unregistered.png", shots.frames[0])
    model = colmap_model([shots], [names])
    WRITERS[kind](scene / place, model)
    return model


@pytest.mark.parametrize("lens", [STRAIGHT, RADIAL, OPENCV])
@pytest.mark.parametrize("kind", ["text", "binary"])
def test_pictures_and_sparse_depth(tmp_path: Path, lens: Lens, kind: str) -> None:
    model = build(tmp_path / "room", lens, kind)
    reader = open_reader(tmp_path / "room", "colmap", depth=True)
    (entry,) = reader.index.entries
    assert (entry.id, entry.length) == ("room", 4)
    assert entry.parts == {"frames", "K", "world_from_camera", "depth"}
    clip = reader.read(entry)
    check_truth(clip, depth=0.05)
    # 1, 2, 3, 10: the last one taken is the room's first.
    expected = shoot(lens).world_from_camera[[1, 2, 3, 0]].float()
    assert clip.world_from_camera is not None
    torch.testing.assert_close(clip.world_from_camera, expected, atol=1e-5, rtol=1e-5)
    _check_points(clip, model)


def _check_points(clip: Clip, model: Model) -> None:
    """Every point that an image lists and that its picture shows has its own depth there."""
    assert clip.K is not None
    assert clip.depth is not None
    camera_of = {name: (camera, ids) for name, camera, _, ids in model.images}
    for frame, name in enumerate(["walk/1.png", "walk/2.png", "walk/3.png", "walk/10.png"]):
        camera, ids = camera_of[name]
        world = torch.from_numpy(model.positions[[number - 1 for number in ids]])
        inside = transform_points(torch.from_numpy(camera), world)
        pixel, z = project(inside, clip.K[frame].double())
        kept = ((pixel > 0) & (pixel < pixel.new_tensor([64, 48]))).all(-1)
        column, row = pixel[kept].long().unbind(-1)
        there = clip.depth[frame, row, column].double()
        assert bool((there > 0).all())
        # Of two points in one pixel the nearer is kept.
        assert float(((there - z[kept]).abs() < 1e-4).double().mean()) > 0.9
        assert bool((there <= z[kept] + 1e-4).all())
        assert int((clip.depth[frame] > 0).sum()) <= int(kept.sum())


def test_depth_only_on_request(tmp_path: Path) -> None:
    build(tmp_path / "room", STRAIGHT)
    (tmp_path / "room/sparse/0/points3D.bin").unlink()
    reader = ColmapFolder(tmp_path)
    clip = reader.read(reader.index.entries[0])
    check_truth(clip)
    assert clip.missing == ("fps", "depth", "points_world", "mask", "caption")
    asked = ColmapFolder(tmp_path, depth=True)
    with pytest.raises(FileError, match=r"points3D.bin: expected a binary file"):
        asked.read(asked.index.entries[0])


@pytest.mark.parametrize("place", ["sparse/0", "sparse", "."])
def test_places_of_the_model_and_several_scenes(tmp_path: Path, place: str) -> None:
    build(tmp_path / "room", STRAIGHT, place=place)
    build(tmp_path / "hall", STRAIGHT, kind="text", place=place)
    (tmp_path / "notes").mkdir()
    index = ColmapFolder(tmp_path).index
    assert [entry.id for entry in index.entries] == ["hall", "room"]
    assert index.announced == 2


def test_cameras_of_several_sizes(tmp_path: Path) -> None:
    other = Lens((70.0, 70.0), (30.0, 30.0), (60, 60))
    shots = [shoot(STRAIGHT, frames=3), shoot(other, frames=1, offset=3)]
    names = [["a.png", "b.png", "c.png"], ["d.png"]]
    for each, files in zip(shots, names, strict=True):
        for name, frame in zip(files, each.frames, strict=True):
            save(tmp_path / "images" / name, frame)
    write_model_binary(tmp_path / "sparse/0", colmap_model(shots, names))
    reader = ColmapFolder(tmp_path)
    assert reader.index.counted() == {"other-size": 1}
    fitted = ColmapFolder(tmp_path, size=(32, 32), depth=True)
    assert fitted.index.problems == ()
    clip = fitted.read(fitted.index.entries[0])
    assert clip.image_size == (32, 32)
    check_truth(clip, colour=1.0, depth=0.08)


def test_broken_images_are_counted(tmp_path: Path) -> None:
    model = build(tmp_path, STRAIGHT, kind="text")
    (tmp_path / "images/walk/2.png").unlink()
    path = tmp_path / "sparse/0/images.txt"
    lines = path.read_text().splitlines()
    words = lines[1].split()  # the image 10
    words[1:5] = ["2.0", "0.0", "0.0", "0.0"]
    path.write_text("\n".join([lines[0], " ".join(words), *lines[2:]]) + "\n")
    reader = ColmapFolder(tmp_path)
    assert reader.index.counted() == {"no-picture": 1, "no-camera": 1}
    assert reader.index.entries[0].length == 2
    check_truth(reader.read(reader.index.entries[0]))
    assert len(model.images) == 4


def _fisheye(model: Model) -> Model:
    kind, lens, numbers = model.lenses[0]
    assert kind == "PINHOLE"
    return replace(model, lenses=[("OPENCV_FISHEYE", lens, (*numbers, 0.1, 0.0, 0.0, 0.0))])


def _other_lens(model: Model) -> Model:
    images = [(name, camera, 7, ids) for name, camera, _, ids in model.images]
    return replace(model, images=images)


@pytest.mark.parametrize("kind", ["text", "binary"])
@pytest.mark.parametrize(
    ("change", "message"),
    [(_fisheye, "expected a camera model without distortion"), (_other_lens, "different models")],
)
def test_models_that_cannot_be_used_are_counted(
    tmp_path: Path, kind: str, change: object, message: str
) -> None:
    model = build(tmp_path / "room", STRAIGHT, kind)
    WRITERS[kind](tmp_path / "room/sparse/0", change(model))  # type: ignore[operator]
    index = ColmapFolder(tmp_path).index
    assert index.counted() == {"unreadable": 1}
    assert index.unexplained == 0
    assert message in index.problems[0].what


@pytest.mark.parametrize("name", ["cameras", "images"])
def test_truncated_models_are_counted(tmp_path: Path, name: str) -> None:
    build(tmp_path / "room", STRAIGHT)
    path = tmp_path / f"room/sparse/0/{name}.bin"
    path.write_bytes(path.read_bytes()[:-9])
    index = ColmapFolder(tmp_path).index
    assert index.counted() == {"unreadable": 1}
    assert "is the file truncated?" in index.problems[0].what


def test_points_of_another_model_stop_the_reading(tmp_path: Path) -> None:
    model = build(tmp_path, STRAIGHT)
    fewer = replace(model, positions=model.positions[:5])
    spare = tmp_path / "spare"
    write_model_binary(spare, fewer)
    (tmp_path / "sparse/0/points3D.bin").write_bytes((spare / "points3D.bin").read_bytes())
    reader = ColmapFolder(tmp_path, depth=True)
    with pytest.raises(FileError, match="ids that no point has"):
        reader.read(reader.index.entries[0])


def test_a_model_that_has_gone_stops_the_reading(tmp_path: Path) -> None:
    build(tmp_path / "room", STRAIGHT, place="sparse")
    reader = ColmapFolder(tmp_path)
    (entry,) = reader.index.entries
    for path in (tmp_path / "room/sparse").iterdir():
        path.unlink()
    with pytest.raises(FileError, match="expected a COLMAP model, got none"):
        ColmapFolder(tmp_path).read(entry)


def test_camera_from_world_is_what_the_files_hold(tmp_path: Path) -> None:
    model = build(tmp_path, STRAIGHT)
    reader = ColmapFolder(tmp_path)
    clip = reader.read(reader.index.entries[0], [3])
    assert clip.world_from_camera is not None
    held = torch.from_numpy(model.images[0][1]).float()
    torch.testing.assert_close(invert(clip.world_from_camera[0]), held, atol=1e-5, rtol=1e-5)

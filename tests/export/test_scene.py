"""Scenes for other programs: one selection, names that keep their cameras, nothing overwritten."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from jog3r import Cameras, FileError, InputError, Reconstruction, SaveError, Video
from jog3r.export import scene as scene_formats
from jog3r.export.colmap import read_colmap
from jog3r.export.gaussian_splatting import read_gaussian_points
from jog3r.export.glb import read_glb
from jog3r.export.images import read_images
from jog3r.export.nerfstudio import from_saved_world, read_nerfstudio
from jog3r.export.npz import read_npz
from jog3r.export.ply import read_ply, read_vertices
from jog3r.export.ply_sequence import read_ply_sequence
from jog3r.export.scene import FORMATS, NOT_THE_EXPORT, SceneFormat, export_scene, frame_clouds
from jog3r.export.targets import EXPORT_LIST
from jog3r.results import Mesh, PointSelection

FOLDERS = [name for name, format in FORMATS.items() if format.is_folder]
WITH_POINTS = [name for name, format in FORMATS.items() if format.selection]
SELECTION = PointSelection(drop_fraction=0.5)


def place(folder: Path, format: str) -> Path:
    """Return a name that the format takes."""
    return folder / ("out.ply" if format == "mesh" else "out")


def count(scene: Reconstruction, format: str, selection: PointSelection | None = None) -> int:
    """Return how many points the format holds."""
    if format == "mesh":
        return len(scene.mesh(*([selection] if selection else [])).vertices)
    return len(scene.select_points(selection or PointSelection())) if format in WITH_POINTS else 0


def test_every_format_is_in_the_table() -> None:
    assert tuple(FORMATS) == get_args(SceneFormat)


@pytest.mark.parametrize("format", get_args(SceneFormat))
def test_every_format_is_sane(room: Reconstruction, tmp_path: Path, format: SceneFormat) -> None:
    out = place(tmp_path / "new", format)
    done = export_scene(room, out, format)
    assert done.path == out
    assert done.points == count(room, format)
    assert not done.sanity.warnings
    assert len(done.sanity.cameras) == 6
    for camera in done.sanity.cameras:
        assert camera.in_front == 1
        assert camera.color is not None
        assert camera.color > (0.8 if format == "mesh" else 0.85)  # it averages the frames
        assert camera.depth == 1


@pytest.mark.parametrize("format", WITH_POINTS)
def test_one_selection_for_all(room: Reconstruction, tmp_path: Path, format: SceneFormat) -> None:
    done = export_scene(room, place(tmp_path, format), format, selection=SELECTION)
    assert done.points == count(room, format, SELECTION) < count(room, format)


@pytest.mark.parametrize("format", sorted(set(FORMATS) - set(WITH_POINTS)))
def test_no_selection_without_points(room: Reconstruction, tmp_path: Path, format: Any) -> None:
    with pytest.raises(InputError, match=f"selection: expected None, {format} holds no points"):
        export_scene(room, tmp_path / "out", format, selection=SELECTION)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("unchecked")
def test_unknown_format(room: Reconstruction, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"format: expected one of \('colmap', .* got 'obj'"):
        export_scene(room, tmp_path / "out", "obj")  # type: ignore[arg-type]


# What is in them


@pytest.mark.parametrize("format", ["colmap", "colmap-text", "3dgs"])
def test_colmap_projects(room: Reconstruction, tmp_path: Path, format: SceneFormat) -> None:
    export_scene(room, tmp_path / "out", format)
    model = read_colmap(tmp_path / "out")
    assert torch.equal(read_images(tmp_path / "out/images", model.files), room.video.frames)
    cloud = room.points
    np.testing.assert_array_equal(model.positions.astype(np.float32), cloud.points)
    np.testing.assert_array_equal(model.colors, cloud.colors)


def test_3dgs_folders_hold_what_trainers_look_for(room: Reconstruction, tmp_path: Path) -> None:
    export_scene(room, tmp_path / "out", "3dgs", selection=PointSelection(normal_neighbours=12))
    files = sorted(path.name for path in (tmp_path / "out/sparse/0").iterdir())
    names = [f"{name}.{kind}" for name in ("cameras", "images") for kind in ("bin", "txt")]
    assert files == [*names, "points3D.bin", "points3D.ply", "points3D.txt"]
    properties = ["x", "y", "z", "nx", "ny", "nz", "red", "green", "blue"]
    vertices = read_vertices(tmp_path / "out/sparse/0/points3D.ply", properties)
    assert list(vertices.dtype.names or ()) == properties
    normals = np.stack([vertices[name] for name in ("nx", "ny", "nz")], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    points, colors = read_gaussian_points(tmp_path / "out/sparse/0/points3D.ply")
    assert torch.equal(points, room.points.points)
    assert torch.equal(colors, room.points.colors)


def test_nerfstudio_folders(room: Reconstruction, tmp_path: Path) -> None:
    export_scene(room, tmp_path / "out", "nerfstudio")
    content = read_nerfstudio(tmp_path / "out/transforms.json")
    assert content.cameras == room.cameras
    assert torch.equal(read_images(tmp_path / "out", content.files), room.video.frames)
    assert content.ply_file == "points.ply"
    turned = read_ply(tmp_path / "out/points.ply")
    assert torch.equal(turned.points[:, 2], -room.points.points[:, 1])  # z is up
    back = from_saved_world(turned.points, content.saved_from_world)
    assert torch.equal(back, room.points.points)


def test_npz_is_the_scene(room: Reconstruction, tmp_path: Path) -> None:
    export_scene(room, tmp_path / "out.npz", "npz")
    assert read_npz(tmp_path / "out.npz") == room


def test_glb_holds_the_cameras(room: Reconstruction, tmp_path: Path) -> None:
    export_scene(room, tmp_path / "out.glb", "glb")
    content = read_glb(tmp_path / "out.glb")
    assert content.cameras == room.cameras  # bit for bit
    room.points.save(tmp_path / "points.glb")
    assert read_glb(tmp_path / "points.glb").cameras is None


def test_glb_with_damaged_cameras(room: Reconstruction, tmp_path: Path) -> None:
    export_scene(room, tmp_path / "out.glb", "glb")
    content = (tmp_path / "out.glb").read_bytes()
    assert content.count(b'"image_size"') == 1
    (tmp_path / "out.glb").write_bytes(content.replace(b'"image_size"', b'"imagersize"'))
    with pytest.raises(FileError, match="expected cameras in the extras, got ''image_size''"):
        read_glb(tmp_path / "out.glb")


def test_ply_sequences(room: Reconstruction, tmp_path: Path) -> None:
    export_scene(room, tmp_path / "out", "ply-sequence", selection=SELECTION)
    clouds = read_ply_sequence(tmp_path / "out")
    merged = room.select_points(SELECTION)
    assert torch.equal(torch.cat([cloud.points for cloud in clouds]), merged.points)
    assert torch.equal(torch.cat([cloud.confidence for cloud in clouds]), merged.confidence)
    counts = room.point_mask(SELECTION).sum(dim=(1, 2)).tolist()
    assert [len(cloud) for cloud in clouds] == counts
    thin = list(frame_clouds(room, PointSelection(max_points=7)))
    assert [len(cloud) for cloud in thin] == [7] * 6
    (tmp_path / "out/frame_0003.ply").unlink()
    with pytest.raises(FileError, match=r"got 5 files and no frame_0003\.ply"):
        read_ply_sequence(tmp_path / "out")
    for empty in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileError, match=r"got 0 files and no frame_0000\.ply"):
            read_ply_sequence(empty)


def test_clouds_keep_their_normals_in_ply(room: Reconstruction, tmp_path: Path) -> None:
    cloud = room.select_points(PointSelection(normal_neighbours=12))
    assert cloud.normals is not None
    cloud.save(tmp_path / "a.ply")
    assert read_ply(tmp_path / "a.ply") == cloud


def test_names_keep_their_order_beyond_ten_thousand() -> None:
    numbers = [0, 9, 10, 999, 9_999, 10_000, 123_456]
    names = [scene_formats.image_name(number) for number in numbers]
    assert names == sorted(names)


def test_images_that_cannot_be_read(room: Reconstruction, tmp_path: Path) -> None:
    export_scene(room, tmp_path / "out", "colmap")
    (tmp_path / "out/images/0001.png").write_bytes(b"no image")
    with pytest.raises(FileError, match=r"0001\.png: expected a PNG image"):
        read_images(tmp_path / "out/images", ["0000.png", "0001.png"])
    half = replace(room.video, frames=room.video.frames[:, :8])
    scene_formats.write_images(tmp_path / "out/images", half, [f"{i}.png" for i in range(6)])
    with pytest.raises(FileError, match="expected images of one size"):
        read_images(tmp_path / "out/images", ["0000.png", "0.png"])


# A scene that fits nothing


def test_a_poor_reconstruction_is_not_blamed_on_the_export(
    room: Reconstruction, tmp_path: Path
) -> None:
    wrong = Cameras(room.cameras.world_from_camera.flip(0), room.cameras.K, room.cameras.image_size)
    done = export_scene(replace(room, cameras=wrong), tmp_path / "out", "colmap")
    assert NOT_THE_EXPORT in done.sanity.warnings


def test_an_export_that_mixes_up_names_is_found_out(
    room: Reconstruction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = scene_formats.write_images

    def mixed_up(folder: Path, video: Video, names: list[str]) -> None:
        write(folder, video, names[::-1])

    monkeypatch.setattr(scene_formats, "write_images", mixed_up)
    formats: tuple[SceneFormat, ...] = ("colmap", "colmap-text", "3dgs", "nerfstudio")
    for format in formats:
        done = export_scene(room, tmp_path / format, format)
        assert "it would fit if the order of the images is reversed" in done.sanity.warnings
        assert NOT_THE_EXPORT not in done.sanity.warnings


@pytest.mark.parametrize("suffix", [".ply", ".glb", ".obj"])
def test_meshes(room: Reconstruction, tmp_path: Path, suffix: str) -> None:
    rule = PointSelection(drop_fraction=0.1, voxel_ratio=1 / 32)
    done = export_scene(room, tmp_path / f"out{suffix}", "mesh", selection=rule)
    assert done.path.name == f"out{suffix}"
    loaded, mesh = Mesh.load(done.path), room.mesh(rule)
    torch.testing.assert_close(loaded.vertices, mesh.vertices, rtol=0, atol=1e-7)
    assert torch.equal(loaded.triangles, mesh.triangles)
    with pytest.raises(InputError, match="for a mesh, got max_points; leave them out"):
        export_scene(room, tmp_path / "a.ply", "mesh", selection=PointSelection(max_points=9))
    with pytest.raises(InputError, match=r"ending in .ply or .glb or .obj, got"):
        export_scene(room, tmp_path / "a.stl", "mesh")


# Places


@pytest.mark.parametrize("format", get_args(SceneFormat))
def test_nothing_is_replaced_unasked(
    room: Reconstruction, tmp_path: Path, format: SceneFormat
) -> None:
    out = place(tmp_path, format)
    export_scene(room, out, format)
    with pytest.raises(InputError, match=rf"path: expected a new name, got .*{out.name}, which"):
        export_scene(room, out, format)
    assert export_scene(room, out, format, overwrite=True).path == out
    if format in FOLDERS:
        listed = json.loads((out / EXPORT_LIST).read_text())
        assert listed["format"] == format
        assert listed["scale"] == "metric"
        present = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
        assert {EXPORT_LIST, *listed["files"]} == present


@pytest.mark.parametrize("format", FOLDERS)
def test_foreign_files_are_never_deleted(
    room: Reconstruction, tmp_path: Path, format: SceneFormat
) -> None:
    out = tmp_path / "out"
    (out / "images").mkdir(parents=True)
    (out / "images/0000.png").write_bytes(b"mine")  # a name of ours, but no list says so
    with pytest.raises(InputError, match=r"only files of an earlier export .*images/0000\.png"):
        export_scene(room, out, format, overwrite=True)
    assert (out / "images/0000.png").read_bytes() == b"mine"
    (out / "images/0000.png").unlink()
    export_scene(room, out, format, overwrite=True)  # empty folders hold nothing
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"only files of an earlier export .*notes\.txt"):
        export_scene(room, out, format, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"
    (out / "notes.txt").unlink()
    (out / EXPORT_LIST).write_text("{")  # a damaged list claims nothing
    with pytest.raises(InputError, match="only files of an earlier export"):
        export_scene(room, out, format, overwrite=True)


def test_files_and_folders_do_not_replace_each_other(room: Reconstruction, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match="path: expected a file to overwrite"):
        export_scene(room, tmp_path / "a", "ply", overwrite=True)
    (tmp_path / "b").write_text("b")
    with pytest.raises(InputError, match="path: expected a folder to overwrite"):
        export_scene(room, tmp_path / "b", "colmap", overwrite=True)
    with pytest.raises(InputError, match=r"path: expected a place to write to.*File name too long"):
        export_scene(room, tmp_path / ("a" * 300), "colmap")


@pytest.mark.parametrize("format", FOLDERS)
def test_a_failure_leaves_nothing(
    room: Reconstruction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: SceneFormat
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    export_scene(room, tmp_path / "old", format)
    before = (tmp_path / "old" / EXPORT_LIST).read_text()
    for name in ("write_ply", "write_colmap_binary", "write_colmap_text", "write_ply_sequence"):
        monkeypatch.setattr(scene_formats, name, lambda *args, **options: full())
    monkeypatch.setattr(scene_formats, "write_gaussian_splatting", lambda *args: full())
    for place in ("old", "new"):
        with pytest.raises(SaveError, match="No space left"):
            export_scene(room, tmp_path / place, format, overwrite=True)
    assert (tmp_path / "old" / EXPORT_LIST).read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["old"]

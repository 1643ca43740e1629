import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import jog3r.export.overview
from jog3r import Cameras, FileError, Generation, InputError, Reconstruction, SaveError
from jog3r.export.folder import NAMES, free_target
from jog3r.export.mp4 import read_mp4
from jog3r.export.ply import read_ply
from jog3r.export.tum import read_tum

PROMPT = "a red sphere in a brick room"


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, reconstruction: Reconstruction) -> Path:
    """A saved generation with its reconstruction; do not change it."""
    folder = tmp_path_factory.mktemp("folder") / "shot"
    generation = Generation(reconstruction.video, PROMPT, 5, reconstruction)
    assert generation.save(folder) == folder
    return folder


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "shot"))


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


# Round trips


def test_everything_comes_back_bit_for_bit(written: Path, reconstruction: Reconstruction) -> None:
    loaded = Generation.load(written)
    assert loaded == Generation(reconstruction.video, PROMPT, 5, reconstruction)
    assert Reconstruction.load(written) == reconstruction


def test_mask_and_flags_come_back(reconstruction: Reconstruction, tmp_path: Path) -> None:
    flags = ("no-parallax: the camera only turns; positions mean nothing", "other: 100 % sure")
    scene = replace(reconstruction, mask=reconstruction.depth > 2, flags=flags)
    assert Reconstruction.load(scene.save(tmp_path / "scene")) == scene
    meta = json.loads((tmp_path / "scene" / "meta.json").read_text())
    assert meta["flags"] == list(flags)


def test_a_folder_without_mask_and_flags_loads(copy: Path, reconstruction: Reconstruction) -> None:
    meta = json.loads((copy / "meta.json").read_text())
    assert meta.pop("flags") == []
    (copy / "meta.json").write_text(json.dumps(meta))
    assert Reconstruction.load(copy) == reconstruction


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (5, "meta.json: expected flags as texts, got 5"),
        ([5], r"meta.json: expected flags as texts, got \[5\]"),
        (["no code"], "expected parts that fit each other, got flags: expected"),
    ],
)
def test_foreign_flags_are_a_file_error(copy: Path, flags: object, message: str) -> None:
    meta = json.loads((copy / "meta.json").read_text())
    (copy / "meta.json").write_text(json.dumps(meta | {"flags": flags}))
    with pytest.raises(FileError, match=message):
        Reconstruction.load(copy)


def test_what_is_in_the_folder(written: Path, reconstruction: Reconstruction) -> None:
    assert {path.name for path in written.iterdir()} == NAMES
    assert [path.name for path in written.parent.iterdir()] == ["shot"]  # no temporary left
    frames = sorted(path.name for path in (written / "frames").iterdir())
    assert frames == [f"{index:04d}.png" for index in range(13)]
    meta = json.loads((written / "meta.json").read_text())
    assert meta["kind"] == "generation"
    assert (meta["prompt"], meta["seed"]) == (PROMPT, 5)
    assert (meta["fps"], meta["scale"]) == (7.5, "relative")
    assert meta["versions"]["torch"] == torch.__version__
    assert "opencv" in meta["convention"]


def test_the_parts_agree(written: Path, reconstruction: Reconstruction) -> None:
    cameras = Cameras.load(written / "cameras.txt", "realestate10k")
    assert torch.equal(cameras.K, reconstruction.cameras.K)
    world_from_camera = reconstruction.cameras.world_from_camera
    torch.testing.assert_close(cameras.world_from_camera, world_from_camera, atol=1e-5, rtol=0)
    path = read_tum(written / "cameras_tum.txt")
    torch.testing.assert_close(path.world_from_camera, world_from_camera, atol=1e-5, rtol=0)
    assert path.timestamps_s[1] == pytest.approx(1 / 7.5)
    assert read_ply(written / "points.ply") == reconstruction.points
    video = read_mp4(written / "video.mp4")
    assert video.frames.shape == reconstruction.video.frames.shape
    assert video.fps == 7.5
    with np.load(written / "depth.npz") as archive:
        assert set(archive) == {"depth", "confidence"}
        assert archive["depth"].dtype == np.float32
        np.testing.assert_array_equal(archive["depth"], reconstruction.depth)


def test_each_camera_names_its_own_image(written: Path, reconstruction: Reconstruction) -> None:
    frames = json.loads((written / "cameras.json").read_text())["frames"]
    assert len(frames) == 13
    for frame in frames:
        index = round(frame["world_from_camera"][0][3])  # the position tells the frame
        with Image.open(written / frame["file"]) as image:
            np.testing.assert_array_equal(np.asarray(image), reconstruction.video.frames[index])


def test_a_reordered_camera_file_reorders_the_images_too(
    copy: Path, reconstruction: Reconstruction
) -> None:
    path = copy / "cameras.json"
    text = json.loads(path.read_text())
    text["frames"].reverse()
    path.write_text(json.dumps(text))
    loaded = Reconstruction.load(copy)
    assert torch.equal(loaded.video.frames, reconstruction.video.frames.flip(0))
    assert torch.equal(loaded.cameras.K, reconstruction.cameras.K.flip(0))


def test_without_reconstruction(tmp_path: Path, reconstruction: Reconstruction) -> None:
    generation = Generation(reconstruction.video, PROMPT, 5)
    generation.save(tmp_path / "a" / "shot")
    names = {path.name for path in (tmp_path / "a" / "shot").iterdir()}
    assert names == {"meta.json", "frames", "video.mp4", "overview.png"}
    assert Generation.load(tmp_path / "a" / "shot") == generation
    with pytest.raises(FileError, match=r"got a generation without one; use Generation.load"):
        Reconstruction.load(tmp_path / "a" / "shot")


def test_a_reconstruction_alone(tmp_path: Path, make_reconstruction: Callable) -> None:
    scene = make_reconstruction(2, (9, 11))
    assert scene.save(tmp_path / "scene") == tmp_path / "scene"
    assert Reconstruction.load(tmp_path / "scene") == scene
    with pytest.raises(FileError, match="expected a generation, got a reconstruction"):
        Generation.load(tmp_path / "scene")


def test_more_frames_than_four_digits() -> None:
    from jog3r.export.folder import frame_name

    names = [frame_name(index) for index in (0, 9_999, 10_000, 100_000)]
    assert names == sorted(names)


# Existing folders


def test_an_existing_folder_is_refused(copy: Path, reconstruction: Reconstruction) -> None:
    before = content(copy)
    with pytest.raises(InputError, match=r"folder: expected a new name, got .*overwrite=True"):
        reconstruction.save(copy)
    assert content(copy) == before


def test_overwriting_leaves_nothing_of_the_old(copy: Path, make_reconstruction: Callable) -> None:
    scene = make_reconstruction(2, (9, 11))
    scene.save(copy, overwrite=True)
    assert Reconstruction.load(copy) == scene
    assert len(list((copy / "frames").iterdir())) == 2
    assert [path.name for path in copy.parent.iterdir()] == ["shot"]


def test_overwriting_never_deletes_what_is_not_ours(
    copy: Path, tmp_path: Path, reconstruction: Reconstruction
) -> None:
    (copy / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"only jog3r's own files.*notes\.txt"):
        reconstruction.save(copy, overwrite=True)
    home = tmp_path / "home"
    home.mkdir()
    (home / "frames").mkdir()
    with pytest.raises(InputError, match="expected one written by jog3r to overwrite"):
        reconstruction.save(home, overwrite=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="expected one written by jog3r to overwrite"):
        reconstruction.save(tmp_path / "file", overwrite=True)
    assert (copy / "notes.txt").read_text() == (tmp_path / "file").read_text() == "mine"
    assert (home / "frames").is_dir()


def test_overwriting_never_deletes_a_picture_of_the_users(
    copy: Path, reconstruction: Reconstruction
) -> None:
    mask = copy / "frames" / "0000_mask.png"
    mask.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"only jog3r's own files.*0000_mask\.png"):
        reconstruction.save(copy, overwrite=True)
    assert mask.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["video.mp4", "frames/0001.png"])
def test_overwriting_never_deletes_a_folder_called_like_a_file(
    copy: Path, reconstruction: Reconstruction, name: str
) -> None:
    (copy / name).unlink()
    (copy / name).mkdir()
    (copy / name / "mine").write_text("x")
    with pytest.raises(InputError, match=f"only jog3r's own files.*{name}"):
        reconstruction.save(copy, overwrite=True)
    assert (copy / name / "mine").is_file()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_overwriting_never_deletes_what_is_no_folder_of_frames(
    copy: Path, tmp_path: Path, kind: str
) -> None:
    (copy / "frames").rename(tmp_path / "elsewhere")
    if kind == "file":
        (copy / "frames").write_text("mine")
    else:
        (copy / "frames").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"only jog3r's own files.*frames"):
        free_target(copy, overwrite=True)


@pytest.mark.usefixtures("unchecked")
def test_places_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"expected a place inside folders, .*file is a file"):
        free_target(tmp_path / "file" / "deep" / "scene", overwrite=False)
    with pytest.raises(InputError, match=r"expected a place to write to, .*File name too long"):
        free_target(tmp_path / ("a" * 300), overwrite=False)
    for folder in ("a\0b", 5):
        with pytest.raises(InputError, match="folder: expected the name of a file or folder"):
            free_target(folder, overwrite=False)  # type: ignore[arg-type]


def test_an_empty_folder_may_be_filled(tmp_path: Path, make_reconstruction: Callable) -> None:
    (tmp_path / "scene").mkdir()
    scene = make_reconstruction(1, (9, 11))
    scene.save(tmp_path / "scene", overwrite=True)
    assert Reconstruction.load(tmp_path / "scene") == scene


def test_a_full_disk_at_the_last_moment(
    copy: Path, tmp_path: Path, reconstruction: Reconstruction, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object, **__: object) -> None:
        assert (path.parent / "points.ply").is_file()  # much has been written by now
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(jog3r.export.overview, "write_overview", full)
    before = content(copy)
    for target in (copy, tmp_path / "new" / "scene"):
        with pytest.raises(SaveError, match="got 'No space left on device'") as caught:
            reconstruction.save(target, overwrite=True)
        assert str(caught.value).startswith(f"{target}: ")
    assert content(copy) == before
    assert [path.name for path in tmp_path.iterdir()] == ["shot"]


# Reading damaged folders


@pytest.mark.parametrize("name", ["meta.json", "cameras.json", "depth.npz", "frames/0007.png"])
@pytest.mark.parametrize("share", [None, 0.0, 0.6])
def test_a_missing_or_truncated_file_is_named(copy: Path, name: str, share: float | None) -> None:
    path = copy / name
    if share is None:
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(FileError) as caught:
        Reconstruction.load(copy)
    assert str(caught.value).startswith(f"{path}: ")


def test_the_other_files_may_go(copy: Path, reconstruction: Reconstruction) -> None:
    needed = {"meta.json", "cameras.json", "depth.npz", "frames"}
    for name in NAMES - needed:
        (copy / name).unlink()
    assert Reconstruction.load(copy) == reconstruction


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_foreign_folders(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="expected a folder written by save"):
        Reconstruction.load(tmp_path / "none")
    with pytest.raises(FileError, match=r"meta\.json: expected a text file, got none"):
        Generation.load(tmp_path)
    rewrite(copy / "meta.json", format="jog3r scene 99")
    with pytest.raises(FileError, match="expected format 'jog3r scene 1', got 'jog3r scene 99'"):
        Generation.load(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": None}, "expected prompt and seed, got 'a red"),
        ({"prompt": 3}, "expected prompt and seed, got 3"),
        ({"fps": "fast"}, r"meta\.json: fps: expected"),
        ({"scale": "feet"}, "scale: expected one of"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_damaged_meta(copy: Path, changes: dict[str, object], message: str) -> None:
    rewrite(copy / "meta.json", **changes)
    with pytest.raises(FileError, match=message):
        Generation.load(copy)


@pytest.mark.usefixtures("unchecked")
def test_parts_that_do_not_fit(copy: Path) -> None:
    np.savez(copy / "depth.npz", depth=np.ones((2, 3, 4), np.float32), confidence=np.ones(3))
    with pytest.raises(FileError, match=r"parts that fit each other, got depth: expected"):
        Reconstruction.load(copy)
    np.savez(copy / "depth.npz", depth=np.ones(3, np.float32))
    with pytest.raises(FileError, match="arrays depth confidence, got none called confidence"):
        Reconstruction.load(copy)
    pickled = np.array([{"a": 1}], dtype=object)
    np.savez(copy / "depth.npz", depth=pickled, confidence=pickled)
    with pytest.raises(FileError, match="Object arrays cannot be loaded"):
        Reconstruction.load(copy)


def test_images_of_several_sizes(copy: Path) -> None:
    Image.new("RGB", (5, 5)).save(copy / "frames/0003.png")
    with pytest.raises(FileError, match=r"0003\.png: expected images of one size, .* got 5x5"):
        Reconstruction.load(copy)

"""`jog3r data prepare` on trees: COLMAP's points, and broken videos among good ones."""

from pathlib import Path
from typing import Any

import pytest
import torch

from jog3r.cli.entry import main
from jog3r.data.readers.colmap import ColmapFolder
from jog3r.data.readers.lens import Lens
from jog3r.data.shards import ShardFolder
from tests.data.readers.films import write_film
from tests.data.readers.trees import colmap_model, save, shoot, write_model_binary

STRAIGHT = Lens((60.0, 62.0), (33.0, 24.0), (48, 64))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model.save_pretrained(folder)
    return folder


def prepare(model: Path, folder: Path, out: Path, *words: str) -> ShardFolder:
    common = ("--out", str(out), "--model", str(model), "--uncaptioned", "keep", "--no-progress")
    assert main(["data", "prepare", str(folder), *common, *words]) == 0
    return ShardFolder(out)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    shots = shoot(STRAIGHT)
    names = [f"{number}.png" for number in range(len(shots.frames))]
    for place in ("scenes/one", "scenes/two"):
        for name, frame in zip(names, shots.frames, strict=True):
            save(tmp_path / place / "images" / name, frame)
        write_model_binary(tmp_path / place / "sparse/0", colmap_model([shots], [names]))
    return tmp_path / "scenes"


def test_points_of_colmap_become_depth(model: Path, scenes: Path, tmp_path: Path) -> None:
    words = ("--as", "colmap", "--depth", "colmap", "--size", "48x64")
    shards = prepare(model, scenes, tmp_path / "shards", *words)
    assert shards.manifest["by_bucket"] == {"48x64": {"clips": 2, "frames": 8}}
    reader = ColmapFolder(scenes, depth=True)
    for place, entry in enumerate(reader.index.entries):
        given, read = reader.read(entry), shards.read("48x64", place)
        assert read.id == entry.id
        assert given.depth is not None
        assert read.depth is not None
        assert int((read.depth > 0).sum()) > 40
        torch.testing.assert_close(read.depth, given.depth, rtol=1e-3, atol=0.0)
        torch.testing.assert_close(read.K, given.K)


def test_points_of_colmap_stay_where_their_surfaces_are(
    model: Path, scenes: Path, tmp_path: Path
) -> None:
    words = ("--as", "colmap", "--depth", "colmap", "--size", "24x32")
    read = prepare(model, scenes, tmp_path / "shards", *words).read("24x32", 0)
    assert read.depth is not None
    known = read.depth > 0
    assert int(known.sum()) > 10
    truth = shoot(STRAIGHT.resized((24, 32))).depth
    off = (read.depth / truth - 1).abs()[known]
    assert float(off.median()) < 0.03


def test_other_readers_have_no_points(model: Path, tmp_path: Path) -> None:
    write_film(tmp_path / "films/a.mp4", 4)
    words = ("data", "prepare", str(tmp_path / "films"), "--as", "videos", "--depth", "colmap")
    assert main([*words, "--out", str(tmp_path / "s"), "--model", str(model)]) == 2
    assert not (tmp_path / "s").exists()


def break_behind_the_header(film: Path) -> None:
    content = bytearray(film.read_bytes())
    start = content.find(b"mdat") + 4
    content[start : start + 200] = bytes(200)
    film.write_bytes(content)


def damage(films: Path) -> None:
    """Leave `good`, and damage the others as downloads and disks do."""
    for name in ("good", "cut", "empty", "rotten"):
        write_film(films / f"{name}.mp4", 6)
    content = (films / "cut.mp4").read_bytes()
    (films / "cut.mp4").write_bytes(content[: len(content) // 2])
    (films / "empty.mp4").write_bytes(b"")
    break_behind_the_header(films / "rotten.mp4")


def test_broken_videos_among_good_ones(model: Path, tmp_path: Path) -> None:
    damage(tmp_path / "films")
    words = ("--as", "videos", "--size", "16x16")
    manifest = prepare(model, tmp_path / "films", tmp_path / "s", *words).manifest
    ids = {kind: sorted(each["ids"]) for kind, each in manifest["skipped"].items()}
    assert ids == {"broken-video": ["cut.mp4", "empty.mp4"], "unreadable": ["rotten"]}
    assert manifest["clips"] == 1
    assert manifest["settings"]["announced"] == 4


def test_broken_films_of_real_estate(model: Path, tmp_path: Path) -> None:
    damage(tmp_path / "re10k/videos")
    lens = "0.5 0.9 0.5 0.5 0 0"
    cameras = [f"{100000 * n} {lens} 1 0 0 {0.1 * n} 0 1 0 0 0 0 1 0" for n in range(6)]
    for name in ("good", "cut", "empty", "rotten", "gone"):
        file = tmp_path / "re10k/train" / f"{name}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text("\n".join([f"https://www.youtube.com/watch?v={name:_<11}", *cameras]))
    words = ("--as", "re10k", "--size", "16x16")
    manifest = prepare(model, tmp_path / "re10k", tmp_path / "s", *words).manifest
    ids = {kind: sorted(each["ids"]) for kind, each in manifest["skipped"].items()}
    assert ids == {
        "broken-video": ["train/cut.txt", "train/empty.txt"],
        "no-video": ["train/gone.txt"],
        "unreadable": ["rotten"],
    }
    assert manifest["clips"] == 1
    assert manifest["notes"] == {"generation only: no depth": 1}
    assert manifest["settings"]["announced"] == 5

"""Shards: what is written is found again, by us and by WebDataset, and damage is told at once."""

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from jog3r.data.precomputed import PrecomputedClip
from jog3r.data.shard_writing import Skipped, new_portion, write_manifest, write_shards
from jog3r.data.shards import ShardFolder
from jog3r.errors import FileError, InputError, SaveError

K = torch.tensor([[8.0, 0.0, 4.0], [0.0, 8.0, 4.0], [0.0, 0.0, 1.0]])


def made(number: int, *, length: int = 4, geometry: bool = True) -> PrecomputedClip:
    """Return a clip whose latents say which clip and which frame they are of."""
    latents = torch.arange(length)[None, :, None, None] + 100.0 * number
    known: dict[str, Any] = {}
    if geometry:
        known = {"depth": torch.ones(length, 8, 8), "K": K.expand(length, -1, -1)}
        known["world_from_camera"] = torch.eye(4).repeat(length, 1, 1)
    return PrecomputedClip(
        id=f"a.b/{number}",
        latents=latents.expand(2, -1, 2, 2),
        text=torch.full((3, 4), float(number)),
        text_mask=torch.ones(3, dtype=torch.bool),
        caption=f"clip {number} — ünïcode",
        source="mine" if number % 2 else "yours",
        licence="CC0-1.0",
        **known,
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two portions: five clips with geometry, and two without."""
    folder = tmp_path_factory.mktemp("shards")
    with new_portion(folder, 0) as portion:
        for number in range(3):
            portion.add(number, made(number), (8, 8))
        portion.skip(Skipped(id="broken", kind="unreadable", why="expected a video, got none"))
    with new_portion(folder, 1) as portion:
        for number in range(3, 7):
            portion.add(number, made(number, length=number, geometry=number < 5), (8, 8))
        portion.note("generation only: no depth", 2)
    lost = [Skipped(id="table.csv", kind="no-video", why="expected videos", clips=10)]
    write_manifest(folder, 2, settings={"encoder": "mine"}, skipped=lost)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "shards"))


class TestReading:
    def test_every_clip_is_where_the_index_says(self, original: Path) -> None:
        shards = ShardFolder(original)
        assert {name: len(bucket) for name, bucket in shards.buckets.items()} == {
            "8x8": 5,
            "8x8-generation": 2,
        }
        for place in range(5):
            clip = shards.read("8x8", place)
            assert clip.id == f"a.b/{place}"
            assert clip.has_geometry
            assert torch.equal(clip.latents, made(place, length=len(clip)).latents)
        some = shards.read("8x8-generation", 1, [5, 3])
        assert some.latents[0, :, 0, 0].tolist() == [605, 603]
        assert not some.has_geometry
        assert shards.buckets["8x8-generation"].lengths.tolist() == [5, 6]
        assert shards.encoder == "mine"

    @pytest.mark.parametrize(("bucket", "place"), [("8x8", 5), ("8x8", -1), ("9x9", 0)])
    def test_clips_that_are_not_there(self, original: Path, bucket: str, place: int) -> None:
        with pytest.raises(InputError, match=r"clip: expected one of the buckets .*'8x8': 5"):
            ShardFolder(original).read(bucket, place)

    def test_the_manifest_counts_everything(self, original: Path) -> None:
        manifest = json.loads((original / "manifest.json").read_text("utf-8"))
        assert (manifest["clips"], manifest["frames"]) == (7, 3 * 4 + 3 + 4 + 5 + 6)
        assert manifest["by_bucket"]["8x8-generation"] == {"clips": 2, "frames": 11}
        assert manifest["by_source"] == {"mine": 3, "yours": 4}
        assert manifest["by_licence"] == {"CC0-1.0": 7}
        assert manifest["skipped"]["unreadable"] == {
            "clips": 1,
            "ids": {"broken": "expected a video, got none"},
        }
        assert manifest["skipped"]["no-video"]["clips"] == 10
        assert manifest["notes"] == {"generation only: no depth": 2}

    def test_they_are_plain_tars(self, original: Path) -> None:
        with tarfile.open(original / "000001" / "8x8.tar") as tar:
            names = tar.getnames()
            file = tar.extractfile("00000003.json")
            assert file is not None
            about = json.loads(file.read())
            assert {member.mtime for member in tar.getmembers()} == {0}
        stems = ("00000003", "00000004")
        assert names == [f"{stem}.{end}" for stem in stems for end in ("json", "safetensors")]
        assert about["id"] == "a.b/3"
        assert about["caption"] == "clip 3 — ünïcode"

    # webdataset leaves the closing of its files to the garbage collector.
    @pytest.mark.filterwarnings("ignore::ResourceWarning")
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_webdataset_reads_them(self, original: Path) -> None:
        wds = pytest.importorskip("webdataset")
        files = sorted(str(file) for file in original.rglob("8x8.tar"))
        samples = list(wds.WebDataset(files, shardshuffle=False).decode())
        assert [sample["json"]["id"] for sample in samples] == [f"a.b/{n}" for n in range(5)]
        assert load(samples[2]["safetensors"])["latents"][0, 0, 0, 0] == 200


class TestWriting:
    def test_a_portion_that_fails_leaves_nothing(self, tmp_path: Path) -> None:
        def fail() -> None:
            with new_portion(tmp_path, 3) as portion:
                portion.add(0, made(0), (8, 8))
                raise RuntimeError("in the middle")

        with pytest.raises(RuntimeError, match="in the middle"):
            fail()
        assert not list(tmp_path.iterdir())

    def test_what_a_killed_process_left_is_cleared_away(self, tmp_path: Path) -> None:
        (tmp_path / ".000003.aaaa.tmp").mkdir()
        (tmp_path / ".000004.bbbb.tmp").mkdir()
        with new_portion(tmp_path, 3):
            pass
        assert sorted(path.name for path in tmp_path.iterdir()) == [".000004.bbbb.tmp", "000003"]

    def test_the_same_bytes_every_time(self, original: Path, tmp_path: Path) -> None:
        for name in ("one", "two"):
            write_shards(tmp_path / name, map(made, range(3)), size=(8, 8), encoder="mine")
        one, two = ((tmp_path / name / "000000" / "8x8.tar") for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
        assert one.read_bytes() == (original / "000000" / "8x8.tar").read_bytes()

    def test_numbers_that_cannot_be_stored(self, tmp_path: Path) -> None:
        large = PrecomputedClip(**{**vars(made(0)), "depth": torch.full((4, 8, 8), 1e6)})
        with new_portion(tmp_path, 0) as portion:
            with pytest.raises(InputError, match=r"depth: expected numbers that torch\.float16"):
                portion.add(0, large, (8, 8))
            portion.add(1, made(1), (8, 8))
        write_manifest(tmp_path, 1, settings={"encoder": "mine"})
        assert ShardFolder(tmp_path).read("8x8", 0).id == "a.b/1"

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(SaveError, match="000000: expected to write it whole"):
            write_shards(tmp_path / "file", [made(0)], size=(8, 8), encoder="mine")

    def test_a_missing_portion(self, folder: Path) -> None:
        shutil.rmtree(folder / "000001")
        with pytest.raises(FileError, match=r"000001/portion\.json: expected the record"):
            write_manifest(folder, 2, settings={})


def truncate(folder: Path) -> None:
    file = folder / "000001" / "8x8.tar"
    file.write_bytes(file.read_bytes()[:-512])


def remove_shard(folder: Path) -> None:
    (folder / "000000" / "8x8.tar").unlink()


def remove_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def not_done_yet(folder: Path) -> None:
    (folder / "manifest.json").rename(folder / "settings.json")


def foreign_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")


def older_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"format": "jog3r-shards-0"}')


def damaged_index(folder: Path) -> None:
    (folder / "index.safetensors").write_bytes(b"nothing")


def foreign_index(folder: Path) -> None:
    other = folder / "other"
    write_shards(other, [made(0)], size=(8, 8), encoder="mine")
    shutil.copy(other / "index.safetensors", folder / "index.safetensors")


def nothing_in_it(folder: Path) -> None:
    shutil.rmtree(folder)
    with new_portion(folder, 0) as portion:
        portion.skip(Skipped(id="a", kind="no-caption", why="expected one"))
    write_manifest(folder, 1, settings={"encoder": "mine"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncate, r"000001/8x8\.tar: expected a shard of \d+ bytes, got \d+; it is truncated"),
        (remove_shard, r"000000/8x8\.tar: expected a shard of \d+ bytes, got 'No such file"),
        (remove_manifest, "expected a folder of shards with manifest.json, got none"),
        (not_done_yet, "got an unfinished one"),
        (foreign_manifest, "expected the manifest of shards"),
        (older_manifest, "expected format jog3r-shards-1, got 'jog3r-shards-0'"),
        (damaged_index, "index.safetensors: expected the index"),
        (foreign_index, "index.safetensors: expected the clips that manifest.json counts"),
        (nothing_in_it, "expected clips, got none; skipped .*'no-caption': 1"),
    ],
)
def test_damage_is_told_at_opening(folder: Path, spoil: Any, message: str) -> None:
    spoil(folder)
    with pytest.raises(FileError, match=message):
        _ = ShardFolder(folder).buckets


def test_damage_after_opening_names_the_shard(folder: Path) -> None:
    shards = ShardFolder(folder)
    truncate(folder)
    file = folder / "000001" / "8x8.tar"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(FileError, match=r"000001/8x8\.tar at byte \d+: .*truncated or damaged"):
        shards.read("8x8", 4)
    file.unlink()
    with pytest.raises(FileError, match=r"000001/8x8\.tar: expected a shard, got 'No such"):
        shards.read("8x8", 3)


def test_two_processes_that_make_one_portion(tmp_path: Path) -> None:
    message = "000000: expected one process to make it, got another that began it anew"
    again = new_portion(tmp_path, 0)
    with pytest.raises(SaveError, match=message), new_portion(tmp_path, 0), again:
        pass
    assert (tmp_path / "000000" / "portion.json").is_file()

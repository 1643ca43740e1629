"""The controlled world as a data set: the same clips as the world itself gives."""

from pathlib import Path

import pytest
import torch

from jog3r.data.readers.registry import open_reader
from jog3r.data.readers.world import WorldClips
from jog3r.data.world import HELD_OUT, World, WorldConfig
from jog3r.data.world.camera_paths import PathConfig
from jog3r.errors import FileError, InputError
from tests.data.readers.films import known, write_images


def test_a_seed_is_a_clip_with_everything_true() -> None:
    reader = open_reader(None, "world", clips=3, first_seed=HELD_OUT, frames=4, size=(32, 32))
    assert [entry.place for entry in reader.index.entries] == [HELD_OUT, HELD_OUT + 1, HELD_OUT + 2]
    assert reader.index.coverage == 1.0
    entry = reader.index.entries[1]
    clip = reader.read(entry)
    assert clip.missing == ("fps", "points_world", "mask")
    assert clip.scale == "metric"
    world = World(WorldConfig(size=32, path=PathConfig(frames=4)))
    expected = world.clip(HELD_OUT + 1, 4, vary_caption=True)
    assert torch.equal(known(clip.frames), torch.from_numpy(expected.frames))
    assert torch.equal(known(clip.depth), torch.from_numpy(expected.depth))
    assert clip.caption == expected.caption
    back = reader.read(entry, [3, 1])
    assert torch.equal(known(back.depth), known(clip.depth)[[3, 1]])


def test_captions_vary_only_when_asked() -> None:
    options = {"clips": 4, "frames": 1, "size": (16, 16)}
    varied = WorldClips(**options)  # type: ignore[arg-type]
    plain = WorldClips(vary_captions=False, **options)  # type: ignore[arg-type]
    said = [[r.read(e).caption for e in r.index.entries] for r in (varied, plain)]
    assert said[0] != said[1]


def test_a_folder_holds_photographs(tmp_path: Path) -> None:
    with pytest.raises(FileError):
        WorldClips(tmp_path)
    write_images(tmp_path, ["a.jpg", "b.jpg"])
    assert "photographs" in WorldClips(tmp_path).licence
    with pytest.raises(FileError, match="expected a folder of world, got none"):
        WorldClips(tmp_path / "none")


@pytest.mark.parametrize(
    "options", [{"clips": 0}, {"frames": 0}, {"first_seed": -1}, {"size": (16, 32)}], ids=str
)
def test_what_is_no_world_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"^(world|size): expected"):
        WorldClips(**options)  # type: ignore[arg-type]

"""Frames in memory and in files are the same; nothing is overwritten, a full disk is an error."""

from pathlib import Path

import numpy as np
import pytest
import torch

from jog3r.alignment.off_load import FileStore, frame_store, new_folder
from jog3r.errors import InputError, SaveError


@pytest.mark.parametrize("on_disk", [False, True])
def test_pieces_come_back_as_they_were_written(tmp_path: Path, on_disk: bool) -> None:
    store = frame_store(tmp_path / "depth.npy" if on_disk else None, (5, 2, 3))
    assert store.shape == (5, 2, 3)
    assert not bool(store.tensor().any())
    values = torch.arange(12, dtype=torch.float32).reshape(2, 2, 3)
    store.write(3, values)
    assert torch.equal(store.read(3, 5), values)
    assert torch.equal(store.read(2, 4), torch.stack([torch.zeros(2, 3), values[0]]))
    assert torch.equal(store.tensor()[3:], values)


def test_what_is_read_is_a_copy() -> None:
    store = frame_store(None, (2, 2, 3))
    store.read(0, 1).fill_(7.0)
    assert not bool(store.tensor().any())


def test_file_is_plain_npy_and_its_map_private(tmp_path: Path) -> None:
    store = frame_store(tmp_path / "depth.npy", (2, 2, 3))
    store.write(0, torch.ones(2, 2, 3))
    store.tensor().fill_(7.0)
    found = np.load(tmp_path / "depth.npy")
    assert found.dtype == np.float32
    assert found.min() == found.max() == 1.0


def test_new_folder_takes_new_and_empty_ones_only(tmp_path: Path) -> None:
    for name in (tmp_path / "a" / "b", str(tmp_path / "a" / "b")):
        with new_folder(name) as made:
            assert made is not None
            assert made.is_dir()
    with new_folder(None) as none:
        assert none is None
    (tmp_path / "file").touch()
    for taken in ("a", "file"):
        with (
            pytest.raises(InputError, match="folder: expected a new or empty folder"),
            new_folder(tmp_path / taken),
        ):
            pass
    with (
        pytest.raises(SaveError, match="free the disk or choose"),
        new_folder(tmp_path / "file" / "below"),
    ):
        pass


def test_folder_is_empty_again_after_a_failure(tmp_path: Path) -> None:
    def interrupted() -> None:
        with new_folder(tmp_path / "new") as made:
            assert made is not None
            frame_store(made / "depth.npy", (2, 2, 3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list((tmp_path / "new").iterdir()) == []


def test_full_disk_is_a_save_error(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match=r"depth\.npy"):
        frame_store(tmp_path / "missing" / "depth.npy", (2, 2, 3))
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    with pytest.raises(SaveError, match="/dev/full"):
        FileStore(full, (2000, 2, 3), 0).write(0, torch.ones(2000, 2, 3))

"""Checkpoints on the disk: whole or absent, damaged ones named, earlier runs not overwritten."""

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

pytest.importorskip("lightning")

from jog3r.errors import FileError, InputError, SaveError
from jog3r.training import checkpoint_io
from jog3r.training.checkpoint_files import checkpoints_in, delete, remove_leftovers
from jog3r.training.checkpoint_io import AtomicCheckpoints
from jog3r.training.cli import main
from jog3r.training.run_folders import check_unused, clear, newest_checkpoint
from jog3r.training.sharded_files import read_sharded, write_sharded
from tests.training import small_run

CONTENT = {"state_dict": {"weight": torch.arange(1000.0)}, "loops": {}, "global_step": 3}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    AtomicCheckpoints().save_checkpoint(CONTENT, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


class TestAtomicCheckpoints:
    def test_what_was_written_is_read(self, saved: Path) -> None:
        read = AtomicCheckpoints().load_checkpoint(saved, weights_only=True)
        assert torch.equal(read["state_dict"]["weight"], CONTENT["state_dict"]["weight"])
        assert read["global_step"] == 3
        assert [path.name for path in saved.parent.iterdir()] == ["last.ckpt"]

    def test_an_interrupted_save_leaves_the_previous_one(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def half(_: Any, file: Any) -> None:
            file.write(b"half of it")
            raise KeyboardInterrupt

        monkeypatch.setattr(checkpoint_io.torch, "save", half)
        with pytest.raises(KeyboardInterrupt):
            AtomicCheckpoints().save_checkpoint({"loops": {}}, saved)
        assert AtomicCheckpoints().load_checkpoint(saved)["global_step"] == 3

    def test_a_full_disk(self, saved: Path) -> None:
        large = {**CONTENT, "state_dict": {"weight": torch.zeros(200000)}, "global_step": 4}
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300000, before[1]))
        try:
            with pytest.raises(SaveError, match=r"last\.ckpt: expected .* got 'File too large'"):
                AtomicCheckpoints().save_checkpoint(large, saved)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert AtomicCheckpoints().load_checkpoint(saved)["global_step"] == 3
        assert [path.name for path in saved.parent.iterdir()] == ["last.ckpt"]

    def test_a_folder_of_shares_is_replaced(self, saved: Path) -> None:
        saved.unlink()
        saved.mkdir()
        (saved / "meta.pt").write_bytes(b"of a run that shared weights")
        AtomicCheckpoints().save_checkpoint(CONTENT, saved)
        assert AtomicCheckpoints().load_checkpoint(saved)["global_step"] == 3
        assert [path.name for path in saved.parent.iterdir()] == ["last.ckpt"]

    def test_what_a_kill_has_left_goes_with_the_next_save(self, saved: Path) -> None:
        left = saved.with_name(".last.ckpt.0123abcd.tmp")
        left.write_bytes(b"half of it")
        folder = saved.with_name(".epoch=0-step=2.ckpt.17a.tmp")
        folder.mkdir()
        assert checkpoints_in(saved.parent) == [saved]
        AtomicCheckpoints().save_checkpoint(CONTENT, saved)
        assert [path.name for path in saved.parent.iterdir()] == ["last.ckpt"]

    def test_no_room_for_it(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(SaveError, match="expected to write it whole"):
            AtomicCheckpoints().save_checkpoint(CONTENT, tmp_path / "file" / "last.ckpt")

    @pytest.mark.parametrize("kind", ["cut", "changed", "empty", "text"])
    def test_a_damaged_one(self, saved: Path, kind: str) -> None:
        content = bytearray(saved.read_bytes())
        middle = len(content) // 2
        content[middle] ^= 255
        damaged = {"cut": content[:middle], "changed": content, "empty": b"", "text": b"stages:"}
        saved.write_bytes(damaged[kind])
        with pytest.raises(FileError, match=r"last\.ckpt: expected a whole checkpoint, got a dam"):
            AtomicCheckpoints().load_checkpoint(saved)

    def test_a_file_of_torch_that_is_none(self, tmp_path: Path) -> None:
        torch.save({"weight": torch.zeros(3)}, tmp_path / "other.ckpt")
        with pytest.raises(FileError, match="published weights go into start"):
            AtomicCheckpoints().load_checkpoint(tmp_path / "other.ckpt")

    def test_none_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileError, match="expected a checkpoint, got nothing there"):
            AtomicCheckpoints().load_checkpoint(tmp_path / "last.ckpt")

    def test_a_folder_without_its_shares(self, tmp_path: Path) -> None:
        (tmp_path / "last.ckpt").mkdir()
        torch.save(
            {"loops": {}, "state_dict": {}, "x": {"jog3r tensor": "x", "shape": [3]}},
            tmp_path / "last.ckpt" / "meta.pt",
        )
        with pytest.raises(FileError, match="got a damaged one"):
            AtomicCheckpoints().load_checkpoint(tmp_path / "last.ckpt")

    def test_removal(self, saved: Path, tmp_path: Path) -> None:
        folder = tmp_path / "folder.ckpt"
        (folder / "inside").mkdir(parents=True)
        for path in (saved, folder):
            AtomicCheckpoints().remove_checkpoint(path)
        assert not list(tmp_path.iterdir())


def test_the_newest_is_the_last_written(tmp_path: Path) -> None:
    for age, name in enumerate(["b.ckpt", "last.ckpt", "a.ckpt"]):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (0, time.time() - age))
    (tmp_path / "folder.ckpt").mkdir()  # without its contents: being written
    assert [path.name for path in checkpoints_in(tmp_path)] == ["a.ckpt", "last.ckpt", "b.ckpt"]
    assert checkpoints_in(tmp_path / "nowhere") == []
    delete(tmp_path / "b.ckpt")
    remove_leftovers(tmp_path / "nowhere")
    assert len(checkpoints_in(tmp_path)) == 2


class TestFoldersOfShares:
    @pytest.fixture(autouse=True)
    def alone(self) -> Iterator[None]:
        dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
        yield
        dist.destroy_process_group()

    def test_what_was_written_is_read(self, tmp_path: Path) -> None:
        for step in (3, 4):  # the second takes the place of the first
            write_sharded({**CONTENT, "global_step": step}, tmp_path / "a.ckpt", token=str(step))
        read = read_sharded(tmp_path / "a.ckpt")
        assert read["global_step"] == 4
        assert torch.equal(read["state_dict"]["weight"], CONTENT["state_dict"]["weight"])
        assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]

    def test_no_room_for_it(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(SaveError, match=r"a\.ckpt: expected to write it, got .*; free some"):
            write_sharded(CONTENT, tmp_path / "file" / "a.ckpt", token="1")

    def test_a_share_that_is_cut_off(self, tmp_path: Path) -> None:
        write_sharded(CONTENT, tmp_path / "a.ckpt", token="1")
        for share in (tmp_path / "a.ckpt").glob("*.distcp"):
            share.write_bytes(share.read_bytes()[:100])
        with pytest.raises(FileError, match=r"a\.ckpt: expected a whole checkpoint"):
            read_sharded(tmp_path / "a.ckpt")


class TestRunFolders:
    @pytest.fixture
    def stage(self, tmp_path: Path) -> dict[str, Any]:
        stage = small_run.recipe(tmp_path)
        publish = {"folder": str(tmp_path / "model")}
        stage["trainer"]["callbacks"].append(
            {"class_path": "jog3r.training.callbacks.PublishWeights", "init_args": publish}
        )
        return stage

    def test_nothing_there(self, stage: dict[str, Any]) -> None:
        check_unused("joint", stage)
        clear(stage)
        assert newest_checkpoint(stage) is None

    def test_the_newest_of_all_its_folders(self, stage: dict[str, Any], tmp_path: Path) -> None:
        best = {"dirpath": str(tmp_path / "best"), "monitor": "val/loss"}
        path = "lightning.pytorch.callbacks.ModelCheckpoint"
        stage["trainer"]["callbacks"].append({"class_path": path, "init_args": best})
        for age, name in enumerate(["checkpoints/step=3.ckpt", "best/step=2.ckpt"]):
            (tmp_path / name).parent.mkdir()
            (tmp_path / name).write_bytes(b"")
            os.utime(tmp_path / name, (0, time.time() - age))
        assert newest_checkpoint(stage) == tmp_path / "checkpoints" / "step=3.ckpt"

    @pytest.mark.parametrize("name", ["checkpoints/step=3.ckpt", "model/model.safetensors"])
    def test_an_earlier_run(self, stage: dict[str, Any], tmp_path: Path, name: str) -> None:
        file = tmp_path / name
        file.parent.mkdir()
        file.write_bytes(b"")
        with pytest.raises(InputError, match=f"stage joint: expected folders .* got .*{name}; go"):
            check_unused("joint", stage)
        clear(stage)
        assert file.exists() == name.startswith("model")

    def test_a_recipe_that_is_wrong_is_not_ours_to_report(self) -> None:
        for trainer in (None, 3, {"callbacks": "many"}, {"callbacks": [{"init_args": 3}, 4]}):
            check_unused("joint", {"trainer": trainer})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestCommandLine:
    def test_a_fresh_run_into_a_used_folder(self, tmp_path: Path) -> None:
        file = small_run.write(tmp_path)
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "step=3.ckpt").write_bytes(b"")
        with pytest.raises(InputError, match="begin anew with --overwrite"):
            main(["--config", str(file)])

    def test_nothing_is_overwritten_by_a_run_that_cannot_begin(self, tmp_path: Path) -> None:
        data = {"class_path": "jog3r.training.prepared_data.PreparedDataModule"}
        nowhere = str(tmp_path / "nowhere")
        data["init_args"] = {"folder": nowhere, "validation_folder": nowhere}  # type: ignore[assignment]
        file = small_run.write(tmp_path, data=data)
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "step=3.ckpt").write_bytes(b"")
        with pytest.raises(FileError, match="nowhere: expected a folder of shards"):
            main(["--config", str(file), "--overwrite"])
        assert (tmp_path / "checkpoints" / "step=3.ckpt").exists()

    def test_overwriting(self, tmp_path: Path) -> None:
        stages = {
            name: small_run.recipe(tmp_path / name, trainer__max_steps=2)
            for name in ("first", "second")
        }
        file = small_run.write_stages(tmp_path, stages)
        for name in stages:
            (tmp_path / name / "checkpoints").mkdir(parents=True)
            (tmp_path / name / "checkpoints" / "step=9.ckpt").write_bytes(b"")
        main(["--config", str(file), "--overwrite"])
        for name in stages:
            left = sorted(path.name for path in (tmp_path / name / "checkpoints").iterdir())
            assert left == ["epoch=0-step=2.ckpt", "last.ckpt"]

    def test_an_error_in_a_reading_process_is_ours(self, tmp_path: Path) -> None:
        file = small_run.write(tmp_path, data__init_args__workers=1, data__init_args__clips=0)
        with pytest.raises(InputError) as told:
            main(["--config", str(file)])
        assert str(told.value) == "clips: expected at least 1, got 0"

    def test_last_is_the_newest_and_a_damaged_one_is_told(self, tmp_path: Path) -> None:
        file = small_run.write(tmp_path)
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "step=3.ckpt").write_bytes(b"torn")
        with pytest.raises(FileError, match=r"step=3\.ckpt: expected a whole checkpoint"):
            main(["--config", str(file), "--ckpt_path", "last"])

    def test_one_checkpoint_for_two_stages(self, tmp_path: Path) -> None:
        stage = small_run.recipe(tmp_path)
        file = small_run.write_stages(tmp_path, {"first": stage, "second": stage})
        with pytest.raises(InputError, match="--ckpt_path: expected --stage with it"):
            main(["--config", str(file), "--ckpt_path", "some.ckpt"])

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("--device-flops h100", "--device-flops: expected --dry-run with it"),
            ("--dry-run --efficiency 0.3", "--efficiency: expected --dry-run --device-flops NAME"),
            ("--dry-run --device-flops h100 --efficiency 0", "--efficiency: expected above 0"),
            ("--dry-run --print-config", "--dry-run: expected no --print-config"),
        ],
    )
    def test_options_that_would_be_ignored(self, tmp_path: Path, words: str, message: str) -> None:
        with pytest.raises(InputError, match=message):
            main(["--config", str(small_run.write(tmp_path)), *words.split()])

    @pytest.mark.parametrize("seed", [-1, 1 << 32])
    def test_seeds_that_lightning_would_replace(self, tmp_path: Path, seed: int) -> None:
        file = small_run.write(tmp_path, seed_everything=seed)
        with pytest.raises(
            InputError, match=f"seed_everything: expected 0 to 4294967295, got {seed}"
        ):
            main(["--config", str(file)])

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"trianer": {"max_steps": 3}}, "trianer"),
            ({"model__init_args__lora": {"rnk": 8}}, "rnk"),
            ({"model__init_args__trained": {"backbone": "some"}}, "backbone"),
            ({"data__init_args__clips": "four"}, "clips"),
            ({"trainer__callbacks": [{"class_path": "no.such.Callback"}]}, "no.such.Callback"),
            ({"trainer__strategy": "fsdp3"}, "fsdp3"),
        ],
    )
    def test_wrong_keys_and_values(
        self, tmp_path: Path, changed: dict[str, Any], message: str
    ) -> None:
        file = small_run.write(tmp_path, **changed)
        with pytest.raises(InputError, match=message) as caught:
            main(["--config", str(file)])
        assert len(str(caught.value)) < 450

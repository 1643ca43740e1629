import errno
import json
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from jog3r import weights_file
from jog3r.errors import FileError, InputError, SaveError
from jog3r.stored_tensors import locate, shapes
from jog3r.weights_file import (
    check_weights,
    find_model,
    read_weights,
    weights_bytes,
    write_weights,
)


class Small(nn.Module):
    """Has a number that is no float, and one tensor under two names."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.first = nn.Linear(width, 2)
        self.second = nn.Linear(width, 2)
        self.second.weight = self.first.weight
        self.register_buffer("steps", torch.tensor(7))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write a module's weights in half precision."""
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    path.write_bytes(weights_bytes(Small(), torch.float16))
    return path


def fails(file: Path, says: str, module: nn.Module | None = None) -> None:
    """Check that reading fails and that the module is as it was."""
    module = Small() if module is None else module
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(FileError, match=says) as caught:
        read_weights(module, file)
    assert str(file) in str(caught.value)
    with pytest.raises(FileError) as checked:
        check_weights(module, file)
    assert str(checked.value) == str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_round_trip_in_half_precision(file: Path) -> None:
    torch.manual_seed(0)
    original, loaded = Small(), Small()
    read_weights(loaded, file)
    assert torch.equal(loaded.first.weight, original.first.weight.half().float())
    assert loaded.first.weight.dtype == torch.float32
    assert loaded.second.weight is loaded.first.weight
    assert loaded.get_buffer("steps").dtype == torch.int64


def test_a_shared_tensor_is_stored_once(file: Path) -> None:
    from safetensors import safe_open

    with safe_open(file, "pt") as content:
        assert set(content.keys()) == {"first.weight", "first.bias", "second.bias", "steps"}
        assert content.get_tensor("first.bias").dtype == torch.float16


def test_missing_file(tmp_path: Path) -> None:
    fails(tmp_path / "model.safetensors", "expected a weights file, got nothing")


@pytest.mark.parametrize("keep", [5, 60, 200, -1])
def test_truncated_file(file: Path, keep: int) -> None:
    file.write_bytes(file.read_bytes()[:keep])
    size = file.stat().st_size
    fails(file, f"expected a safetensors file, got a truncated or foreign one of {size} bytes")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "an empty file; copy it again"),
        (b"<!DOCTYPE html><html>not found</html>", "a web page .*; download the file itself"),
        (b"\xef\xbb\xbf\n <HTML lang=en>", "a web page saved under its name"),
        (LFS, "a Git LFS pointer in its place; run `git lfs pull`"),
        (b'{"error": "Repository not found"}', r"text \(JSON\)"),
        (b"PK\x03\x04" + bytes(200), "a Python pickle.*; .*jog3r convert"),
        (b"\x80\x02}q\x00.", "a Python pickle"),
        (bytes(8), "a truncated or foreign one of 8 bytes"),
        (bytes(range(256)), "a truncated or foreign one of 256 bytes"),
    ],
)
def test_foreign_file(file: Path, content: bytes, says: str) -> None:
    file.write_bytes(content)
    fails(file, f"expected a safetensors file, got {says}")


def test_unreadable_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(safetensors, "safe_open", refused)
    monkeypatch.setattr(Path, "open", refused)
    fails(file, r"got one that cannot be read \(Permission denied\); check its permissions")


def test_missing_and_unknown_tensors(file: Path) -> None:
    bigger = Small()
    bigger.extra = nn.Linear(1, 1)
    fails(file, r"got 2 missing \['extra.bias', 'extra.weight'\] and 0 unknown", bigger)
    fails(file, r"expected the 1 tensors .* 1 missing .* 4 unknown", nn.Linear(3, 2, bias=False))


def test_wrong_shape(file: Path) -> None:
    says = r"expected first.weight of shape \(2, 4\), got \(2, 3\) \(1 differ\)"
    fails(file, says, Small(width=4))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("first.bias", torch.tensor([0.0, float("nan")]), "finite numbers, got NaN or infinity"),
        ("first.bias", torch.tensor([0.0, -float("inf")]), "finite numbers, got NaN or infinity"),
        ("first.bias", torch.tensor([0.0, 1e300], dtype=torch.float64), "finite numbers"),
        ("first.bias", torch.tensor([True, False]), "got torch.bool"),
        ("first.bias", torch.tensor([1, 2]), "got torch.int64"),
        ("first.bias", torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn), "got torch.float8"),
        ("steps", torch.tensor(7.0), r"\['torch.int64'\], got torch.float32"),
    ],
)
def test_values_that_are_no_weights(file: Path, name: str, value: torch.Tensor, says: str) -> None:
    save_file({**load_file(file), name: value}, file)
    fails(file, rf"expected {name} .*{says}")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_other_precisions(tmp_path: Path, dtype: torch.dtype) -> None:
    module, path = Small(), tmp_path / "model.safetensors"
    path.write_bytes(weights_bytes(module, dtype))
    assert load_file(path)["first.bias"].dtype == dtype
    read_weights(module, path)


class Large(nn.Module):
    """Four matrices, a shared one, and what a state dict may hold besides."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))
        self.layers[3].weight = self.layers[0].weight
        self.register_buffer("steps", torch.tensor(7))
        self.register_buffer("passing", torch.zeros(3), persistent=False)
        self.layers[1].weight.requires_grad_(False)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


SHARDS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
INDEX = "model.safetensors.index.json"
DAMAGED = [b"", b"{", b"[]", b"{}", b"\xff\xfe", b"<html></html>", LFS, b"[" * 100_000]
DAMAGED += [b'{"weight_map": {}}', b'{"weight_map": {"a": 3}}', b'{"weight_map": {"a": "../b"}}']


@pytest.fixture
def large() -> Large:
    torch.manual_seed(1)
    return Large()


@pytest.fixture
def sharded(tmp_path: Path, large: Large) -> Path:
    """Write the large module in three shards of 1.1 kB."""
    folder = tmp_path / "sharded"
    write_weights(large, folder, max_shard_size=1200)
    return folder


class TestWriting:
    def test_one_file_in_the_layout_of_the_module(self, tmp_path: Path, large: Large) -> None:
        write_weights(large, tmp_path)
        assert names(tmp_path) == ["model.safetensors"]
        stored = load_file(tmp_path / "model.safetensors")
        assert set(stored) == set(large.state_dict()) - {"layers.3.weight"}
        assert all(torch.equal(stored[name], large.state_dict()[name]) for name in stored)

    @pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
    def test_files_have_the_usual_permissions(self, sharded: Path) -> None:
        (sharded / "usual").touch()
        usual = (sharded / "usual").stat().st_mode
        assert {file.stat().st_mode for file in sharded.iterdir()} == {usual}

    def test_shards_and_their_index(self, sharded: Path) -> None:
        assert names(sharded) == [*SHARDS, INDEX]
        index = json.loads((sharded / INDEX).read_text())
        assert set(index["weight_map"].values()) == set(SHARDS)
        assert index["metadata"]["total_size"] == 3 * 16 * 16 * 4 + 4 * 16 * 4 + 8
        assert locate(sharded) == [sharded / name for name in SHARDS]
        assert shapes(locate(sharded))["layers.1.weight"] == (16, 16)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
    def test_the_size_of_shards_is_that_of_the_stored_dtype(
        self, tmp_path: Path, large: Large, dtype: torch.dtype
    ) -> None:
        write_weights(large, tmp_path, dtype=dtype, max_shard_size=1200)
        files = locate(tmp_path)
        assert len(files) == {2: 2, 8: 4}[dtype.itemsize]
        assert {t.dtype for file in files for t in load_file(file).values()} == {dtype, torch.int64}
        assert large.layers[0].bias.dtype == torch.float32
        check_weights(Large(), tmp_path)

    def test_tensors_keep_the_dtype_they_are_in(self, tmp_path: Path) -> None:
        tensors = {"a": torch.ones(2).bfloat16(), "b": torch.ones(4, 2).T, "c": torch.tensor(True)}
        write_weights(tensors, tmp_path / "new" / "folder")
        stored = load_file(tmp_path / "new" / "folder" / "model.safetensors")
        assert {name: tensor.dtype for name, tensor in stored.items()} == {
            "a": torch.bfloat16,
            "b": torch.float32,
            "c": torch.bool,
        }

    def test_views_of_one_memory_are_stored_once(self, tmp_path: Path) -> None:
        one = torch.arange(6.0)
        write_weights({"a": one, "b": one.view(6), "c": one[:3]}, tmp_path)
        stored = load_file(tmp_path / "model.safetensors")
        assert set(stored) == {"a", "c"}
        assert stored["c"].tolist() == [0, 1, 2]

    def test_what_was_there_before_goes_and_other_files_stay(
        self, sharded: Path, large: Large
    ) -> None:
        (sharded / "config.json").write_text("{}")
        write_weights(large, sharded)
        assert names(sharded) == ["config.json", "model.safetensors"]
        write_weights(large, sharded, max_shard_size=1200)
        assert names(sharded) == ["config.json", *SHARDS, INDEX]
        write_weights(large, sharded, max_shard_size=2400)
        assert len(locate(sharded)) == 2
        assert len(names(sharded)) == 4
        read_weights(Large(), sharded)

    def test_a_full_disk_leaves_everything_as_it_was(
        self, sharded: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = {name: (sharded / name).read_bytes() for name in names(sharded)}
        write, written = safetensors.torch.save_file, []

        def second_fails(*args: object, **options: object) -> None:
            written.append(args)
            if len(written) == 2:
                raise safetensors.SafetensorError("I/O error: No space left on device")
            write(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(safetensors.torch, "save_file", second_fails)
        with pytest.raises(SaveError, match="expected to write it whole, got 'I/O error: No space"):
            write_weights(Large(), sharded, max_shard_size=1200)
        assert len(written) == 2
        assert {name: (sharded / name).read_bytes() for name in names(sharded)} == before

    def test_values_that_are_no_numbers_raise(self, tmp_path: Path) -> None:
        for value, dtype in ((float("nan"), None), (1e6, torch.float16)):
            with pytest.raises(InputError, match=r"weights: expected finite numbers .* in a; the"):
                write_weights({"a": torch.tensor([0.0, value])}, tmp_path / "new", dtype=dtype)
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
    def test_other_dtypes_raise(self, tmp_path: Path, large: Large, dtype: torch.dtype) -> None:
        for write in (
            lambda: write_weights(large, tmp_path / "new", dtype=dtype),
            lambda: weights_bytes(large, dtype),
        ):
            with pytest.raises(InputError, match="dtype: expected one of"):
                write()
        assert not (tmp_path / "new").exists()


class TestReadingShards:
    def test_round_trip(self, sharded: Path, large: Large) -> None:
        loaded = Large()
        addresses = [p.data_ptr() for p in loaded.parameters()]
        read_weights(loaded, sharded)
        assert all(map(torch.equal, loaded.state_dict().values(), large.state_dict().values()))
        assert [p.data_ptr() for p in loaded.parameters()] == addresses
        read_weights(Large(), sharded / INDEX)

    def test_a_module_on_the_meta_device_comes_to_be(self, sharded: Path, large: Large) -> None:
        with torch.device("meta"):
            loaded = Large().half()
        read_weights(loaded, sharded)
        assert loaded.layers[0].weight is loaded.layers[3].weight
        assert loaded.layers[0].weight.dtype == torch.float16
        assert [p.requires_grad for p in loaded.parameters()] == [
            p.requires_grad for p in large.parameters()
        ]
        for name, tensor in loaded.state_dict().items():
            torch.testing.assert_close(
                tensor, large.state_dict()[name], check_dtype=False, atol=1e-3, rtol=1e-3
            )
        assert set(loaded.state_dict()) == set(large.state_dict())

    def test_memory_layout_is_that_of_the_module(self, tmp_path: Path) -> None:
        conv = nn.Conv2d(4, 4, 3)
        write_weights(conv, tmp_path)
        loaded = nn.Conv2d(4, 4, 3, device="meta")
        loaded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        read_weights(loaded, tmp_path)
        assert loaded.weight.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(loaded.weight, conv.weight)

    def fails(self, folder: Path, file: str, says: str) -> None:
        module = Large()
        before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        with pytest.raises(FileError, match=says) as caught:
            read_weights(module, folder)
        assert str(caught.value).startswith(f"{folder / file}: expected ")
        assert all(map(torch.equal, before.values(), module.state_dict().values()))

    def test_a_missing_shard(self, sharded: Path) -> None:
        (sharded / SHARDS[1]).unlink()
        self.fails(sharded, INDEX, rf"expected 3 shards beside it, got 1 missing \['{SHARDS[1]}'\]")

    def test_a_truncated_shard(self, sharded: Path) -> None:
        shard = sharded / SHARDS[2]
        shard.write_bytes(shard.read_bytes()[:-1])
        self.fails(sharded, SHARDS[2], "got a truncated or foreign one of")

    @pytest.mark.parametrize("content", [b"", LFS, b"<html>"])
    def test_a_foreign_shard(self, sharded: Path, content: bytes) -> None:
        (sharded / SHARDS[0]).write_bytes(content)
        self.fails(sharded, SHARDS[0], "expected a safetensors file, got an? ")

    def test_an_index_that_names_what_a_shard_does_not_have(self, sharded: Path) -> None:
        index = json.loads((sharded / INDEX).read_text())
        home = index["weight_map"]["layers.1.weight"]
        index["weight_map"]["layers.9.weight"] = home
        (sharded / INDEX).write_text(json.dumps(index))
        self.fails(sharded, home, r"1 missing \['layers.9.weight'\] and 0 unknown")

    def test_a_shard_that_holds_what_the_index_does_not_name(self, sharded: Path) -> None:
        shard = sharded / SHARDS[0]
        save_file({**load_file(shard), "more": torch.ones(1)}, shard)
        self.fails(sharded, SHARDS[0], r"0 missing \[\] and 1 unknown \['more'\]")

    @pytest.mark.parametrize("content", DAMAGED, ids=lambda content: str(content[:20]))
    def test_a_damaged_index(self, sharded: Path, content: bytes) -> None:
        (sharded / INDEX).write_bytes(content)
        self.fails(sharded, INDEX, "expected an index of shards .*, got .*; copy the model folder")

    def test_a_shard_of_another_model(self, sharded: Path) -> None:
        module = Large()
        module.layers.append(nn.Linear(1, 1))
        with pytest.raises(FileError, match=r"got 2 missing \['layers.4.bias', 'layers.4"):
            read_weights(module, sharded)

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        self.fails(tmp_path, "model.safetensors", "expected a weights file, got nothing")


class TestFindModel:
    def test_a_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "my" / "model").mkdir(parents=True)
        monkeypatch.chdir(tmp_path)
        assert find_model("my/model") == Path("my/model")
        assert find_model(tmp_path / "my") == tmp_path / "my"

    def test_what_ships(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(weights_file.resources, "files", lambda package: tmp_path / package)
        folder = tmp_path / "jog3r" / "weights" / "tiny"
        with pytest.raises(FileError, match=r"the weights of tiny in .*; train them \(jog3r train"):
            find_model("tiny")
        folder.mkdir(parents=True)
        assert find_model("tiny") == folder

    @pytest.mark.parametrize("name", ["tinny", "/no/such", "./no/such", "../such", "a/b/c", ""])
    def test_no_such_model(self, name: str) -> None:
        with pytest.raises(FileError, match=r"expected one of \['tiny'\], a model folder or"):
            find_model(name)

    def test_a_path_is_no_hub_id(self) -> None:
        with pytest.raises(FileError, match="a model folder"):
            find_model(Path("owner/name"))

    def test_a_hub_that_cannot_be_reached(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import huggingface_hub

        def unreachable(*args: object, **options: object) -> str:
            raise ConnectionError("no route to host")

        monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
        with pytest.raises(FileError, match=r"got owner/name \(ConnectionError\); check the name"):
            find_model("owner/name")

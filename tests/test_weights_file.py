from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from jog3r import weights_file
from jog3r.errors import FileError
from jog3r.weights_file import find_model, read_weights, weights_bytes


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


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_truncated_file(file: Path, keep: int) -> None:
    file.write_bytes(file.read_bytes()[:keep])
    fails(file, "expected a safetensors file, got a truncated or foreign one")


@pytest.mark.parametrize(
    "content", [b"<!DOCTYPE html><html>not found</html>", b"PK\x03\x04" + bytes(200), bytes(8)]
)
def test_foreign_file(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    fails(file, "expected a safetensors file, got a truncated or foreign one")


def test_missing_and_unknown_tensors(file: Path) -> None:
    bigger = Small()
    bigger.extra = nn.Linear(1, 1)
    fails(file, r"got 2 missing \['extra.bias', 'extra.weight'\] and 0 unknown", bigger)
    fails(file, r"expected the 1 tensors .* 1 missing .* 4 unknown", nn.Linear(3, 2, bias=False))


def test_wrong_shape(file: Path) -> None:
    says = r"expected first.weight of shape \(2, 4\), got \(2, 3\) \(2 tensors differ\)"
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

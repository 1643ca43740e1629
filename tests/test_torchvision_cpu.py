"""torchvision imports beside a CPU torch, and costs nothing until it is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from jog3r.torchvision_cpu import _compiled_operators_load, _TorchvisionFinder, install


def run(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_torchvision_imports_and_keeps_its_own_loader() -> None:
    code = """
import jog3r, torchvision
from importlib.machinery import SourceFileLoader
from torchvision.transforms import v2
print(type(torchvision.__loader__) is type(torchvision.__spec__.loader) is SourceFileLoader)
"""
    assert run(code) == "True"


def test_asking_for_torchvision_loads_nothing() -> None:
    code = """
import sys, jog3r
from importlib.util import find_spec
print(find_spec("torchvision") is not None, "torch" in sys.modules, "ctypes" in sys.modules)
"""
    assert run(code) == "True False False"


def test_missing_torchvision_stays_missing() -> None:
    code = """
import sys, jog3r
sys.path[:] = [folder for folder in sys.path if "site-packages" not in folder]
from importlib.util import find_spec
print(find_spec("torchvision"))
"""
    assert run(code) == "None"


def test_operators_without_implementation_say_so() -> None:
    import torch
    import torchvision

    if torchvision.extension._has_ops():
        pytest.skip("torchvision's compiled operators load here")
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    with pytest.raises((NotImplementedError, RuntimeError), match="torchvision"):
        torchvision.ops.nms(boxes, torch.ones(1), 0.5)


def test_finder_is_installed_once() -> None:
    install()
    install()
    assert sum(isinstance(finder, _TorchvisionFinder) for finder in sys.meta_path) == 1


def test_other_names_are_left_alone() -> None:
    assert _TorchvisionFinder().find_spec("torch") is None
    assert _TorchvisionFinder().find_spec("torchvision.ops") is None


def test_accelerator_builds_of_torch_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    import torchvision

    folder = str(Path(torchvision.__file__).parent)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert _compiled_operators_load(folder)


def test_extension_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    assert _compiled_operators_load(str(tmp_path))
    (tmp_path / "_C.so").write_bytes(b"no library")
    assert not _compiled_operators_load(str(tmp_path))

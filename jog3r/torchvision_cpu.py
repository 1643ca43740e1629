"""Let `import torchvision` succeed next to a CPU build of torch.

The torchvision wheels of the common package index are linked against CUDA. Beside a CPU-only torch
their compiled operators do not load, and torchvision then fails while it attaches shape functions
to operators that do not exist (`operator torchvision::nms does not exist`). timm, lightning,
torchmetrics, diffusers and transformers all import torchvision, so all of them fail with it.

Importing this module puts a finder in front of `sys.meta_path`. It acts only when torchvision
itself is imported, and only if its compiled operators really do not load: then it declares the
signatures that torchvision expects. The operators stay without an implementation (nothing in jog3r
calls them); a call raises torch's own error.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_OPERATORS = ("nms", "qnms")
# torch drops the declarations as soon as the library object is collected.
_declared: list[Any] = []


def _compiled_operators_load(folder: str) -> bool:
    """Say whether torchvision's compiled extension is absent (nothing to mend) or loads."""
    import ctypes
    from pathlib import Path

    # The extension links against torch's libraries: they must be in the process before it.
    import torch

    if torch.version.cuda is not None or torch.version.hip is not None:
        return True
    for extension in Path(folder).glob("_C*.so"):
        try:
            ctypes.CDLL(str(extension))
        except OSError:
            return False
    return True


def _declare_operators() -> None:
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _OPERATORS:
        library.define(name + _SIGNATURE)
    _declared.append(library)


class _DeclaringLoader:
    """Declare the operators if they are needed, then hand over to torchvision's real loader."""

    def __init__(self, loader: Any, folder: str) -> None:
        self._loader = loader
        self._folder = folder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # The module must not remember this loader: importlib.resources asks the real one for files.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        # A second execution (reload) must not declare the same operators twice.
        if not _declared and not _compiled_operators_load(self._folder):
            _declare_operators()
        self._loader.exec_module(module)


class _TorchvisionFinder:
    """Find torchvision as the other finders do, with a loader that declares its operators first."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return torchvision's spec, and None for every other name."""
        if name != "torchvision":
            return None
        spec = self._ask_others(name, path, target)
        if spec is not None and spec.loader is not None and spec.submodule_search_locations:
            folder = next(iter(spec.submodule_search_locations))
            loader: Any = _DeclaringLoader(spec.loader, folder)
            spec.loader = loader
        return spec

    def _ask_others(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if isinstance(finder, _TorchvisionFinder):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                return spec
        return None


def install() -> None:
    """Put the finder first in `sys.meta_path`, once."""
    if not any(isinstance(finder, _TorchvisionFinder) for finder in sys.meta_path):
        finder: Any = _TorchvisionFinder()
        sys.meta_path.insert(0, finder)


install()

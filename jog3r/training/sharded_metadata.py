"""The list of tensors in a sharded checkpoint, a pickle that torch reads without a second look."""

import pickle
from pathlib import Path
from typing import Any

import torch

from jog3r.errors import FileError
from jog3r.training.checkpoint_files import damaged

METADATA_FILE = ".metadata"
# What such a list is made of, beside torch's dtypes. Making one of these does nothing else.
PLAIN_MODULE = "torch.distributed.checkpoint.metadata"
PLAIN_NAMES = {
    *(("torch", "Size"), ("torch.serialization", "_get_layout")),
    *(("pathlib", name) for name in ("PosixPath", "PurePosixPath", "WindowsPath")),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.distributed.checkpoint.filesystem", "_StoragePrefix"),
}


def check_metadata(checkpoint: Path) -> None:
    """Read the list with a reader that knows nothing but such lists.

    Raises:
        FileError: There is something else in it, which was not run, or it is damaged.
    """
    try:
        with (checkpoint / METADATA_FILE).open("rb") as file:
            _PlainReader(file).load()
    except FileError:
        raise
    except Exception as error:  # of pickle: many kinds
        raise damaged(checkpoint, error) from error


class _PlainReader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = module in (PLAIN_MODULE, "torch") or (module, name) in PLAIN_NAMES
        found = super().find_class(module, name) if known else None
        own = module == PLAIN_MODULE and getattr(found, "__module__", "") == PLAIN_MODULE
        if not (own or isinstance(found, torch.dtype) or (module, name) in PLAIN_NAMES):
            raise FileError(
                f"{METADATA_FILE}: expected a list of tensors, got one that holds code"
                f" ({module}.{name}), which was not run; take another checkpoint"
            )
        return found

"""Checkpoints that are there whole or not at all, and errors that say which one is damaged."""

from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from jog3r.errors import FileError
from jog3r.export.atomic import atomic_file
from jog3r.training.checkpoint_files import (
    check_whole,
    damaged,
    delete,
    is_sharded,
    remove_leftovers,
)
from jog3r.training.sharded_files import read_sharded


class AtomicCheckpoints(TorchCheckpointIO):
    """Write each checkpoint beside its place and rename it when it is complete.

    Whatever ends the process while it writes leaves the previous checkpoint of that name. Lightning
    itself assembles a checkpoint in memory and moves it from the system's temporary folder, which
    is neither whole nor quick where that is another disk. Addresses of remote storage are left to
    Lightning.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: What Lightning has gathered.
            path: To create or replace.
            storage_options: Of remote storage.

        Raises:
            SaveError: Anything that the operating system refuses; the previous one is untouched.
        """
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        place = Path(path)
        remove_leftovers(place.parent)
        with atomic_file(place) as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # of torch's archive; what stopped it is behind it
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise
            file.flush()
            if place.is_dir():  # of a run with a folder of shares, which no file can replace
                delete(place)

    def load_checkpoint(
        self,
        path: Any,
        map_location: Callable | None = lambda storage, _: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint.

        Args:
            path: A file, or an address of remote storage.
            map_location: Where tensors go; they stay where they were by default.
            weights_only: As in `torch.load`.

        Raises:
            FileError: It is damaged, or no checkpoint of training.
        """
        if "://" not in str(path):
            if is_sharded(Path(path)):
                return read_sharded(Path(path))
            check_whole(Path(path))
        try:
            read = super().load_checkpoint(path, map_location, weights_only)
        except (RuntimeError, UnpicklingError, EOFError, ValueError, KeyError) as error:
            raise damaged(path, error) from error
        if not isinstance(read, dict) or not {"state_dict", "loops"} <= set(read):
            raise FileError(
                f"{path}: expected a checkpoint of training, got another file of torch; published"
                " weights go into start, not into --ckpt_path"
            )
        return read

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint, be it a file, a folder or a link to one."""
        if "://" in str(path):
            super().remove_checkpoint(path)
        else:
            delete(Path(path))

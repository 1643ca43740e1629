"""What a stage of a recipe writes, and what an earlier run has left there."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jog3r.errors import InputError
from jog3r.training.checkpoint_files import (
    checkpoints_in,
    delete,
    remove_leftovers,
    written,
)

# How launchers tell a process which one it is: torchrun, Lightning itself, SLURM.
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")


def is_first_process() -> bool:
    """Tell whether this process is the first of its run."""
    return next((os.environ[name] for name in RANKS if name in os.environ), "0") == "0"


def newest_checkpoint(stage: Mapping[str, Any]) -> Path | None:
    """Give the newest checkpoint of a stage; None where there is none yet."""
    return max(_checkpoints(stage), key=written, default=None)


def check_unused(name: str, stage: Mapping[str, Any]) -> None:
    """Check that a stage that begins anew overwrites nothing.

    Raises:
        InputError: There are checkpoints or published weights of an earlier run.
    """
    found = [*_checkpoints(stage), *_published(stage)]
    if found:
        raise InputError(
            f"stage {name}: expected folders without an earlier run, got {found[-1]}; go on with"
            " --ckpt_path last, begin anew with --overwrite, or name other folders in the recipe"
        )


def clear(stage: Mapping[str, Any]) -> None:
    """Delete the checkpoints of an earlier run, so that none is taken for one of the new run.

    Its published weights stay until new ones replace them.
    """
    for folder in _folders(stage, "ModelCheckpoint", "dirpath"):
        for checkpoint in checkpoints_in(folder):
            delete(checkpoint)
        remove_leftovers(folder)


def _checkpoints(stage: Mapping[str, Any]) -> list[Path]:
    folders = _folders(stage, "ModelCheckpoint", "dirpath")
    return [checkpoint for folder in folders for checkpoint in checkpoints_in(folder)]


def _published(stage: Mapping[str, Any]) -> list[Path]:
    folders = _folders(stage, "PublishWeights", "folder")
    return [file for folder in folders for file in sorted(folder.glob("*.safetensors"))]


def _folders(stage: Mapping[str, Any], kind: str, key: str) -> Iterator[Path]:
    """Find the folders that callbacks of a class write to.

    What is no list of callbacks is left for the parser of recipes to complain about.
    """
    trainer = stage.get("trainer")
    callbacks = trainer.get("callbacks") if isinstance(trainer, Mapping) else None
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        if not isinstance(callback, Mapping) or not isinstance(callback.get("init_args"), Mapping):
            continue
        folder = callback["init_args"].get(key)
        if folder and str(callback.get("class_path")).endswith(f".{kind}"):
            yield Path(folder)

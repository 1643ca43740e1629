"""Checkpoints as folders to which every process writes its share.

`meta.pt` holds the checkpoint with a name in the place of each tensor; the tensors lie beside it as
torch's distributed checkpoints. So any number of processes can read what any number has written.
"""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor import empty as empty_shares

from jog3r.errors import SaveError
from jog3r.training.checkpoint_files import METADATA, damaged, delete, remove_leftovers

KEPT = "jog3r tensor"


def write_sharded(checkpoint: dict[str, Any], path: Path, *, token: str) -> None:
    """Write a folder; every process must call it.

    The folder gets its name when all of them are done, so whatever ends them leaves the previous
    checkpoint of that name, or, between two renamings, those of other steps.

    Args:
        checkpoint: Its shared tensors are written by whom they belong to, all else by the first.
        path: To create or replace, on a disk that all processes see.
        token: The same in every process and for no other checkpoint.

    Raises:
        SaveError: Something that the operating system refuses.
    """
    try:
        _write(checkpoint, path, token)
    except (CheckpointException, OSError) as error:
        raise SaveError(
            f"{path}: expected to write it, got '{_first_cause(error)}'; free some space or choose"
            " another place"
        ) from error


def _write(checkpoint: dict[str, Any], path: Path, token: str) -> None:
    first = dist.get_rank() == 0
    place = path.with_name(f".{path.name}.{token}.tmp")
    if first:
        remove_leftovers(path.parent)
        place.mkdir(parents=True)
    tensors: dict[str, Tensor] = {}
    skeleton = _without_tensors(checkpoint, "", tensors)
    dist.barrier()
    save(tensors, checkpoint_id=place)
    if first:
        with (place / METADATA).open("xb") as file:
            torch.save(skeleton, file)
            file.flush()
            os.fsync(file.fileno())
        _replace(place, path, token)
    dist.barrier()


def read_sharded(path: Path, *, mesh: DeviceMesh | None = None) -> dict[str, Any]:
    """Read a folder.

    Args:
        path: The folder.
        mesh: Of the processes that read it together, each its share; None to read all of it here.

    Raises:
        FileError: It is damaged.
    """
    try:
        skeleton = torch.load(path / METADATA, weights_only=True)
        tensors: dict[str, Tensor] = {}
        checkpoint = _with_tensors(skeleton, mesh, tensors)
        with warnings.catch_warnings():
            # That without a mesh this is one process, as it is meant to be.
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            load(tensors, checkpoint_id=path, no_dist=mesh is None)
    except (CheckpointException, RuntimeError, OSError, EOFError, KeyError, ValueError) as error:
        raise damaged(path, _first_cause(error)) from error
    return checkpoint


def _without_tensors(tree: Any, name: str, found: dict[str, Tensor]) -> Any:
    """Put names in the place of tensors, and collect these."""
    if isinstance(tree, Tensor):
        found[name] = tree.detach()
        shared = isinstance(tree, DTensor)
        return {KEPT: name, "shape": list(tree.shape), "dtype": tree.dtype, "shared": shared}
    if isinstance(tree, Mapping):
        return {key: _without_tensors(each, f"{name}/{key}", found) for key, each in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(
            _without_tensors(each, f"{name}/{i}", found) for i, each in enumerate(tree)
        )
    return tree


def _with_tensors(tree: Any, mesh: DeviceMesh | None, made: dict[str, Tensor]) -> Any:
    """Put empty tensors, to be read into, in the place of their names."""
    if isinstance(tree, Mapping) and KEPT in tree:
        shape, dtype = tree["shape"], tree["dtype"]
        if mesh is not None and tree["shared"]:
            tensor: Tensor = empty_shares(
                *shape, dtype=dtype, device_mesh=mesh, placements=[Shard(0)]
            )
        else:
            tensor = torch.empty(shape, dtype=dtype)
        made[tree[KEPT]] = tensor
        return tensor
    if isinstance(tree, Mapping):
        return {key: _with_tensors(each, mesh, made) for key, each in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_with_tensors(each, mesh, made) for each in tree)
    return tree


def _first_cause(error: BaseException) -> object:
    """Take one process' reason out of torch's report on all of them."""
    if isinstance(error, CheckpointException):
        return next(iter(error.failures.values()))[0]
    return error


def _replace(place: Path, path: Path, token: str) -> None:
    old = path.with_name(f".{path.name}.{token}.old.tmp")
    if path.exists():
        path.rename(old)
    place.rename(path)
    delete(old)

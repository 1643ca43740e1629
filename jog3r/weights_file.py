"""Weights <-> one safetensors file, checked before anything is changed."""

from pathlib import Path

import torch
from torch import nn

from jog3r.errors import FileError, SaveError


def write_weights(module: nn.Module, file: Path, dtype: torch.dtype) -> None:
    """Write the state dict, floating tensors in `dtype`, through a temporary file.

    Raises:
        SaveError: The file cannot be written; an existing one is left as it was.
    """
    from safetensors.torch import save_file

    # T5 keeps its word embedding under two names; one is enough.
    aliases = _aliases(module)
    state = {name: tensor for name, tensor in module.state_dict().items() if name not in aliases}
    unique = {
        name: (t.to(dtype) if t.is_floating_point() else t).contiguous().cpu()
        for name, t in state.items()
    }
    temporary = file.with_name(file.name + ".part")
    try:
        save_file(unique, temporary)
        temporary.replace(file)
    except Exception as error:
        temporary.unlink(missing_ok=True)
        raise SaveError(
            f"{file}: expected to write {len(unique)} tensors, got {error}; free some space or choose another folder"
        ) from error


def read_weights(module: nn.Module, file: Path) -> None:
    """Load a file strictly into a module, in the module's own dtype.

    Raises:
        FileError: The file is missing, truncated or not safetensors, or its names or shapes do not fit. The module is
            left as it was.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.is_file():
        raise FileError(
            f"{file}: expected a weights file, got nothing; the model folder is incomplete, copy it again"
        )
    try:
        state = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise FileError(
            f"{file}: expected a safetensors file, got a truncated or foreign one ({error}); copy it again"
        ) from error
    wanted = module.state_dict()
    for alias, name in _aliases(module).items():
        if name in state:
            state[alias] = state[name]
    missing, extra = sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted))
    if missing or extra:
        raise FileError(
            f"{file}: expected the {len(wanted)} tensors of this model, got {len(missing)} missing {missing[:3]} and "
            f"{len(extra)} unknown {extra[:3]}; the weights belong to another model"
        )
    wrong = [name for name, tensor in state.items() if tensor.shape != wanted[name].shape]
    if wrong:
        name = wrong[0]
        raise FileError(
            f"{file}: expected {name} of shape {tuple(wanted[name].shape)}, got {tuple(state[name].shape)} "
            f"({len(wrong)} tensors differ); the weights belong to another config"
        )
    module.load_state_dict(state)


def _aliases(module: nn.Module) -> dict[str, str]:
    """State-dict names that share a tensor with an earlier name -> that name."""
    first: dict[int, str] = {}
    aliases = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) in first:
            aliases[name] = first[id(tensor)]
        else:
            first[id(tensor)] = name
    return aliases

"""A model's folder and its weights in safetensors, checked before anything is changed."""

from importlib import resources
from pathlib import Path

import torch
from torch import Tensor, nn

from jog3r.errors import FileError, InputError

# Models that ship inside the package.
EMBEDDED = ("tiny",)
CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE = "config.json", "model.safetensors", "tokenizer.json"
# What weights may be stored in; float8 needs scales that a file does not have.
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def find_model(name: str | Path) -> Path:
    """Return the folder of a model.

    Args:
        name: A model that ships with the package, a folder, or a Hugging Face Hub id, which is
            downloaded. A `Path` is never taken for a hub id.

    Raises:
        FileError: No such folder, weights that are not in this tree, or a hub id that cannot be
            reached.
        InputError: Neither a string nor a path.
    """
    if not isinstance(name, str | Path):
        raise InputError(
            f"model: expected a name or a folder, got {type(name).__name__}; pass text or a Path"
        )
    if str(name) in EMBEDDED:
        folder = Path(str(resources.files("jog3r") / "weights" / str(name)))
        if not folder.is_dir():
            raise FileError(
                f"model: expected the weights of {name} in {folder}, got no such folder; train them"
                f" (jog3r train --config recipes/{name}.yaml) or give a model folder"
            )
        return folder
    if name and Path(name).is_dir():
        return Path(name)
    owner, _, model = str(name).partition("/")
    if isinstance(name, Path) or not owner.strip(".") or not model or "/" in model:
        raise FileError(
            f"model: expected one of {list(EMBEDDED)}, a model folder or a hub id 'owner/name', got"
            f" {name}; check the path"
        )
    return _download(str(name))


def weights_bytes(module: nn.Module, dtype: torch.dtype) -> bytes:
    """Give the state dict as the content of a safetensors file, floating tensors in `dtype`.

    Raises:
        InputError: A dtype that would lose the weights.
    """
    from safetensors.torch import save

    if dtype not in FLOATS:
        raise InputError(
            f"dtype: expected one of {[str(each) for each in FLOATS]}, got {dtype!r}; torch.float16"
            " is usual"
        )
    aliases = _aliases(module)
    state = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in module.state_dict().items()
        if name not in aliases
    }
    return save(state)


def read_weights(module: nn.Module, file: Path) -> None:
    """Load a file strictly into a module, in the module's own dtype.

    Raises:
        FileError: The file is missing, truncated or not safetensors, or its names, shapes or dtypes
            do not fit, or it holds NaN or infinity. The module is left as it was.
    """
    state = _read(file)
    wanted = module.state_dict()
    for alias, name in _aliases(module).items():
        if name in state:
            state[alias] = state[name]
    missing, extra = sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted))
    if missing or extra:
        raise FileError(
            f"{file}: expected the {len(wanted)} tensors of this model, got {len(missing)} missing"
            f" {missing[:3]} and {len(extra)} unknown {extra[:3]}; the weights belong to another"
            " model"
        )
    wrong = [name for name, tensor in state.items() if tensor.shape != wanted[name].shape]
    if wrong:
        name = wrong[0]
        raise FileError(
            f"{file}: expected {name} of shape {tuple(wanted[name].shape)}, got"
            f" {tuple(state[name].shape)} ({len(wrong)} tensors differ); the weights belong to"
            " another config"
        )
    for name, tensor in state.items():
        _check_values(f"{file}: expected {name}", tensor, wanted[name].dtype)
    module.load_state_dict(state)


def _check_values(expected: str, tensor: Tensor, dtype: torch.dtype) -> None:
    kinds = FLOATS if dtype.is_floating_point else (dtype,)
    if tensor.dtype not in kinds:
        raise FileError(
            f"{expected} in one of {[str(kind) for kind in kinds]}, got {tensor.dtype}; the file is"
            " damaged or was not made by jog3r, copy it again"
        )
    if not dtype.is_floating_point or not tensor.numel():
        return
    # In the module's dtype, where a large number may overflow. The extremes of a tensor are NaN if
    # any value is, and two numbers are quicker to look at.
    if not torch.stack(tensor.to(dtype).aminmax()).isfinite().all():
        raise FileError(
            f"{expected} of finite numbers, got NaN or infinity; the training diverged or the file"
            " is damaged, take another one"
        )


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    wanted = [CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE, "README.md"]
    try:
        return Path(snapshot_download(hub_id, allow_patterns=wanted))
    except Exception as error:  # of the network, of the hub, of its client: many kinds
        raise FileError(
            f"model: expected a folder or a reachable hub id, got {hub_id}"
            f" ({type(error).__name__}); check the name and the connection"
        ) from error


def _read(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.is_file():
        raise FileError(
            f"{file}: expected a weights file, got nothing; the model folder is incomplete, copy"
            " it again"
        )
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise FileError(
            f"{file}: expected a safetensors file, got a truncated or foreign one ({error}); copy"
            " it again"
        ) from error


def _aliases(module: nn.Module) -> dict[str, str]:
    """Map state-dict names that share a tensor with an earlier name to that name.

    T5 keeps its word embedding under two names; a file holds it once.
    """
    first: dict[int, str] = {}
    aliases = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) in first:
            aliases[name] = first[id(tensor)]
        else:
            first[id(tensor)] = name
    return aliases

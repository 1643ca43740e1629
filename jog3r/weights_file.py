"""A model's folder and its weights in safetensors, checked before anything is changed.

Weights lie in one file, or in several with an index when they are large: the layout of Hugging
Face. Writing appears whole or not at all; reading never holds the weights twice.
"""

import json
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jog3r.errors import FileError, InputError
from jog3r.stored_tensors import INDEX_FILE, WEIGHTS_FILE, locate, shapes, tensors

# Models that ship inside the package.
EMBEDDED = ("tiny",)
CONFIG_FILE, TOKENIZER_FILE = "config.json", "tokenizer.json"
SHARD_PATTERN = "model-*-of-*.safetensors"
WEIGHTS_PATTERNS = (WEIGHTS_FILE, INDEX_FILE, SHARD_PATTERN)
# What weights may be stored in; float8 needs scales that a file does not have.
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
MAX_SHARD_SIZE = "5GB"


def find_model(name: str | Path, **hub: Any) -> Path:
    """Return the folder of a model.

    Args:
        name: A model that ships with the package, a folder, or a Hugging Face Hub id, which is
            downloaded. A `Path` is never taken for a hub id.
        hub: Options of huggingface_hub's `snapshot_download`, such as `revision`.

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
    return _download(str(name), hub)


def write_weights(
    weights: nn.Module | Mapping[str, Tensor],
    folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    max_shard_size: int | str = MAX_SHARD_SIZE,
) -> None:
    """Write `model.safetensors`, or shards and their index, in place of those in the folder.

    Args:
        weights: A module, or tensors by name.
        folder: Made if missing; its other files stay.
        dtype: Of the stored floating tensors; None for what they are in. Only one shard at a time
            is converted.
        max_shard_size: Of a file, in bytes or as in "5GB".

    Raises:
        InputError: A dtype that would lose the weights, or NaN or infinity in them.
        SaveError: A file cannot be written; what was in the folder is left as it was.
    """
    from huggingface_hub import split_torch_state_dict_into_shards

    from jog3r.export.atomic import atomic_files

    _check_dtype(dtype)
    state = _unique(_state(weights))
    # Only sizes are asked for, and those of the dtype to be written.
    sizes = {
        name: tensor.detach().to("meta", _stored_as(tensor, dtype))
        for name, tensor in state.items()
    }
    plan = split_torch_state_dict_into_shards(sizes, max_shard_size=max_shard_size)
    with atomic_files(folder, obsolete=WEIGHTS_PATTERNS) as place:
        for file, names in plan.filename_to_tensors.items():
            _write({name: state[name] for name in names}, place / file, dtype)
        if plan.is_sharded:
            index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
            (place / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", "utf-8")


def weights_bytes(module: nn.Module, dtype: torch.dtype) -> bytes:
    """Give the state dict as the content of a safetensors file, floating tensors in `dtype`.

    Raises:
        InputError: A dtype that would lose the weights, or NaN or infinity in them.
    """
    from safetensors.torch import save

    _check_dtype(dtype)
    state = _unique(_state(module))
    return save({name: _prepared(name, tensor, dtype) for name, tensor in state.items()})


def read_weights(module: nn.Module, source: str | Path) -> None:
    """Load weights strictly into a module, in the module's own dtype.

    Tensors go into the module one by one, so that a large model needs its own size and no more.
    Those of a module on the meta device come to be on the CPU; what is not part of its state dict
    stays as it is.

    Args:
        module: All its parameters and persistent buffers are replaced.
        source: A safetensors file, an index, or a folder with `model.safetensors` or its index.

    Raises:
        FileError: A file is missing, truncated or not safetensors, or names, shapes or dtypes do
            not fit, or there is NaN or infinity. The module is left as it was.
    """
    check_weights(module, source)
    state, aliases = _state(module), _aliases(_state(module))
    for stored_name, tensor in tensors(locate(Path(source))):
        name = aliases.get(stored_name, stored_name)
        old = state[name]
        with torch.no_grad():
            if not old.is_meta:
                old.copy_(tensor)
                continue
            new = torch.empty_like(old, device="cpu").copy_(tensor)
        names = [name, *(alias for alias, first in aliases.items() if first == name)]
        _replace(module, names, new)


def check_weights(module: nn.Module, source: str | Path, *, values: bool = True) -> None:
    """Check that weights fit a module, as `read_weights` does; nothing is changed.

    Args:
        module: May be on the meta device.
        source: A safetensors file, an index, or a folder with `model.safetensors` or its index.
        values: Whether to look at the values too; names and shapes stand at a file's beginning.

    Raises:
        FileError: As `read_weights`.
    """
    files = locate(Path(source))
    _check_sizes(str(source), shapes(files), _state(module))
    if values:
        _check_values(str(source), tensors(files), _state(module))


def check_tensors(module: nn.Module, found: Mapping[str, Tensor], source: str | Path) -> None:
    """Check that tensors fit a module, as `read_weights` does; nothing is changed.

    Args:
        module: May be on the meta device.
        found: By name.
        source: Where they come from, for messages.

    Raises:
        FileError: Names, shapes or dtypes do not fit, or there is NaN or infinity.
    """
    sizes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    _check_sizes(str(source), sizes, _state(module))
    _check_values(str(source), found.items(), _state(module))


def shared_names(weights: nn.Module | Mapping[str, Tensor]) -> dict[str, str]:
    """Map names that share a tensor with an earlier name to that name.

    T5 keeps its word embedding under two names; a file holds it once.
    """
    return _aliases(_state(weights))


def _check_sizes(
    source: str, found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, Tensor]
) -> None:
    _check_names(source, set(found), wanted)
    wrong = [name for name, shape in found.items() if shape != tuple(wanted[name].shape)]
    if wrong:
        name = wrong[0]
        raise FileError(
            f"{source}: expected {name} of shape {tuple(wanted[name].shape)}, got {found[name]}"
            f" ({len(wrong)} differ); the weights belong to another config, take those of this one"
        )


def _check_names(source: str, found: set[str], wanted: Mapping[str, Tensor]) -> None:
    aliases = _aliases(wanted)
    firsts = {aliases.get(name, name) for name in found}
    missing = sorted(name for name in wanted if aliases.get(name, name) not in firsts)
    extra = sorted(found - set(wanted))
    if missing or extra:
        raise FileError(
            f"{source}: expected the {len(wanted)} tensors of this model, got {len(missing)}"
            f" missing {missing[:3]} and {len(extra)} unknown {extra[:3]}; download the weights of"
            " this model again"
        )


def _check_values(
    source: str, found: Iterable[tuple[str, Tensor]], wanted: Mapping[str, Tensor]
) -> None:
    for name, tensor in found:
        dtype = wanted[name].dtype
        kinds = FLOATS if dtype.is_floating_point else (dtype,)
        if tensor.dtype not in kinds:
            raise FileError(
                f"{source}: expected {name} in one of {[str(kind) for kind in kinds]}, got"
                f" {tensor.dtype}; the file is damaged or was not made by jog3r, copy it again"
            )
        # In the module's dtype, where a large number may overflow.
        if not _finite(tensor.to(dtype)):
            raise FileError(
                f"{source}: expected {name} of finite numbers, got NaN or infinity; the training"
                " diverged or the file is damaged, take another one"
            )


def _finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    # The extremes are NaN if any value is, and two numbers are quicker to look at.
    return bool(torch.stack(tensor.aminmax()).isfinite().all())


def _replace(module: nn.Module, names: list[str], tensor: Tensor) -> None:
    """Put one tensor in the place of a parameter or buffer, under each of its names."""
    new = tensor
    for name in names:
        owner, _, leaf = name.rpartition(".")
        home = module.get_submodule(owner)
        old = getattr(home, leaf)
        if isinstance(old, nn.Parameter) and new is tensor:
            new = nn.Parameter(tensor, requires_grad=old.requires_grad)
        setattr(home, leaf, new)


def _write(tensors: Mapping[str, Tensor], file: Path, dtype: torch.dtype | None) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    prepared = {name: _prepared(name, tensor, dtype) for name, tensor in tensors.items()}
    end = 0
    for name, tensor in sorted(prepared.items(), key=lambda item: item[1].data_ptr()):
        if tensor.data_ptr() < end:  # a view of another's memory, which the format does not know
            prepared[name] = tensor.clone()
        end = max(end, tensor.data_ptr() + tensor.nbytes)
    try:
        save_file(prepared, file, metadata={"format": "pt"})
    except SafetensorError as error:  # a full disk, in its own words
        raise OSError(str(error)) from error
    # It gives the file to its owner alone; others get what they get of the new folder around it.
    file.chmod(file.parent.stat().st_mode & 0o666)


def _check_dtype(dtype: torch.dtype | None) -> None:
    if dtype is not None and dtype not in FLOATS:
        raise InputError(
            f"dtype: expected one of {[str(each) for each in FLOATS]}, got {dtype!r}; torch.float16"
            " is usual"
        )


def _stored_as(tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    return dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype


def _prepared(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    prepared = tensor.detach().to("cpu", _stored_as(tensor, dtype)).contiguous()
    if not _finite(prepared):
        raise InputError(
            f"weights: expected finite numbers in {prepared.dtype}, got NaN or infinity in {name};"
            " the training diverged, or only torch.float32 or bfloat16 can hold them"
        )
    return prepared


def _state(weights: nn.Module | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return weights.state_dict(keep_vars=True) if isinstance(weights, nn.Module) else weights


def _unique(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    aliases = _aliases(state)
    return {name: tensor for name, tensor in state.items() if name not in aliases}


def _aliases(state: Mapping[str, Tensor]) -> dict[str, str]:
    first: dict[object, str] = {}
    aliases = {}
    for name, tensor in state.items():
        # On the meta device, and where there are no values, there is no address.
        address = (tensor.data_ptr(), tensor.shape, tensor.stride())
        key = address if address[0] and not tensor.is_meta else id(tensor)
        if key in first:
            aliases[name] = first[key]
        else:
            first[key] = name
    return aliases


def _download(hub_id: str, options: dict[str, Any]) -> Path:
    from huggingface_hub import snapshot_download

    wanted = [CONFIG_FILE, WEIGHTS_FILE, INDEX_FILE, SHARD_PATTERN, TOKENIZER_FILE, "README.md"]
    try:
        return Path(snapshot_download(hub_id, allow_patterns=wanted, **options))
    except Exception as error:  # of the network, of the hub, of its client: many kinds
        raise FileError(
            f"model: expected a folder or a reachable hub id, got {hub_id}"
            f" ({type(error).__name__}); check the name and the connection"
        ) from error

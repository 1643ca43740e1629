"""Checkpoints as torch.save writes them: pickles, of which tensors and plain values are read.

Nothing of a pickle runs: torch's own reader for weights refuses all that is no tensor, number,
text or container, and the list of exceptions below holds one name that cannot act.
"""

import argparse
import ast
import math
import pickletools
import tarfile
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import torch
from torch import Tensor

from jog3r.errors import FileError
from jog3r.stored_tensors import fail_on_foreign, recognised

# Where training programs put the weights, those first that are for use rather than for training on.
WRAPPERS = (
    "ema",
    "state_dict_ema",
    "model_ema",
    "model",
    "state_dict",
    "model_state_dict",
    "module",
)
# How many of them may lie in one another.
DEEPEST = 4
# What wrappers of modules put before every name.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
# What weights are made of in a pickle, beside tensors: containers and the options of a training.
PLAIN = ("torch.", "collections.OrderedDict", "argparse.Namespace")
# A file in torch's format before 1.6 is a row of pickles, the weights being the fourth.
PICKLES_IN_A_ROW = 5


def read_pickle(file: Path) -> Any:
    """Read a checkpoint, mapped into memory where its format allows that.

    Raises:
        FileError: Code in it, or a truncated or foreign file.
    """
    found = recognised(file)
    if found is not None:
        raise FileError(f"{file}: expected a checkpoint, got {found[0]}; {found[1]}")
    try:
        if zipfile.is_zipfile(file) and (damaged := zipfile.ZipFile(file).testzip()):
            raise zipfile.BadZipFile(f"the values of {damaged} are not those that were written")
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(
                file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
            )
    except Exception as error:  # of torch, of pickle, of zip archives: many kinds
        if code := _code_in(file):
            raise FileError(
                f"{file}: expected tensors and plain values, got a pickle that holds code"
                f" ({', '.join(code[:3])}), which was not run; take the safetensors version of this"
                " checkpoint"
            ) from error
        if _is_other_archive(file):
            raise FileError(
                f"{file}: expected a checkpoint, got an archive of something else; unpack it, and"
                " give what lies in it"
            ) from error
        reason = str(error) if isinstance(error, zipfile.BadZipFile) else ""
        fail_on_foreign(file, "a checkpoint", error, reason)


def _is_other_archive(file: Path) -> bool:
    """Whether this is an archive, and none of torch.save."""
    # First the one that may have the other at its end; a file of zeros is one of nothing.
    with suppress(Exception), tarfile.open(file) as archive:
        if archive.next() is not None:
            return True
    with suppress(Exception), zipfile.ZipFile(file) as archive:
        return not any(name.endswith("data.pkl") for name in archive.namelist())
    return False


def _code_in(file: Path) -> list[str]:
    """List what a pickle would import; nothing of it is run."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(file)))
    except Exception:  # no zip archive, or a damaged one
        pass
    found: set[str] = set()
    with file.open("rb") as opened, suppress(Exception):  # of what is no pickle at all
        for _ in range(PICKLES_IN_A_ROW):
            found |= _imports(opened)
    return sorted(name for name in found if not name.startswith(PLAIN))


def _imports(opened: BinaryIO) -> set[str]:
    """Read one pickle's instructions, and list the names it asks for."""
    found, texts = set(), ["", ""]
    for code, argument, _ in pickletools.genops(opened):
        if code.name == "GLOBAL":
            found.add(str(argument).replace(" ", "."))
        elif code.name == "STACK_GLOBAL":
            found.add(".".join(texts[-2:]))
        elif isinstance(argument, str):
            texts.append(argument)
    return found


def unwrapped(content: Any, file: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Find the tensors in a checkpoint, and bare names under all that wraps them.

    Args:
        content: As `read_pickle` gives it.
        file: To name in errors.

    Returns:
        Tensors by name, and the wrappers and prefixes that were taken off.

    Raises:
        FileError: No tensors by name.
    """
    content, taken_off = _behind_wrappers(content)
    if not isinstance(content, Mapping) or not _is_state_dict(content):
        _fail_on_content(content, file)
    tensors = dict(content)
    odd = [name for name, tensor in tensors.items() if not _is_dense(tensor)]
    if odd:
        raise FileError(
            f"{file}: expected plain tensors, got {odd[:3]} sparse, quantised or without values;"
            " take another version of this checkpoint"
        )
    while prefix := next((each for each in PREFIXES if _all_start_with(tensors, each)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        taken_off.append(prefix)
    return tensors, taken_off


def _behind_wrappers(content: Any) -> tuple[Any, list[str]]:
    """Find tensors by name and the wrappers on the way; else give what was looked at last."""
    waiting, seen = [(content, list[str]())], set[int]()
    while waiting:
        inner, way = waiting.pop()
        # A dictionary may lie in itself.
        if not isinstance(inner, Mapping) or id(inner) in seen:
            continue
        if _is_state_dict(inner):
            return inner, way
        content = inner or content
        seen.add(id(inner))
        if len(way) < DEEPEST:
            waiting += [(inner.get(key), [*way, key]) for key in reversed(WRAPPERS)]
    return content, []


def _is_state_dict(content: Mapping[Any, Any]) -> bool:
    return bool(content) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )


def _is_dense(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_meta


def _all_start_with(tensors: Mapping[str, Tensor], prefix: str) -> bool:
    return all(name.startswith(prefix) and name != prefix for name in tensors)


def _fail_on_content(content: Any, file: Path) -> NoReturn:
    what = type(content).__name__
    if isinstance(content, Mapping):
        what = f"a dictionary with {[str(key) for key in content][:5]}" if content else "nothing"
    raise FileError(
        f"{file}: expected tensors by name, or those under one of {list(WRAPPERS)}, got {what};"
        " give the file that holds the network's weights"
    )


def training_options(content: Any) -> dict[str, Any]:
    """Read what a checkpoint says of the options it was trained with, as far as it does.

    `args` stands next to the weights, and in it `model` may be the text of a call such as
    `Network(depth=12)`: its plain keyword arguments count, and nothing is called.
    """
    args = content.get("args") if isinstance(content, Mapping) else None
    options = vars(args) if isinstance(args, argparse.Namespace) else args
    if not isinstance(options, Mapping):
        return {}
    model = options.get("model")
    return {**options, **(_keywords(model) if isinstance(model, str) else {})}


def _keywords(call: str) -> dict[str, Any]:
    try:
        body = ast.parse(call.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    if not isinstance(body, ast.Call):
        return {}
    values = {}
    for keyword in body.keywords:
        try:
            value = ast.literal_eval(_WithInfinity().visit(keyword.value))
        except (ValueError, TypeError):  # a name or a call: no plain value
            continue
        if keyword.arg is not None:
            values[keyword.arg] = value
    return values


class _WithInfinity(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(math.inf) if node.id == "inf" else node

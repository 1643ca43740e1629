"""`jog3r info`: what is inside a model."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jog3r.errors import FileError, InputError

if TYPE_CHECKING:
    from jog3r.model import JOG3R

DESCRIPTION = """\
Show what a model consists of: its parts and their sizes, the video it makes, what it can do, its
files, and the licence of its weights. No weights are loaded. Of a recipe: what it trains and what
it freezes.
"""
EPILOG = """\
examples:
  jog3r info
  jog3r info tiny --words
  jog3r info runs/mine
  jog3r info recipes/jog3r_opensora10.yaml
"""
ROUTES = {
    "T2V": "jog3r generate",
    "V2C": "jog3r reconstruct",
    "T2V+C": "jog3r generate --cameras",
}
WITHOUT_WORDS = "yes: with TextFeatures in Python; prompts of words lack a text encoder"
# As safetensors writes them.
DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "info", help="what is inside a model", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument(
        "model",
        nargs="?",
        default="tiny",
        metavar="MODEL",
        help="a packaged model, a folder with config.json, a Hugging Face id, or a recipe (.yaml)"
        " (default: tiny)",
    )
    parser.add_argument(
        "--words", action="store_true", help="also list the words that a prompt may use"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the model's summary, what it can do, and its files; or the table of a recipe."""
    from jog3r.weights_file import find_model

    if Path(args.model).suffix in (".yaml", ".yml"):
        _print_recipe(Path(args.model), words=args.words)
        return
    folder = find_model(args.model)
    model = outline(folder)
    rows = {**_classes(model), **_routes(model), **_files(folder), **_licence(model)}
    words = _words(model) if args.words else []
    print(model.summary())
    print("\n".join(f"{name:<14} {text}" for name, text in rows.items()))
    if words:
        print("\nwords:", *words)


def _print_recipe(recipe: Path, *, words: bool) -> None:
    from jog3r.training.parts_table import recipe_table

    if words:
        raise InputError("--words: expected a model, got a recipe; leave the option out")
    print(recipe_table(recipe))


def outline(folder: Path) -> "JOG3R":
    """Build a model without values, and check that the files in its folder would fit.

    Raises:
        FileError: A file is missing, damaged or of another model.
    """
    import torch

    from jog3r.codecs.text import TextEncoder, load_tokenizer
    from jog3r.model import JOG3R
    from jog3r.model_config import read_config
    from jog3r.weights_file import CONFIG_FILE, TOKENIZER_FILE, check_weights

    config = read_config(folder / CONFIG_FILE)
    words = isinstance(config.text_encoder, TextEncoder.Config)
    tokenizer = load_tokenizer(folder / TOKENIZER_FILE) if words else None
    try:
        with torch.device("meta"):
            model = JOG3R(config, tokenizer)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise FileError(
            f"{folder / CONFIG_FILE}: expected values that make a model, got: {error}; copy the"
            " model folder again"
        ) from error
    check_weights(model, folder, values=False)
    return model


def _classes(model: "JOG3R") -> dict[str, str]:
    from jog3r.stitch import StitchedModel

    names = [type(part).__name__ for _, part in model.named_children()]
    network = model._modules.get("network")
    if isinstance(network, StitchedModel):
        names[names.index("StitchedModel")] += f" of {type(network.backbone).__name__}"
    return {"classes": ", ".join(names)}


def _routes(model: "JOG3R") -> dict[str, str]:
    """Say which ways through the model its parts suffice for, and what the others lack."""
    lacks = _lacks(model)
    lacks["T2V+C"] = list(dict.fromkeys([*lacks["T2V"], *lacks["V2C"]]))
    yes = {name: f"yes: {command}" for name, command in ROUTES.items()}
    if model.config.text_encoder is None:
        yes |= {"T2V": WITHOUT_WORDS, "T2V+C": WITHOUT_WORDS}
    return {
        name: f"no: lacks {', '.join(parts)}" if parts else yes[name]
        for name, parts in lacks.items()
    }


def _lacks(model: "JOG3R") -> dict[str, list[str]]:
    from jog3r.model import PARTS
    from jog3r.stitch import StitchedModel

    missing = [part.replace("_", " ") for part in PARTS if getattr(model.config, part) is None]
    network = model._modules.get("network")
    if network is None:
        return {"T2V": missing, "V2C": missing}
    if not isinstance(network, StitchedModel):
        return {"T2V": ["video backbone"], "V2C": []}
    # The backbone stores what stands for no text, and takes features made elsewhere.
    needed = [part for part in missing if part != "text encoder"]
    head = [] if network.config.tap is not None else ["pointmap head"]
    return {"T2V": missing if needed else [], "V2C": [*needed, *head]}


def _files(folder: Path) -> dict[str, str]:
    from jog3r.stored_tensors import dtypes, locate

    files = locate(folder)
    size = sum(file.stat().st_size for file in files)
    names = ", ".join(file.name for file in files[:3]) + (", ..." if len(files) > 3 else "")
    stored = ", ".join(sorted(DTYPES.get(name, name) for name in dtypes(files)))
    count = "1 file" if len(files) == 1 else f"{len(files)} files"
    return {"weights": f"{count}, {size / 1e6:.1f} MB: {names}", "stored as": stored}


def _licence(model: "JOG3R") -> dict[str, str]:
    from jog3r.model_card import consequence, is_commercial

    licence = model.config.licence
    return {} if is_commercial(licence) else {"WARNING": consequence(licence).replace("**", "")}


def _words(model: "JOG3R") -> list[str]:
    """List the words that a model with an own vocabulary knows.

    Raises:
        InputError: It has none.
    """
    from jog3r.codecs.text import TextEncoder

    text_encoder = model._modules.get("text_encoder")
    if not isinstance(text_encoder, TextEncoder):
        raise InputError(
            "--words: expected a model with a vocabulary of its own, got one without; leave it out"
        )
    return text_encoder.vocabulary()

"""argparse, with errors of one line and types that say what they expect."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keep line breaks, and leave the options enough room to fit beside their help."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, **{"max_help_position": 26, **options})
        # One column for all help texts; left alone, the list of commands would not reach it.
        self._action_max_length = 24


class Parser(argparse.ArgumentParser):
    """An argument parser whose help keeps its line breaks and whose errors are one line."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", _Formatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        """Print the message in one line and leave with status 2."""
        self.exit(2, f"jog3r: error: {message}; see `{self.prog} --help`\n")

    def parse_command(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse a whole command line; without a command, print the help and leave with status 2.

        Words that a parser does not know are an error, except for a command that declares
        `set_defaults(passes_on=True)`: it gets all words after its name as `args.words`.
        """
        args, unknown = self.parse_known_args(words)
        if args.command is None and not unknown:
            self.exit(2, self.format_help())
        if getattr(args, "passes_on", False):
            args.words = list(words[words.index(args.command) + 1 :])
        elif unknown:
            command = "" if args.command is None else f" {args.command}"
            message = f"unknown argument {unknown[0]!r}; see `{self.prog}{command} --help`"
            self.exit(2, f"jog3r: error: {message}\n")
        return args


def positive_int(word: str) -> int:
    """Read an integer of at least 1."""
    return _integer(word, least=1)


def named_path(word: str) -> Path:
    """Read a path; none is not the folder where the process works, as `Path` has it."""
    if not word:
        raise argparse.ArgumentTypeError("expected the name of a file or folder, got none")
    return Path(word)


def two_or_more(word: str) -> int:
    """Read an integer of at least 2."""
    return _integer(word, least=2)


def whole_number(word: str) -> int:
    """Read an integer of at least 0."""
    return _integer(word, least=0)


def _integer(word: str, *, least: int) -> int:
    try:
        value = int(word)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(
            f"expected a whole number of at least {least}, got {word!r}"
        )
    return value


def finite(word: str) -> float:
    """Read a finite number."""
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a number, got {word!r}")
    return value


def positive(word: str) -> float:
    """Read a finite number above 0."""
    value = finite(word)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {word!r}")
    return value


def weight(word: str) -> float:
    """Read a finite number of at least 0."""
    value = finite(word)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {word!r}")
    return value


def angle_deg(word: str) -> float:
    """Read an angle between 0 and 180 degrees."""
    value = finite(word)
    if not 0 < value < 180:
        raise argparse.ArgumentTypeError(f"expected degrees between 0 and 180, got {word!r}")
    return value


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that runs a model."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default="tiny",
        metavar="NAME",
        help="a packaged model, a folder with config.json, or a Hugging Face id (default: tiny)",
    )
    group.add_argument(
        "--device",
        default="cpu",
        metavar="DEVICE",
        help="where to run, such as cpu, cuda or mps (default: cpu)",
    )
    group.add_argument("--no-progress", action="store_true", help="no progress bar")


def add_refinement(parser: argparse.ArgumentParser) -> None:
    """Add the option of every command that finds cameras."""
    parser.add_argument(
        "--refine",
        choices=("photometric", "bundle", "none"),
        help="what follows the alignment: photometric lays the frames over each other, for static"
        " scenes; bundle matches features and adjusts cameras and points to them (default: what"
        " suits the checkpoint, photometric for tiny)",
    )


def refinement(args: argparse.Namespace) -> dict[str, Any]:
    """Return what `add_refinement` has read, in the words of the library; empty if not given."""
    if args.refine is None:
        return {}
    return {"refine": None if args.refine == "none" else args.refine}


def given(**options: Any) -> dict[str, Any]:
    """Return the options that were given, so that the library's own defaults hold for the rest."""
    return {name: value for name, value in options.items() if value is not None}

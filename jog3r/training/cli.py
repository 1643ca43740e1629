"""`jog3r train`: run the stages of a recipe, each by LightningCLI."""

import argparse
import logging
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from jog3r.errors import FileError, InputError, Jog3rError
from jog3r.training.recipes import read_stages

if TYPE_CHECKING:
    from lightning.pytorch.cli import LightningCLI


def main(arguments: Sequence[str]) -> None:
    """Train by a recipe.

    Args:
        arguments: `--config FILE`, optionally `--stage NAME`, `--print-config`, and overrides such
            as `--trainer.max_steps 10`, which apply to every stage that runs.

    Raises:
        FileError: The recipe does not exist or is not YAML with `stages`, or the checkpoint to go
            on from does not exist.
        InputError: No such stage, or a key or value that LightningCLI refuses.
    """
    parser = argparse.ArgumentParser(prog="jog3r train", allow_abbrev=False)
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--stage")
    parser.add_argument("--print-config", action="store_true")
    known, overrides = parser.parse_known_args(list(arguments))
    stages = read_stages(known.config)
    if known.stage is not None and known.stage not in stages:
        raise InputError(
            f"--stage: expected one of {list(stages)}, got {known.stage}; leave it out to run all"
        )
    for name in stages if known.stage is None else [known.stage]:
        # A comment, so that printed configs are YAML. noqa: this is the command line.
        print(f"# stage {name}", flush=True)  # noqa: T201
        _run(name, stages[name], overrides, print_only=known.print_config)


def _run(name: str, config: dict[str, Any], overrides: Sequence[str], *, print_only: bool) -> None:
    import lightning.pytorch as pl
    from jsonargparse import ArgumentError

    # Rendering processes are counted in the recipe, with the cores there are in mind.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Our own command line has been read already; what it left over comes in `args`.
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter is intended")
    # A warning about Lightning's own code, and an advertisement.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    talk = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    talk.addFilter(lambda record: "litlogger" not in record.getMessage())
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.yaml"
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        words = ["fit", "--config", str(file), *overrides]
        try:
            _cli_class()(
                pl.LightningModule,
                pl.LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_kwargs={"overwrite": True},
                # Errors come as exceptions, not as an exit with a page of usage.
                parser_kwargs={"exit_on_error": False},
                args=[*words, "--print_config"] if print_only else words,
            )
        except (ArgumentError, ValueError) as error:
            if (ours := _our_error(error)) is not None:
                raise ours from error
            if isinstance(error, ArgumentError):
                raise InputError(
                    f"stage {name}: expected keys and values that its classes take, got:"
                    f" {_in_one_line(error)}; correct the recipe or the command line"
                ) from error
            raise
        except SystemExit as done:  # how LightningCLI ends after printing
            if not print_only or done.code:
                raise


def _cli_class() -> "type[LightningCLI]":
    from lightning.pytorch.cli import LightningCLI

    class CheckedCLI(LightningCLI):
        """Looks for the checkpoint before it builds a model and makes a folder for its log."""

        def before_instantiate_classes(self) -> None:
            checkpoint = self.config.fit.ckpt_path
            # Lightning's own words and addresses are no files.
            no_file = re.fullmatch("None|best|last|hpc|registry.*|.*://.*", str(checkpoint))
            if not no_file and not Path(checkpoint).exists():
                raise FileError(
                    f"--ckpt_path: expected a checkpoint, got {checkpoint}, which does not exist;"
                    " check the path"
                )

    return CheckedCLI


def _our_error(error: BaseException | None) -> Jog3rError | None:
    """Find what a class of ours has to say behind the errors that jsonargparse wraps around it."""
    while error is not None and not isinstance(error, Jog3rError):
        error = error.__cause__ or error.__context__
    return error


def _in_one_line(error: Exception) -> str:
    """Take from jsonargparse's report the line that tells the key and what is wrong with it."""
    text = " ".join(str(error).split())
    # The class of a model is one of two possibilities to it, and it reports on both at length; it
    # does the same with a part of the model, which may be one of several or missing.
    told = r"Problem with given class_path '(\S+)': (.+?) - Expected a <class 'NoneType'>"
    found = re.search(told, text)
    if found is None:
        return text.rstrip(".")
    nested = r'Parser key "(\S+)": Does not .*?Problem with given class_path \S+: (.+?)(?: - .*|$)'
    return f"{found[1]}: " + re.sub(nested, r"\1: \2", found[2])

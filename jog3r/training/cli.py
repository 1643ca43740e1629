"""`jog3r train`: run the stages of a recipe, each by LightningCLI."""

import argparse
import logging
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from jog3r.errors import FileError, InputError, Jog3rError
from jog3r.training.accelerators import EFFICIENCY
from jog3r.training.kinds import with_class_paths
from jog3r.training.recipes import read_stages
from jog3r.training.run_folders import check_unused, clear, is_first_process, newest_checkpoint

LAST = "last"
"""Stands for the newest checkpoint of a stage, or for its beginning where there is none."""
# What torch and Lightning say when a checkpoint is of another model or another optimiser.
OF_ANOTHER = (
    "in loading state_dict|different number of parameter groups|match the size of optimizer's group"
)


def main(arguments: Sequence[str]) -> None:
    """Train by a recipe.

    Args:
        arguments: `--config FILE`, optionally `--stage NAME`, `--print-config`, `--ckpt_path FILE`
            (`last` for the newest), `--overwrite`, and overrides such as `--trainer.max_steps 10`,
            which apply to every stage that runs. `--dry-run`, with `--device-flops` and
            `--efficiency`, tells what the stages would cost and runs none.

    Raises:
        FileError: The recipe does not exist or is not YAML with `stages`, or the checkpoint to go
            on from does not exist, is damaged or belongs to another model.
        InputError: No such stage, a key or value that LightningCLI refuses, one checkpoint for
            several stages, a run that would overwrite an earlier one, or options of a dry run
            without one.
    """
    parser = argparse.ArgumentParser(prog="jog3r train", allow_abbrev=False)
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--stage")
    parser.add_argument("--print-config", action="store_true")
    parser.add_argument("--ckpt_path")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--device-flops")
    parser.add_argument("--efficiency", type=float)
    known, overrides = parser.parse_known_args(list(arguments))
    _check_dry_run(known)
    stages = _chosen(read_stages(known.config), known.stage)
    if known.dry_run:
        from jog3r.training.dry_run import dry_run, overridden

        for name, config in stages.items():
            cost = dry_run(
                overridden(config, overrides),
                device=known.device_flops,
                efficiency=known.efficiency or EFFICIENCY,
            )
            print(f"stage {name}\n{cost}\n", flush=True)  # noqa: T201
        return
    starts = _starts(stages, known)
    fresh = {name: config for name, config in stages.items() if starts[name] is None}
    # All of them have to be free before the first one runs for hours.
    unchecked = {} if known.overwrite else dict(fresh)
    for name, config in stages.items():
        if is_first_process():
            # A comment, so that printed configs are YAML. noqa: this is the command line.
            print(f"# stage {name}", flush=True)  # noqa: T201
        given = {**config, "ckpt_path": starts[name]}
        _run(
            name,
            given,
            overrides,
            print_only=known.print_config,
            ready=partial(_check_unused, unchecked),
            begins=partial(_clear, dict(fresh) if known.overwrite else {}),
        )
        unchecked = {}
        fresh.pop(name, None)  # what comes later was cleared with it, or this stage was finished


def _check_dry_run(known: argparse.Namespace) -> None:
    """Check that no option is given that would be ignored."""
    if known.dry_run and known.print_config:
        raise InputError("--dry-run: expected no --print-config beside it, got both; leave one out")
    if known.device_flops is not None and not known.dry_run:
        raise InputError("--device-flops: expected --dry-run with it, got none; add it")
    share = known.efficiency
    if share is None:
        return
    if known.device_flops is None:
        raise InputError(
            "--efficiency: expected --dry-run --device-flops NAME with it, whose peak it is a share"
            " of, got none; add them"
        )
    if not 0.0 < share <= 1.0:
        raise InputError(f"--efficiency: expected above 0 and at most 1, got {share}; 0.4 is usual")


def _chosen(stages: dict[str, dict[str, Any]], name: str | None) -> dict[str, dict[str, Any]]:
    if name is None:
        return stages
    if name not in stages:
        raise InputError(
            f"--stage: expected one of {list(stages)}, got {name}; leave it out to run all"
        )
    return {name: stages[name]}


def _starts(
    stages: Mapping[str, Mapping[str, Any]], known: argparse.Namespace
) -> dict[str, str | None]:
    """Find the checkpoint that each stage goes on from; None begins anew."""
    if known.ckpt_path not in (None, LAST) and len(stages) > 1:
        raise InputError(
            f"--ckpt_path: expected --stage with it, since a checkpoint belongs to one stage, got"
            f" {len(stages)} stages; add --stage, or give last to go on wherever each has stopped"
        )
    starts: dict[str, str | None] = {}
    for name, config in stages.items():
        start = known.ckpt_path or config.get("ckpt_path")
        newest = newest_checkpoint(config) if start == LAST else start
        starts[name] = None if newest is None else str(newest)
    return starts


def _check_unused(stages: Mapping[str, Mapping[str, Any]]) -> None:
    for name, config in stages.items():
        check_unused(name, config)


def _clear(stages: Mapping[str, Mapping[str, Any]]) -> None:
    """Delete what is in the way of stages that begin anew."""
    if is_first_process():
        for config in stages.values():
            clear(config)


def _run(
    name: str,
    config: dict[str, Any],
    overrides: Sequence[str],
    *,
    print_only: bool,
    ready: Callable[[], None],
    begins: Callable[[], None],
) -> None:
    from jsonargparse import ArgumentError

    from jog3r.training.recipe_cli import RecipeCLI

    _silence_others()
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.yaml"
        file.write_text(yaml.safe_dump(with_class_paths(config), sort_keys=False))
        words = ["fit", "--config", str(file), *overrides]
        try:
            RecipeCLI([*words, "--print_config"] if print_only else words, ready, begins)
        except Jog3rError as error:
            raise _without_traceback(error) from error
        except (ArgumentError, ValueError, RuntimeError) as error:
            if (ours := _our_error(error)) is not None:
                raise ours from error
            if isinstance(error, ArgumentError):
                raise InputError(
                    f"stage {name}: expected keys and values that its classes take, got:"
                    f" {_in_one_line(error)}; correct the recipe or the command line"
                ) from error
            if re.search(OF_ANOTHER, str(error)):
                raise FileError(
                    f"--ckpt_path: expected a checkpoint of stage {name} as the recipe has it, got"
                    f" another ({' '.join(str(error).split())[:200]}); give back the settings of"
                    " its model and optimiser, or start a run of its own from weights (start)"
                ) from error
            raise
        except SystemExit as done:  # how LightningCLI ends after printing
            if not print_only or done.code:
                raise


def _silence_others() -> None:
    # Rendering processes are counted in the recipe, with the cores there are in mind.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Of what an earlier run has left, ours are the better words.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* is not empty")
    # Our own command line has been read already; what it left over comes in `args`.
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter is intended")
    # A warning about Lightning's own code, and an advertisement.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    talk = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    talk.addFilter(lambda record: "litlogger" not in record.getMessage())


def _our_error(error: BaseException | None) -> Jog3rError | None:
    """Find what a class of ours has to say behind the errors that jsonargparse wraps around it."""
    while error is not None and not isinstance(error, Jog3rError):
        error = error.__cause__ or error.__context__
    return error


def _without_traceback(error: Jog3rError) -> Jog3rError:
    """Take from what a reading process reports, a traceback as text, the error itself."""
    told = re.search(r"^Caught \w+ in DataLoader .*\njog3r\.[\w.]+: (.*)", str(error), re.DOTALL)
    return error if told is None else type(error)(told[1].rstrip())


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

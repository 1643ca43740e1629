"""`jog3r data check`: what a folder holds, what is broken, and what a training would use."""

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jog3r.cli.convert import read_settings
from jog3r.cli.data_set import add_data_set
from jog3r.cli.parser import positive_int
from jog3r.errors import FileError

DESCRIPTION = """\
Look over a data set before anything is built on it: what is there, what is broken, how many clips a
training would use, and whether depth is in the unit of the cameras. Layouts: docs/data.md. The exit
status is 1 where no clip would be used or depth is in the wrong unit.
"""
EPILOG = """\
examples:
  jog3r data check RealEstate10K --as re10k
  jog3r data check RealEstate10K --as re10k --option split=test --decode --all
  jog3r data check WebVid --as video-table --option table=WebVid/results_2M_train.csv
  jog3r data check --as world --option clips=20
"""


def add_parser(actions: Any) -> None:
    """Declare the action."""
    parser = actions.add_parser(
        "check",
        usage="jog3r data check [FOLDER] --as NAME [options]",
        help="what a folder holds, what is broken, what would be used",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    add_data_set(parser)
    parser.add_argument(
        "--decode",
        action="store_true",
        help="decode every frame of every clip, and read every number of its cameras",
    )
    parser.add_argument(
        "--frames", type=positive_int, default=16, metavar="N", help="of a clip (default: 16)"
    )
    parser.add_argument(
        "--strides",
        type=positive_int,
        nargs="+",
        default=[1, 2, 4, 8],
        metavar="N",
        help="between the frames of a clip, to draw from (default: 1 2 4 8)",
    )
    parser.add_argument(
        "--all", action="store_true", help="print every problem, not one example of each kind"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Check, print, and fail where nothing can be used as it is.

    Raises:
        FileError: No clip would be used, or more clips have depth in a wrong unit than in the right
            one.
    """
    from jog3r.data.check import check_data
    from jog3r.data.depth_unit import check_depth_units
    from jog3r.data.readers.registry import open_reader

    reader = open_reader(args.folder, args.reader, **read_settings(args.option))
    with _each_clip_unlogged():
        check = check_data(reader, decode=args.decode, frames=args.frames, strides=args.strides)
    print(f"{reader.name}{'' if args.folder is None else f' in {args.folder}'}")
    print(f"  {'source':<10} {reader.source}\n  {'licence':<10} {reader.licence}")
    print(check)
    lines = check.problem_lines(each=args.all)
    print("\n".join(["problems", *(f"  {line}" for line in lines)]) if lines else "no problems")
    check_depth_units(check.units)
    if not check.used:
        raise FileError(
            f"{args.folder or reader.name}: expected clips that can be used, got none of"
            f" {check.index.announced}; the problems above say why"
        )


@contextmanager
def _each_clip_unlogged() -> Iterator[None]:
    """Leave the log of broken clips out: they are in the table, which it would bury."""
    log = logging.getLogger("jog3r.data.readable")
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = False

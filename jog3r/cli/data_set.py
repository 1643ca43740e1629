"""How every action of `jog3r data` is told which data set it is about."""

import argparse

from jog3r.cli.parser import named_path
from jog3r.data.readers.registry import HOMES


def add_data_set(parser: argparse.ArgumentParser) -> None:
    """Add the folder, its layout, and the options of its reader."""
    parser.add_argument(
        "folder",
        nargs="?",
        type=named_path,
        metavar="FOLDER",
        help="of the data set; the world needs none (default: none)",
    )
    parser.add_argument(
        "--as",
        dest="reader",
        required=True,
        choices=[*HOMES],
        metavar="NAME",
        help=f"its layout: {', '.join(HOMES)}",
    )
    parser.add_argument(
        "--option",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="options of the reader, as docs/data.md lists them (default: none)",
    )

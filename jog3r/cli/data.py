"""`jog3r data`: data sets, before training."""

import argparse
from typing import Any

from jog3r.cli import data_check, data_prepare

ACTIONS = (data_check, data_prepare)

DESCRIPTION = """\
Check data sets and encode them for training.
"""
EPILOG = """\
examples:
  jog3r data check RealEstate10K --as re10k
  jog3r data prepare RealEstate10K --as re10k --out shards/re10k

`jog3r data ACTION --help` explains an action.
"""


def add_parser(commands: Any) -> None:
    """Declare the command and its actions."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "data", help="check data sets, encode them", description=DESCRIPTION, epilog=EPILOG
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    for action in ACTIONS:
        action.add_parser(actions)

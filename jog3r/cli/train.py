"""`jog3r train`: hand a recipe to the trainer."""

import argparse
from typing import Any

DESCRIPTION = """\
Train a model from a recipe, a commented YAML file. A recipe has stages, such as the autoencoder
first and then the joint model; each leaves its checkpoints, curves and sample sheets in runs/.
"""
EPILOG = """\
examples:
  jog3r train --config recipes/tiny.yaml
  jog3r train --config recipes/tiny.yaml --stage joint --trainer.max_steps 10
  jog3r train --config recipes/tiny.yaml --print-config
  jog3r train --config recipes/jog3r_opensora10.yaml --dry-run --device-flops h100
  jog3r train --config recipes/tiny.yaml --ckpt_path last

Any key of the recipe can be overridden by its dotted name, as in the second example. Training uses
an accelerator if there is one, else the CPU; docs/distributed.md has the lines for several
processes and machines.
"""


def add_parser(commands: Any) -> None:
    """Declare the command; the words themselves are read by jog3r.training.cli."""
    parser = commands.add_parser(
        "train",
        usage="jog3r train --config FILE [--stage NAME] [--KEY VALUE ...]",
        help="train a model from a recipe",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="the recipe")
    parser.add_argument("--stage", metavar="NAME", help="run this stage only (default: all)")
    parser.add_argument(
        "--print-config", action="store_true", help="print the whole configuration and stop"
    )
    parser.add_argument(
        "--ckpt_path",
        metavar="FILE",
        help="go on from this checkpoint of the stage; last: from the newest, or begin where there"
        " is none (default: begin anew)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="begin anew where an earlier run has left checkpoints, which are deleted, or weights"
        " (default: refuse to)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="tell what each stage would cost, in memory and time, and run none (default: train)",
    )
    parser.add_argument(
        "--device-flops",
        metavar="NAME",
        help="with --dry-run: h100, a100, l4 and others, or operations per second (default: what"
        " this machine is measured to reach)",
    )
    parser.add_argument(
        "--efficiency",
        metavar="SHARE",
        help="with --dry-run: share of a named device's peak that is reached (default: 0.4)",
    )
    parser.add_argument_group(
        "overrides", "any key of the recipe by its dotted name, such as --trainer.max_steps 10"
    )
    parser.set_defaults(run=run, passes_on=True)


def run(args: argparse.Namespace) -> None:
    """Train; every word after `train` goes to the trainer's own parser."""
    from jog3r.training import cli

    cli.main(args.words)

"""`jog3r info`: what is inside a model."""

import argparse
from typing import Any

DESCRIPTION = """\
Show what a model consists of: its parts and their sizes, the video it makes, and the licence of its
weights.
"""
EPILOG = """\
examples:
  jog3r info
  jog3r info tiny --words
  jog3r info runs/mine
"""


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
        help="a packaged model, a folder with config.json, or a Hugging Face id (default: tiny)",
    )
    parser.add_argument(
        "--words", action="store_true", help="also list the words that a prompt may use"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the model's summary."""
    from jog3r import JOG3R

    model = JOG3R.from_pretrained(args.model, device="cpu")
    print(model.summary())
    if args.words:
        print("\nwords:", *model.text_encoder.vocabulary())

"""`jog3r publish`: a checkpoint of training to a model folder."""

import argparse
from pathlib import Path
from typing import Any

DTYPES = ("float16", "bfloat16", "float32")
WEIGHTS = ("averaged", "current")
DESCRIPTION = """\
Turn a checkpoint of `jog3r train` into a model folder for everybody: config.json, safetensors and
a card. The checkpoint of an autoencoder becomes the folder with which joint training starts.
"""
EPILOG = """\
examples:
  jog3r publish runs/tiny/joint_checkpoints/last.ckpt models/mine
  jog3r publish runs/tiny/joint_checkpoints/last.ckpt models/last --dtype float32 --weights current

Adapters (LoRA) are folded into the weights. A checkpoint is a pickle; only tensors and plain values
are read from it, and no program in it is run. `jog3r generate --model models/mine` uses the result.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "publish",
        usage="jog3r publish CHECKPOINT OUT [options]",
        help="make a model folder of a training checkpoint",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help="a .ckpt file, or a .ckpt folder that several processes have written",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to make")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float16",
        metavar="DTYPE",
        help="store weights as float16, bfloat16 or float32 (default: float16)",
    )
    parser.add_argument(
        "--weights",
        choices=WEIGHTS,
        metavar="WHICH",
        help="averaged, or current: those that train (default: averaged, if there is an average)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a model in that folder")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Publish, and say what came of it."""
    import torch

    from jog3r.training.publish import publish

    done = publish(
        args.checkpoint,
        args.out,
        dtype=getattr(torch, args.dtype),
        weights=args.weights,
        overwrite=args.overwrite,
    )
    print(f"{done.folder}\n  {'kind':<9} {done.kind}\n  {'steps':<9} {done.steps}")
    print(f"  {'weights':<9} {done.weights}, {args.dtype}")

"""`jog3r convert`: public checkpoints to model folders."""

import argparse
import json
import reprlib
from pathlib import Path
from typing import Any

from jog3r.conversion import AUTO, KINDS
from jog3r.errors import InputError

DTYPES = ("float32", "bfloat16", "float16")
DESCRIPTION = """\
Turn a public checkpoint into a model folder: config.json and safetensors. No program in it is run,
and every tensor must fit. Kinds:
"""
DESCRIPTION += "".join(f"  {name:<17} {what}\n" for name, what in KINDS.items())
DESCRIPTION += f"  {AUTO:<17} whichever of these it is, by the names in it\n"
EPILOG = """\
examples:
  jog3r convert sd-vae downloads/sd-vae-ft-ema models/vae
  jog3r convert opensora-1.0 OpenSora-v1-HQ-16x512x512.pth models/opensora-1.0 \\
      --with models/vae --text-encoder DeepFloyd/t5-v1_1-xxl
  jog3r convert auto DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth models/dust3r
  jog3r convert opensora-1.0 mine.pth models/mine --set num_heads=8 num_frames=32

The config is read off the tensors, off the config.json beside them, and with --set. Weights keep
the licence of their authors: `jog3r info FOLDER` tells it. `jog3r generate --model FOLDER` and
`jog3r reconstruct --model FOLDER` use the new model.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "convert",
        usage="jog3r convert KIND SOURCE OUT [options]",
        help="make a model folder of a public checkpoint",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("kind", metavar="KIND", choices=(AUTO, *KINDS), help="see above")
    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="a .safetensors, .pth, .pt, .bin or .ckpt file, an index of shards, or a folder with"
        " one of these",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to make")
    parser.add_argument(
        "--with",
        dest="merge",
        nargs="+",
        type=Path,
        action="extend",
        default=[],
        metavar="FOLDER",
        help="also take the parts of these model folders (default: none)",
    )
    parser.add_argument(
        "--text-encoder",
        metavar="NAME",
        help="the T5 or CLIP to use, a folder or Hugging Face id; it is not copied (default: none)",
    )
    parser.add_argument(
        "--set",
        dest="settings",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="values of the config that the checkpoint does not tell, such as num_heads=16 or"
        " temporal.groups=32 (default: none)",
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        metavar="DTYPE",
        help="store weights as float32, bfloat16 or float16 (default: as they are)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a model in that folder")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Convert, and say what came of it."""
    settings = read_settings(args.settings)
    import torch

    from jog3r.conversion.convert import convert
    from jog3r.model_card import consequence

    done = convert(
        args.kind,
        args.source,
        args.out,
        merge=args.merge,
        text_encoder=args.text_encoder,
        settings=settings,
        dtype=None if args.dtype is None else getattr(torch, args.dtype),
        overwrite=args.overwrite,
    )
    inside = f", in it {' '.join(done.taken_off)}" if done.taken_off else ""
    print(f"{done.folder}\n  {'kind':<9} {KINDS[done.kind]}\n  {'from':<9} {done.source}{inside}")
    if done.left_out:
        some = ", ".join(done.left_out[:3]) + (", ..." if len(done.left_out) > 3 else "")
        print(f"  {'left out':<9} {len(done.left_out)} tensors of something else: {some}")
    print(f"  {'licence':<9} {done.licence}. {consequence(done.licence).replace('**', '')}")


def read_settings(words: list[str]) -> dict[str, Any]:
    """Read `key=value` words; values are JSON or else text, dotted keys are nested.

    Raises:
        InputError: A word without key or value, or a key that is a value and a group.

    Example:
        >>> read_settings(["num_heads=16", "temporal.groups=32", "licence=MIT"])
        {'num_heads': 16, 'temporal': {'groups': 32}, 'licence': 'MIT'}
    """
    settings: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        *groups, last = key.split(".")
        place = settings
        for group in groups:
            place = place.setdefault(group, {}) if isinstance(place, dict) else None
        if not equals or not all((*groups, last)) or not isinstance(place, dict):
            raise InputError(
                f"--set: expected KEY=VALUE, got {reprlib.repr(word)}; as in num_heads=16"
            )
        place[last] = _value(text)
    return settings


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text

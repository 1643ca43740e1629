"""`jog3r data prepare`: a data set to shards that training reads."""

import argparse
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jog3r.cli.convert import read_settings
from jog3r.cli.data_set import add_data_set
from jog3r.cli.parser import add_model_options, named_path, positive_int
from jog3r.errors import FileError, InputError

DESCRIPTION = """\
Encode the clips of a data set once: latents, text features, depth and cameras, in WebDataset shards
with a manifest. Run it again after a stop: it goes on with what is missing. Several processes
divide the clips among themselves, by torchrun or with --part.
"""
EPILOG = """\
examples:
  jog3r data prepare RealEstate10K --as re10k --out shards/re10k --model models/opensora-1.0 \\
      --size 512x512 --captions captions.json --depth estimator Intel/zoedepth-nyu-kitti
  jog3r data prepare scans --as rgbd --out shards/scans --size 64x64 64x112 --uncaptioned keep
  torchrun --nproc-per-node 8 -m jog3r data prepare videos --as videos --out shards/videos \\
      --model models/opensora-1.0 --size 512x512 --device cuda --uncaptioned keep

Clips without cameras or depth become shards for generation only. Clips that cannot be used are
skipped, and counted in manifest.json with their ids and the reason.
"""
DEPTHS = ("given", "colmap", "estimator", "none")


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "prepare",
        usage="jog3r data prepare [FOLDER] --as NAME --out SHARDS [options]",
        help="encode a data set into shards for training",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    add_data_set(parser)
    parser.add_argument(
        "--out", required=True, type=named_path, metavar="SHARDS", help="the folder of shards"
    )
    add_model_options(parser)
    _add_clip_options(parser)
    _add_run_options(parser)
    parser.set_defaults(run=run)


def _add_clip_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("clips")
    group.add_argument(
        "--size",
        nargs="+",
        type=size_px,
        metavar="HxW",
        help="height and width of the frames [px]; of several, each clip goes to the one of the"
        " nearest shape (default: that of the model)",
    )
    group.add_argument(
        "--max-frames",
        type=positive_int,
        metavar="N",
        help="keep the first N frames of a clip (default: all)",
    )
    group.add_argument(
        "--depth",
        nargs="+",
        default=["given"],
        metavar="SOURCE",
        help="given by the data set; colmap, from the points of its COLMAP models; estimator ID,"
        " made by a depth model of transformers; none, for generation only (default: given)",
    )
    group.add_argument(
        "--captions",
        type=named_path,
        metavar="FILE",
        help="a JSON file from clip ids to captions (default: those of the data set)",
    )
    group.add_argument(
        "--uncaptioned",
        choices=("skip", "keep"),
        default="skip",
        help="skip clips without caption and count them, or keep them with the empty prompt"
        " (default: skip)",
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("run")
    group.add_argument(
        "--part",
        type=part_of,
        metavar="I/N",
        help="make the I-th of N parts, from 1/N to N/N (default: as torchrun says, or 1/1)",
    )
    group.add_argument(
        "--clips-per-shard",
        type=positive_int,
        default=128,
        metavar="N",
        help="clips that are written at once; a killed process loses no more (default: 128)",
    )


def run(args: argparse.Namespace) -> None:
    """Prepare, and say what came of it."""
    part, parts = args.part or part_of_process(os.environ)
    captions = None if args.captions is None else read_captions(args.captions)
    source, estimator_id = depth_source(args.depth)
    given = read_settings(args.option)
    options = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
    if source == "colmap":
        options["depth"] = True
    from jog3r.data.readers.registry import open_reader
    from jog3r.model import JOG3R
    from jog3r.training.depth_estimators import TransformersDepth
    from jog3r.training.prepare import Preparation, PrepareSettings

    reader = open_reader(args.folder, args.reader, **options)
    device = device_of_process(args.device, os.environ)
    model = JOG3R.from_pretrained(args.model, device=device)
    settings = PrepareSettings(
        sizes=tuple(args.size or [model.config.image_size]),
        max_frames=args.max_frames,
        depth="given" if source == "colmap" else source,  # type: ignore[arg-type]
        uncaptioned=args.uncaptioned,
        clips_per_portion=args.clips_per_shard,
    )
    estimator = TransformersDepth(estimator_id, device=device) if estimator_id else None
    preparation = Preparation(
        reader, model, args.out, settings, captions=captions, estimator=estimator
    )
    report = None if args.no_progress else _say_portion
    manifest = preparation.run(part, parts, report=report)
    _say_result(args.out, manifest, f"{part + 1}/{parts}")


def size_px(word: str) -> tuple[int, int]:
    """Read height x width.

    Example:
        >>> size_px("64x112")
        (64, 112)
    """
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", word)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 64x112, got {word!r}")
    return int(found[1]), int(found[2])


def part_of(word: str) -> tuple[int, int]:
    """Read i/n, counted from 1, and return it counted from 0.

    Example:
        >>> part_of("2/8")
        (1, 8)
    """
    found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", word)
    if found is None or int(found[1]) > int(found[2]):
        raise argparse.ArgumentTypeError(f"expected I/N from 1/N to N/N, got {word!r}")
    return int(found[1]) - 1, int(found[2])


def part_of_process(environment: Mapping[str, str]) -> tuple[int, int]:
    """Tell the part of a process that torchrun has started, or all.

    Raises:
        InputError: Variables that are no numbers.
    """
    try:
        return int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1))
    except ValueError as error:
        raise InputError(
            f"RANK, WORLD_SIZE: expected numbers in the environment, got {error}; give --part"
        ) from error


def device_of_process(device: str, environment: Mapping[str, str]) -> str:
    """Give each process of a node the accelerator of its own number."""
    local = environment.get("LOCAL_RANK")
    return f"cuda:{local}" if device == "cuda" and local is not None else device


def depth_source(words: list[str]) -> tuple[str, str | None]:
    """Read where depth comes from, and the id of the estimator.

    Raises:
        InputError: No such source, or an id too many or too few.
    """
    source, *more = words
    if source not in DEPTHS or len(more) != (source == "estimator"):
        raise InputError(
            f"--depth: expected given, colmap, none or estimator ID, got {' '.join(words)!r}"
        )
    return source, more[0] if more else None


def read_captions(file: Path) -> dict[str, str]:
    """Read captions by clip id.

    Raises:
        FileError: No JSON object from ids to texts.
    """
    import json

    try:
        captions = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(
            f'{file}: expected JSON such as {{"clip id": "caption"}}, got {error}'
        ) from error
    good = isinstance(captions, dict) and all(isinstance(v, str) for v in captions.values())
    if not good:
        raise FileError(
            f'{file}: expected JSON such as {{"clip id": "caption"}}, got something else; give one'
            " text for each id"
        )
    return captions


def _say_portion(number: int, portions: int) -> None:
    print(f"portion {number + 1} of {portions} is there", flush=True)


def _say_result(folder: Path, manifest: dict[str, Any] | None, part: str) -> None:
    if manifest is None:
        print(f"{folder}: part {part} is done, others are not yet; the last one ends it")
        return
    print(folder)
    print(f"  {'clips':<9} {manifest['clips']} with {manifest['frames']} frames")
    for name in ("bucket", "source", "licence"):
        for value, count in manifest[f"by_{name}"].items():
            clips = count["clips"] if isinstance(count, dict) else count
            print(f"  {name:<9} {value}: {clips} clips")
    for kind, skipped in manifest["skipped"].items():
        some = ", ".join(list(skipped["ids"])[:3])
        print(f"  {'skipped':<9} {kind}: {skipped['clips']} clips ({some}, ...)")
    for note, count in manifest["notes"].items():
        print(f"  {'note':<9} {note}: {count}")

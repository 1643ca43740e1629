"""`jog3r convert-cameras`: cameras from one file format to another."""

import argparse
import re
from pathlib import Path
from typing import Any

from jog3r.cli.parser import finite, given, positive
from jog3r.errors import InputError

FORMATS = {
    "json": "everything in one file",
    "npz": "everything, for NumPy",
    "realestate10k": "camera_from_world and K of the data set; no image names",
    "tum": "world_from_camera as quaternion with w last; no K, no image names",
    "kitti": "world_from_camera as 3x4; no K, no image names, no time",
    "colmap-text": "folder with cameras.txt, images.txt, points3D.txt; no time",
    "colmap-binary": "the same as .bin",
    "nerfstudio": "transforms.json; no time",
}
DESCRIPTION = """\
Turn cameras into another format. Axes, directions and pixel rules are those of each format
(docs/formats.md); the name of each camera's image goes with it where both formats have a place for
it. Formats:
"""
DESCRIPTION += "".join(f"  {name:<14} {what}\n" for name, what in FORMATS.items())
EPILOG = """\
examples:
  jog3r convert-cameras sparse/0 --to nerfstudio transforms.json
  jog3r convert-cameras poses.txt --from kitti --to colmap-text sparse/0 \\
      --image-size 1241x376 --K 718.856 718.856 607.1928 185.2157
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "convert-cameras",
        usage="jog3r convert-cameras IN [--from FORMAT] --to FORMAT OUT [options]",
        help="cameras from one file format to another",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("source", type=Path, metavar="IN", help="a file, or a COLMAP folder")
    parser.add_argument("out", type=Path, metavar="OUT", help="a file, or for COLMAP a folder")
    parser.add_argument(
        "--from",
        dest="source_format",
        choices=FORMATS,
        metavar="FORMAT",
        help="of IN (default: by its content)",
    )
    parser.add_argument(
        "--to", choices=FORMATS, required=True, metavar="FORMAT", help="of OUT; see above"
    )
    parser.add_argument(
        "--image-size",
        type=image_size,
        metavar="WxH",
        help="width and height of the images [px], as in 640x480 (default: as IN says)",
    )
    parser.add_argument(
        "--K",
        type=finite,
        nargs=4,
        metavar=("FX", "FY", "CX", "CY"),
        help="focal lengths and principal point [px], for tum and kitti, which have none"
        " (default: as IN says)",
    )
    parser.add_argument(
        "--quaternion",
        choices=("xyzw", "wxyz"),
        metavar="ORDER",
        help="of a TUM file: wxyz for one with w first, as MonST3R writes it (default: xyzw, and"
        " what looks like w first is refused)",
    )
    parser.add_argument(
        "--fps", type=positive, metavar="RATE", help="frames per second of OUT (default: as in IN)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Convert, and print what was read, written and lost."""
    if args.out.exists() and not args.overwrite:
        raise InputError(
            f"OUT: expected a new name, got {args.out}, which exists; add --overwrite or choose"
            " another"
        )
    import torch

    from jog3r.export.cameras import FORMATS as ABILITIES
    from jog3r.export.cameras import read_named_cameras, write_cameras
    from jog3r.export.guess import guess_camera_format

    source_format = args.source_format or guess_camera_format(args.source)
    without = ABILITIES[source_format].read is None
    if without and (args.K is None or args.image_size is None):
        raise InputError(
            "--K, --image-size: expected both, FX FY CX CY and WxH in pixels, as"
            f" {source_format} files hold neither lens nor image size, got one or none; add them"
        )
    K = None
    if args.K is not None:
        fx, fy, cx, cy = args.K
        K = torch.tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    try:
        read = read_named_cameras(
            args.source,
            source_format,
            image_size=args.image_size,
            K=K,
            quaternion=args.quaternion,
        )
    except InputError as error:
        if args.image_size is None and str(error).startswith("image_size: "):
            raise InputError(
                f"--image-size: expected WxH in pixels, as {args.source} does not say it, got none;"
                " add it"
            ) from error
        raise
    able = ABILITIES[args.to]
    fps = read.fps if args.fps is None and able.has_time else args.fps
    files = read.files if able.has_files else None
    write_cameras(args.out, read.cameras, args.to, **given(fps=fps, files=files))
    print(f"{args.out}\n  {len(read.cameras)} cameras, {source_format} to {args.to}")
    lost = {"K and image size": able.read is None, "image names": read.files and not files}
    lost |= {"frame rate": read.fps and not able.has_time}
    if ABILITIES[source_format].has_time and able.has_time and fps is None:
        print("  no even frame rate in IN: time stamps count frames; --fps gives another")
    if any(lost.values()):
        print(f"  no place for: {', '.join(name for name, gone in lost.items() if gone)}")


def image_size(word: str) -> tuple[int, int]:
    """Read WIDTHxHEIGHT as (height, width).

    Raises:
        ArgumentTypeError: anything else.

    Example:
        >>> image_size("640x480")
        (480, 640)
    """
    match = re.fullmatch(r"([1-9]\d{0,6})[xX]([1-9]\d{0,6})", word)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT as in 640x480, got {word!r}")
    return int(match[2]), int(match[1])

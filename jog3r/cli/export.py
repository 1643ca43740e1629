"""`jog3r export`: a saved scene in the format of another program."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jog3r.cli.parser import finite, given, positive, positive_int
from jog3r.errors import InputError

if TYPE_CHECKING:
    from jog3r.results import PointSelection, Reconstruction

FORMATS = {
    "colmap": "folder: images/ and sparse/0/ with cameras, images, points3D as .bin",
    "colmap-text": "the same as .txt",
    "3dgs": "folder for trainers of Gaussian splatting: both of these, and points3D.ply",
    "nerfstudio": "folder: transforms.json, images/, points.ply",
    "ply": "points with colour and confidence",
    "ply-sequence": "folder: one PLY per frame, for playback",
    "glb": "points and cameras for any 3D viewer",
    "mesh": "triangles with colours; PATH ends in .ply, .glb or .obj",
    "npz": "frames, cameras, depth and confidence, for NumPy",
    "json": "cameras and lens",
    "realestate10k": "cameras and lens",
    "tum": "camera path",
    "kitti": "camera path",
}
DESCRIPTION = """\
Write a scene that jog3r saved in the format of another program, read it back, and tell how well its
points agree with the images of its cameras. Formats:
"""
DESCRIPTION += "".join(f"  {name:<14} {what}\n" for name, what in FORMATS.items())
EPILOG = """\
examples:
  jog3r export outputs/clip --format 3dgs --out outputs/clip_3dgs --voxel-ratio 0.002
  jog3r export outputs/clip --format nerfstudio --out outputs/clip_nerfstudio
  jog3r export outputs/clip --format ply --out dense.ply --drop-fraction 0
  jog3r export outputs/clip --format mesh --out clip.glb --voxel-ratio 0.01

agreement of the colours: 1 the same, 0 no better than at random; of the depth: share within 5 %.
"""

# Fields of jog3r.results.PointSelection: how each is read, and what it means.
SELECTION = {
    "drop_fraction": (finite, "share of the least confident pixels to leave out (default: 0.2)"),
    "max_depth_ratio": (positive, "leave out what is deeper than so many median depths"),
    "max_slant_deg": (positive, "leave out surfaces turned further away [degrees]; 85 is mild"),
    "voxel_ratio": (positive, "one point per cube, its edge as a share of the scene's extent"),
    "outlier_neighbours": (positive_int, "leave out points that stand alone among so many"),
    "normal_neighbours": (positive_int, "estimate normals from so many points"),
    "max_points": (positive_int, "keep a random choice of so many points (default: 4000000)"),
}


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "export",
        usage="jog3r export SCENE --format FORMAT --out PATH [options]",
        help="a saved scene for COLMAP, nerfstudio, Gaussian splatting, viewers",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument(
        "scene", type=Path, metavar="SCENE", help="a folder that jog3r saved, or an exported .npz"
    )
    parser.add_argument(
        "--format", choices=FORMATS, required=True, metavar="FORMAT", help="see above"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="PATH", help="file or folder to make"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an earlier export, and nothing else"
    )
    group = parser.add_argument_group(
        "which points (default: those of points.ply)",
        "a mesh takes the first four alone; its defaults: 0.2, 4, 85, and cubes that suit it",
    )
    for name, (kind, meaning) in SELECTION.items():
        metavar = "N" if kind is positive_int else "X"
        group.add_argument("--" + name.replace("_", "-"), type=kind, metavar=metavar, help=meaning)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Export, and print what came of it."""
    from jog3r.export.scene import export_scene

    done = export_scene(
        read_scene(args.scene),
        args.out,
        args.format,
        selection=selection(args, args.format),
        overwrite=args.overwrite,
    )
    print(f"{done.path}\n  {args.format}: {FORMATS[args.format]}")
    things = "vertices" if args.format == "mesh" else "points"
    print(f"  {len(done.sanity.cameras)} cameras, {done.points or 'no'} {things}")
    print("\n".join(f"  {line}" for line in str(done.sanity).splitlines()))


def read_scene(path: Path) -> "Reconstruction":
    """Read a saved scene, or an exported NPZ file.

    Raises:
        FileError: missing, truncated or foreign folder or file.
    """
    from jog3r.export.npz import read_npz
    from jog3r.results import Reconstruction

    return read_npz(path) if path.suffix.lower() == ".npz" else Reconstruction.load(path)


def selection(args: argparse.Namespace, format: str) -> "PointSelection | None":
    """Return the default of a format with the chosen changes, or None for the library's own.

    Raises:
        InputError: a value out of its range; names the option.
    """
    chosen = given(**{name: getattr(args, name) for name in SELECTION})
    if not chosen:
        return None
    from jog3r.export.scene import FORMATS as ABILITIES
    from jog3r.results import PointSelection

    try:
        return replace(ABILITIES[format].selection or PointSelection(), **chosen)
    except InputError as error:
        name, _, rest = str(error).partition(":")
        raise InputError(f"--{name.replace('_', '-')}:{rest}") from error

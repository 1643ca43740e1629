"""`jog3r path`: camera paths from a move, a description, a camera file or another video."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jog3r.cli.convert_cameras import image_size
from jog3r.cli.parser import angle_deg, finite, positive, positive_int, whole_number
from jog3r.errors import InputError

if TYPE_CHECKING:
    from jog3r.paths import Move, Trajectory
    from jog3r.results import Cameras, Reconstruction

# Move -> its arguments. tests/cli/test_path.py compares this with the library, which is not
# imported here: a help text waits for no torch.
MOVES: dict[str, tuple[str, ...]] = {
    "dolly": ("distance_world",),
    "truck": ("distance_world",),
    "pedestal": ("distance_world",),
    "pan": ("angle_deg",),
    "tilt": ("angle_deg",),
    "roll": ("angle_deg",),
    "zoom": ("factor",),
    "orbit": ("angle_deg", "radius_world", "elevation_deg"),
    "arc": ("distance_world", "radius_world"),
    "spiral": ("angle_deg", "radius_world", "end_radius_world", "rise_world"),
    "handheld": ("seed", "rotation_deg", "shift_world", "swings"),
}
HELP = {
    "distance_world": "forward, right or up, by the move; along the circle for an arc",
    "angle_deg": "right, up or clockwise, by the move",
    "radius_world": "distance of the point that is circled",
    "elevation_deg": "of an orbit, upwards (default: 0)",
    "end_radius_world": "of a spiral, at its end",
    "rise_world": "of a spiral, upwards (default: 0)",
    "factor": "of the focal length, at the end of a zoom",
    "seed": "of a trembling hand",
    "rotation_deg": "of a trembling hand, standard deviation (default: 0.3)",
    "shift_world": "of a trembling hand, standard deviation (default: 0)",
    "swings": "of a trembling hand, the most from start to end (default: 6)",
}
DEFAULT_SIZE, DEFAULT_FOV_DEG = (480, 640), 60.0
DESCRIPTION = """\
Make the cameras of a path, and draw it. SOURCE is a move, or a JSON description of several, or a
file with cameras of any format, or a folder that `jog3r reconstruct` has saved. Moves:
"""
DESCRIPTION += "".join(
    f"  {name:<9} {', '.join('--' + key.replace('_', '-') for key in keys)}\n"
    for name, keys in MOVES.items()
)
DESCRIPTION += """
Angles are in degrees. Lengths end in -world, the unit of the world, or in -depths: multiples of the
median depth that the start frame of --scene sees. Directions: docs/camera-paths.md.
"""
EPILOG = """\
examples:
  jog3r path orbit --angle-deg 90 --radius-world 2 --frames 16 --out path.txt --preview path.png
  jog3r path dolly --distance-depths 0.3 --scene outputs/clip --ease in-out --out path.txt
  jog3r path walk.json --frames 49 --fov-deg 50 --out cameras.json --format json
  jog3r path outputs/other --scene outputs/clip --out same_move.txt
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "path",
        usage="jog3r path SOURCE [options]",
        help="cameras along a path: moves, descriptions, other videos",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("source", metavar="SOURCE", help="a move, a file or a folder; see above")
    amounts = parser.add_argument_group("amounts of a move (default: none)")
    for key, told in HELP.items():
        reads = whole_number if key == "seed" else finite
        for name in (key, key.replace("_world", "_depths")) if "_world" in key else (key,):
            option = "--" + name.replace("_", "-")
            amounts.add_argument(option, type=reads, metavar="NUMBER", help=told)
    _add_shape(parser)
    _add_lens(parser)
    _add_outputs(parser)
    parser.set_defaults(run=run)


def _add_shape(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("path")
    group.add_argument(
        "--frames", type=positive_int, default=16, metavar="N", help="how many (default: 16)"
    )
    group.add_argument(
        "--ease",
        choices=("linear", "in", "out", "in-out"),
        help="begin slowly, end slowly, or both (default: linear)",
    )
    group.add_argument("--reverse", action="store_true", help="from its end to its start")
    group.add_argument(
        "--scale",
        type=positive,
        metavar="FACTOR",
        help="of lengths in a file or folder with cameras (default: 1; between a folder and --scene"
        " the ratio of median depths)",
    )
    group.add_argument(
        "--scene", type=Path, metavar="FOLDER", help="saved scene to move in (default: none)"
    )
    group.add_argument(
        "--start-frame",
        type=whole_number,
        metavar="N",
        help="whose camera of the scene is the first one (default: 0)",
    )


def _add_lens(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("lens, without --scene")
    group.add_argument(
        "--image-size",
        type=image_size,
        metavar="WxH",
        help="in pixels (default: as in SOURCE, else 640x480)",
    )
    lens = group.add_mutually_exclusive_group()
    lens.add_argument(
        "--fov-deg",
        type=angle_deg,
        metavar="DEG",
        help="vertical field of view of the first frame (default: as in SOURCE, else 60)",
    )
    lens.add_argument(
        "--K",
        type=finite,
        nargs=4,
        metavar=("FX", "FY", "CX", "CY"),
        help="focal lengths and principal point of the first frame [px] (default: by --fov-deg)",
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("outputs, at least one")
    group.add_argument("--out", type=Path, metavar="FILE", help="the cameras (default: none)")
    group.add_argument(
        "--format",
        default="realestate10k",
        metavar="FORMAT",
        help="of --out, as in `jog3r convert-cameras --help` (default: realestate10k)",
    )
    group.add_argument(
        "--fps",
        type=positive,
        metavar="RATE",
        help="that the time stamps of --out follow (default: one frame per second)",
    )
    group.add_argument(
        "--preview", type=Path, metavar="PNG", help="a picture of the path (default: none)"
    )
    group.add_argument(
        "--description", type=Path, metavar="JSON", help="the path as data (default: none)"
    )
    group.add_argument("--overwrite", action="store_true", help="replace existing outputs")


def run(args: argparse.Namespace) -> None:
    """Make the path, write what is asked for, and say where it is."""
    outputs = [out for out in (args.out, args.preview, args.description) if out is not None]
    _check_outputs(outputs, overwrite=args.overwrite)
    from jog3r.export.cameras import format_named
    from jog3r.paths import Eased, Reversed, write_path
    from jog3r.results import Reconstruction

    format_named(args.format)
    scene = None if args.scene is None else Reconstruction.load(args.scene)
    move, recording = _move(args, scene)
    if args.reverse:
        move = Reversed(of=move)
    if args.ease is not None:
        move = Eased(of=move, easing=args.ease)
    cameras = _cameras(args, move, scene, recording)
    if args.out is not None:
        cameras.save(args.out, args.format, fps=args.fps)
    if args.preview is not None:
        from jog3r.paths.preview import write_preview

        write_preview(args.preview, cameras, scene, title=f"jog3r path {Path(args.source).name}")
    if args.description is not None:
        write_path(args.description, move)
    print("\n".join(map(str, outputs)))
    print(f"  {len(cameras)} cameras of {cameras.image_size[1]}x{cameras.image_size[0]} px")


def _check_outputs(outputs: list[Path], *, overwrite: bool) -> None:
    if not outputs:
        raise InputError("--out: expected a file to write, got none; or --preview, --description")
    if len({out.resolve() for out in outputs}) < len(outputs):
        given = ", ".join(map(str, outputs))
        raise InputError(f"--out, --preview, --description: expected different names, got {given}")
    for out in outputs:
        if out.exists() and not overwrite:
            raise InputError(f"{out}: expected a new name, got one that exists; add --overwrite")


def _move(
    args: argparse.Namespace, scene: "Reconstruction | None"
) -> "tuple[Move, Trajectory | None]":
    """Return what SOURCE says, and the recorded cameras if it is such."""
    from jog3r.paths import median_depth, parse_move, read_path

    amounts = _amounts(args)
    depth = None if scene is None else median_depth(scene, args.start_frame or 0)
    if args.source in MOVES:
        if args.scale is not None:
            raise InputError("--scale: expected a source with cameras, got a move; leave it out")
        return parse_move({"move": args.source, **amounts}, median_depth_world=depth), None
    if amounts:
        option = "--" + next(iter(amounts)).replace("_", "-")
        raise InputError(
            f"SOURCE: expected a move ({', '.join(MOVES)}), since {option} is given, got"
            f" {args.source!r}"
        )
    if not Path(args.source).exists():
        raise InputError(
            f"SOURCE: expected a move ({', '.join(MOVES)}) or an existing file or folder, got"
            f" {args.source!r}"
        )
    if _is_description(Path(args.source)):
        if args.scale is not None:
            raise InputError("--scale: expected a source with cameras, got a description")
        return read_path(args.source, median_depth_world=depth), None
    return _recorded(args, scene)


def _recorded(
    args: argparse.Namespace, scene: "Reconstruction | None"
) -> "tuple[Move, Trajectory]":
    from jog3r.paths import Trajectory, read_trajectory, recorded, recorded_from
    from jog3r.results import Reconstruction

    folder = Path(args.source)
    if not (folder / "meta.json").is_file():
        found = read_trajectory(folder)
        return recorded(found, scale=args.scale or 1.0), found
    other = Reconstruction.load(folder)
    cameras = other.cameras
    found = Trajectory(cameras.world_from_camera, cameras.K, cameras.image_size)
    if scene is None or args.scale is not None:
        return recorded(found, scale=args.scale or 1.0), found
    return recorded_from(other, scene, start_frame=args.start_frame or 0), found


def _is_description(path: Path) -> bool:
    from jog3r.export.cameras_json import read_json
    from jog3r.paths.path_file import ROOT

    return path.suffix.lower() == ".json" and ROOT in read_json(path)


def _amounts(args: argparse.Namespace) -> dict[str, Any]:
    names = [*HELP, *(key.replace("_world", "_depths") for key in HELP)]
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _cameras(
    args: argparse.Namespace,
    move: "Move",
    scene: "Reconstruction | None",
    recording: "Trajectory | None",
) -> "Cameras":
    from jog3r.paths import cameras_along, cameras_in_scene

    if scene is not None:
        lens = {"--image-size": args.image_size, "--fov-deg": args.fov_deg, "--K": args.K}
        for name, value in lens.items():
            if value is not None:
                raise InputError(f"{name}: expected none, since --scene has its own lens")
        return cameras_in_scene(move, args.frames, scene, start_frame=args.start_frame or 0)
    if args.start_frame is not None:
        raise InputError("--start-frame: expected --scene with it, got none; leave it out")
    return cameras_along(move, args.frames, **_lens(args, recording))


def _lens(args: argparse.Namespace, recording: "Trajectory | None") -> dict[str, Any]:
    """Return image size and lens of the first frame: as given, as recorded, or the default."""
    import torch

    from jog3r.geometry import resize_intrinsics

    recorded_size = None if recording is None else recording.image_size
    size = args.image_size or recorded_size or DEFAULT_SIZE
    if args.K is not None:
        fx, fy, cx, cy = args.K
        K = torch.tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
        return {"image_size": size, "K": K}
    if args.fov_deg is None and recording is not None and recording.K is not None and recorded_size:
        first = recording.K[-1 if args.reverse else 0]
        return {"image_size": size, "K": resize_intrinsics(first, recorded_size, size)}
    return {"image_size": size, "fov_y_deg": args.fov_deg or DEFAULT_FOV_DEG}

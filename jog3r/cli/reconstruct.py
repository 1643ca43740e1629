"""`jog3r reconstruct`: video to cameras, depth and points."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jog3r.cli.evaluate_cameras import by_name
from jog3r.cli.outputs import check_free, print_flags, print_outputs
from jog3r.cli.parser import (
    add_model_options,
    add_refinement,
    angle_deg,
    finite,
    given,
    positive,
    positive_int,
    refinement,
    two_or_more,
    weight,
    whole_number,
)
from jog3r.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from jog3r.alignment.regularisers import Regularisers
    from jog3r.results import Cameras, Video

DESCRIPTION = """\
Reconstruct a video or a folder of photos: the camera of every frame, its depth, and one coloured
point cloud with confidences. Sizes are up to one common factor: pictures alone do not tell a room
from a doll's house.
"""
EPILOG = """\
examples:
  jog3r reconstruct clip.mp4 --out outputs/clip
  jog3r reconstruct photos/ --out outputs/photos --fov-deg 55
  jog3r reconstruct long.mp4 --out outputs/long --fps 5 --max-frames 16
  jog3r reconstruct clip.mp4 --out outputs/exact --refine bundle
  jog3r reconstruct clip.mp4 --out outputs/known --cameras cameras.json --masks people/
"""

# Fields of jog3r.alignment.Regularisers and their meaning.
REGULARISERS = {
    "focal_smoothness": "the focal length changes little from frame to frame",
    "static_camera": "the camera moves little",
    "constant_velocity": "the camera moves evenly",
    "rotation_smoothness": "the camera turns little from frame to frame",
    "constant_turn": "the camera turns evenly",
}


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "reconstruct",
        usage="jog3r reconstruct PATH --out FOLDER [options]",
        help="video or photos to cameras, depth and points",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument(
        "path", type=Path, metavar="PATH", help="a video file or a folder of images of one size"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="where the results go"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace results in that folder")
    parser.add_argument(
        "--seed", type=whole_number, default=0, metavar="N", help="of the added noise (default: 0)"
    )
    parser.add_argument(
        "--method",
        choices=("learned", "sfm"),
        help="learned: this model; sfm: plain structure from motion by COLMAP, to compare with"
        " (default: learned)",
    )
    add_refinement(parser)
    _add_frame_options(parser)
    _add_camera_options(parser)
    _add_regulariser_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def _add_frame_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("frames")
    pace = group.add_mutually_exclusive_group()
    pace.add_argument(
        "--stride",
        type=positive_int,
        default=1,
        metavar="N",
        help="take every Nth frame (default: 1)",
    )
    pace.add_argument(
        "--fps",
        type=positive,
        metavar="RATE",
        help="thin a video file to so many frames per second (default: its own)",
    )
    group.add_argument(
        "--max-frames", type=positive_int, metavar="N", help="take the first N (default: all)"
    )
    group.add_argument(
        "--graph",
        metavar="NAME",
        help="pairs of frames: star, window-3, log-window-4, complete or auto (default: what suits"
        " the network, star for tiny)",
    )
    group.add_argument(
        "--window",
        type=two_or_more,
        metavar="N",
        help="frames that the model sees at once (default: all of up to 64, else 32)",
    )
    group.add_argument(
        "--overlap",
        type=positive_int,
        metavar="N",
        help="frames that neighbouring windows share (default: a quarter of the window)",
    )
    group.add_argument(
        "--masks",
        type=Path,
        metavar="PATH",
        help="video or folder of images, one for every frame of PATH: white counts, black does not"
        " (default: all counts)",
    )


def _add_camera_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("camera, if known (default: estimated)")
    lens = group.add_mutually_exclusive_group()
    lens.add_argument(
        "--fov-deg", type=angle_deg, metavar="DEG", help="vertical field of view [degrees]"
    )
    lens.add_argument(
        "--K",
        type=finite,
        nargs=4,
        metavar=("FX", "FY", "CX", "CY"),
        help="focal lengths and principal point, in pixels of the input",
    )
    lens.add_argument(
        "--cameras",
        type=Path,
        metavar="FILE",
        help="known cameras of all frames, with their lens, in any format that has one; paired with"
        " photos by the names in it, if it has these",
    )
    lens.add_argument(
        "--focal-per-frame",
        action="store_true",
        help="estimate a focal length for each frame, as a zoom lens needs (default: one for all)",
    )


def _add_regulariser_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "weights of the temporal regularisers (0 is off; default: the library's)"
    )
    for name, meaning in REGULARISERS.items():
        option = "--" + name.replace("_", "-")
        group.add_argument(option, type=weight, metavar="W", help=meaning)


def run(args: argparse.Namespace) -> None:
    """Reconstruct, save and list the results."""
    check_free(args.out, overwrite=args.overwrite)

    from jog3r import JOG3R
    from jog3r.data.media import read_masks, read_video

    thinning = {"stride": args.stride, "fps": args.fps, "max_frames": args.max_frames}
    video = read_video(args.path, **thinning)
    model = JOG3R.from_pretrained(args.model, device=args.device)
    scene = model.reconstruct(
        video,
        K=intrinsics(args, (video.height, video.width)),
        cameras=known_cameras(args, video),
        masks=None if args.masks is None else read_masks(args.masks, **thinning),
        shared_focal=not args.focal_per_frame,
        seed=args.seed,
        regularisers=regularisers(args),
        progress=not args.no_progress,
        **given(method=args.method, graph=args.graph, window=args.window, overlap=args.overlap),
        **refinement(args),
    )
    print_outputs([scene.save(args.out, overwrite=args.overwrite)])
    print_flags(scene.flags)


def intrinsics(args: argparse.Namespace, size: tuple[int, int]) -> "Tensor | None":
    """Return K in pixels of the input of height and width `size`; None to have it estimated."""
    if args.fov_deg is not None:
        from jog3r.geometry.intrinsics import intrinsics_from_fov

        return intrinsics_from_fov(args.fov_deg, size)
    if args.K is not None:
        import torch

        fx, fy, cx, cy = args.K
        return torch.tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    return None


def known_cameras(args: argparse.Namespace, video: "Video") -> "Cameras | None":
    """Read the known cameras of the frames that are kept; None for none.

    They are paired with photos by the names of these where the file says any of them. Else they are
    those of all frames, thinned as the frames are, or just of those that are kept.

    Raises:
        InputError: a photo without a camera.
    """
    if args.cameras is None:
        return None
    from jog3r.data.media import image_names
    from jog3r.export.cameras import format_named, read_named_cameras
    from jog3r.export.guess import guess_camera_format

    format = guess_camera_format(args.cameras)
    if format_named(format).read is None:
        raise InputError(
            f"--cameras: expected cameras with their lens, got {format}, which has none; add it"
            " by `jog3r convert-cameras --to json --K FX FY CX CY --image-size WxH`"
        )
    # Its K is in shares of the image, whose size the files of the data set do not say.
    size = (video.height, video.width) if format == "realestate10k" else None
    read = read_named_cameras(args.cameras, format, image_size=size)
    kept = slice(None, args.max_frames and args.stride * args.max_frames, args.stride)
    photos = image_names(args.path)[kept] if args.path.is_dir() else []
    places = [] if read.files is None else by_name(read.files, tuple(photos))
    if max(places, default=-1) >= 0:
        if -1 in places:
            raise InputError(
                "--cameras: expected the camera of every image, got none of"
                f" {photos[places.index(-1)]}; leave that image out"
            )
        return _some(read.cameras, places)
    return read.cameras if len(read.cameras) == len(video) else _some(read.cameras, kept)


def _some(cameras: "Cameras", chosen: Any) -> "Cameras":
    from jog3r import Cameras

    return Cameras(cameras.world_from_camera[chosen], cameras.K[chosen], cameras.image_size)


def regularisers(args: argparse.Namespace) -> "Regularisers | None":
    """Return the chosen weights, or None for the library's own."""
    chosen = given(**{name: getattr(args, name) for name in REGULARISERS})
    if not chosen:
        return None
    from jog3r.alignment.regularisers import Regularisers

    return Regularisers(**chosen)

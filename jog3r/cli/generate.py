"""`jog3r generate`: text to video, with its cameras on request."""

import argparse
from pathlib import Path
from typing import Any

from jog3r.cli.outputs import check_free, print_flags, print_outputs, slug
from jog3r.cli.parser import (
    add_model_options,
    add_refinement,
    finite,
    given,
    positive_int,
    refinement,
    whole_number,
)
from jog3r.errors import AlignmentError

DESCRIPTION = """\
Generate a video from a sentence. With --cameras the same sampling run also gives the camera of
every frame, its depth and a coloured point cloud.
"""
EPILOG = """\
examples:
  jog3r generate "a red sphere in a brick room, the camera moves forward"
  jog3r generate "a blue cube in a desert" --cameras --out outputs/cube
  jog3r generate "a yellow cone in a gallery" --seed 0 1 2 3 --guidance 3

The packaged model `tiny` knows a small world: spheres, cubes, cylinders and cones in plain colours,
in rooms and open places, and how the camera moves. Words it does not know are named in a warning;
`jog3r info --words` lists those it knows.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "generate",
        usage="jog3r generate PROMPT [options]",
        help="text to video, with cameras",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("prompt", metavar="PROMPT", help="what to show, in quotes")
    parser.add_argument(
        "--cameras", action="store_true", help="also reconstruct: cameras, depth and points"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where the results go (default: outputs/ and the words of the prompt); with several"
        " seeds, a folder seed-N in it for each",
    )
    add_refinement(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace results in that folder")
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument(
        "--seed",
        type=whole_number,
        nargs="+",
        default=[0],
        metavar="N",
        help="the same seed gives the same video; several give one video each (default: 0)",
    )
    sampling.add_argument(
        "--steps", type=positive_int, metavar="N", help="denoising steps (default: the model's)"
    )
    sampling.add_argument(
        "--guidance",
        type=finite,
        metavar="SCALE",
        help="how strictly to follow the prompt; 1 adds no strictness (default: the model's)",
    )
    sampling.add_argument(
        "--frames", type=positive_int, metavar="N", help="length in frames (default: the model's)"
    )
    sampling.add_argument(
        "--negative-prompt", metavar="TEXT", help="what to keep away from (default: nothing)"
    )
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Generate, save and list the results."""
    folder = args.out or Path("outputs") / slug(args.prompt)
    seeds = list(dict.fromkeys(args.seed))
    folders = [folder] if len(seeds) == 1 else [folder / f"seed-{seed}" for seed in seeds]
    for each in folders:
        check_free(each, overwrite=args.overwrite)

    from jog3r import JOG3R

    model = JOG3R.from_pretrained(args.model, device=args.device)
    failure = None
    try:
        shots = model.generate(
            args.prompt,
            cameras=args.cameras,
            seed=seeds,
            progress=not args.no_progress,
            **given(
                num_inference_steps=args.steps,
                guidance_scale=args.guidance,
                num_frames=args.frames,
                negative_prompt=args.negative_prompt,
            ),
            **refinement(args),
        )
    except AlignmentError as error:  # the videos are there nonetheless
        failure, shots = error, error.generations
    assert isinstance(shots, list)  # as `seed` is a list
    saved = [
        shot.save(each, overwrite=args.overwrite) for shot, each in zip(shots, folders, strict=True)
    ]
    print_outputs(saved)
    for shot in shots:
        print_flags(shot.reconstruction.flags if shot.reconstruction else ())
    if failure:
        raise failure

"""`jog3r demo`: everything once, with the packaged model and a packaged real clip."""

import argparse
from pathlib import Path
from typing import Any

from jog3r.cli.outputs import check_free, print_outputs
from jog3r.cli.parser import add_model_options, whole_number

PROMPT, SEED = "a blue cube in a desert, bright light, the camera moves forward", 21
DESCRIPTION = f"""\
Generate one video with its cameras from the sentence

  "{PROMPT}"

and reconstruct a short real clip that comes with jog3r. Both are saved with video, cameras, depth,
point cloud and an overview picture; results of an earlier demo in the same folder are replaced.
"""
EPILOG = """\
example:
  jog3r demo --out outputs/demo --seed 3
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "demo",
        help="generate a video and reconstruct a real clip",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("outputs/demo"),
        metavar="FOLDER",
        help="where the results go (default: outputs/demo)",
    )
    parser.add_argument(
        "--seed",
        type=whole_number,
        default=SEED,
        metavar="N",
        help=f"of the video (default: {SEED})",
    )
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Generate, reconstruct, save both and list the results."""
    generated, reconstructed = args.out / "generated", args.out / "reconstructed"
    for folder in (generated, reconstructed):
        check_free(folder, overwrite=True)

    import jog3r

    clip = Path(jog3r.__file__).parent / "assets" / "real_clip"
    progress = not args.no_progress
    model = jog3r.JOG3R.from_pretrained(args.model, device=args.device)
    print(f'Generating: "{PROMPT}"', flush=True)
    shot = model.generate(PROMPT, cameras=True, seed=args.seed, progress=progress)
    shot.save(generated, overwrite=True)
    print("Reconstructing the packaged real clip", flush=True)
    model.reconstruct(clip, progress=progress).save(reconstructed, overwrite=True)
    print("\nDone. Open the two overview.png first.\n")
    print_outputs([generated, reconstructed])

"""Make the real clip that ships with jog3r from a folder of photographs with known cameras.

    python docs/make_real_clip.py FOLDER

The frames are reduced, their K with them, and the cameras are stated relative to the first frame.
"""

import argparse
import json
from pathlib import Path

import torch
from PIL import Image

from jog3r.export.cameras_json import write_cameras_json
from jog3r.geometry import invert, resize_intrinsics
from jog3r.results import Cameras

REPOSITORY = Path(__file__).resolve().parent.parent


def make(source: Path, out: Path, first: int, count: int, height: int) -> None:
    """Write `count` frames and their cameras to `out`.

    Args:
        source: folder with a cameras.json that names its images.
        out: folder to fill; images that are there already are removed.
        first: index of the first frame.
        count: number of consecutive frames.
        height: of the written images [px]; the aspect ratio stays.
    """
    content = json.loads((source / "cameras.json").read_text())
    chosen = content["frames"][first : first + count]
    width0, height0 = content["image_size"]
    size = (height, round(width0 * height / height0))
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.jpg"):
        old.unlink()
    names = [f"{index:03d}.jpg" for index in range(len(chosen))]
    for frame, name in zip(chosen, names, strict=True):
        with Image.open(source / frame["file"]) as image:
            small = image.convert("RGB").resize((size[1], size[0]), Image.Resampling.LANCZOS)
        small.save(out / name, quality=90, optimize=True)
    given = torch.tensor([frame["world_from_camera"] for frame in chosen], dtype=torch.float64)
    K = torch.tensor([frame["K"] for frame in chosen], dtype=torch.float64)
    cameras = Cameras(
        (invert(given[0]) @ given).float(),
        resize_intrinsics(K, (height0, width0), size).float(),
        size,
    )
    write_cameras_json(out / "cameras.json", cameras, files=names, scale="relative")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "jog3r/assets/real_clip")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--height", type=int, default=144)
    args = parser.parse_args()
    make(args.source, args.out, args.first, args.count, args.height)


if __name__ == "__main__":
    main()

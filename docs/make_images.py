"""Make the pictures of the documentation, with the library itself.

    python docs/make_images.py first_screen            docs/images/first_screen.png
    python docs/make_images.py world                   docs/images/world.png
    python docs/make_images.py curves METRICS.csv      jog3r/weights/tiny/curves.png

`first_screen` needs the packaged weights; with --truth it shows clips of the controlled world with
their true depth and cameras instead, and says so. METRICS.csv is what the joint stage logs.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import jog3r
from jog3r import JOG3R, Cameras, Reconstruction, Video
from jog3r.cli.demo import PROMPT, SEED
from jog3r.data.world import HELD_OUT, World, WorldClip, WorldConfig
from jog3r.export import overview
from jog3r.export.atomic import atomic_file

IMAGES = Path(__file__).resolve().parent / "images"
PACKAGE = Path(jog3r.__file__).resolve().parent

# Layout of the first screen [inches].
WIDTH, MARGIN, CELL, GAP, COLUMNS, LABEL, SCENE = 13.0, 0.2, 1.24, 0.06, 6, 0.34, 4.7
# Layout of the world's sheet [px].
TILE, ACROSS, DOWN, SPACE, CAPTION = 100, 4, 3, 12, 36


def first_screen(path: Path, results: list[tuple[str, Reconstruction]]) -> None:
    """Draw frames, depth and camera path of each result, one below the other.

    Args:
        path: PNG to write.
        results: a title and what to draw.
    """
    heights = [2 * _cell_height(scene) + GAP for _, scene in results]
    page = overview.new_page(WIDTH, 2 * MARGIN + sum(h + LABEL for h in heights) + MARGIN)
    top = MARGIN
    for (title, scene), height in zip(results, heights, strict=True):
        page.text(MARGIN, top, title, size=11)
        top += LABEL
        _draw_frames(page, scene, top)
        _draw_path(page, scene, top, height)
        top += height + MARGIN
    _save(path, page.figure)


def _cell_height(scene: Reconstruction) -> float:
    return CELL * scene.video.height / scene.video.width


def _draw_frames(page: "overview.Page", scene: Reconstruction, top: float) -> None:
    """Draw a row of frames, and their depth below."""
    chosen = np.linspace(0, len(scene.video) - 1, COLUMNS).round().astype(int)
    height = _cell_height(scene)
    for column, index in enumerate(chosen):
        left = MARGIN + column * (CELL + GAP)
        pictures = (
            scene.video.frames[index].numpy(),
            overview.depth_colors(scene, int(index)),
        )
        for row, picture in enumerate(pictures):
            axes = page.axes(left, top + row * (height + GAP), CELL, height)
            overview.show(axes, picture, CELL)


def _draw_path(page: "overview.Page", scene: Reconstruction, top: float, height: float) -> None:
    """Draw the points and the cameras, from behind and above."""
    axes = page.axes(WIDTH - MARGIN - SCENE, top, SCENE, height)
    _, yaw_deg, pitch_deg = overview.VIEWS[0]
    overview.draw_view(axes, overview.surface_of(scene), scene.cameras, yaw_deg, pitch_deg)


def demo_results(model: str, prompt: str, seed: int) -> list[tuple[str, Reconstruction]]:
    """Run what `jog3r demo` runs."""
    network = JOG3R.from_pretrained(model)
    shot = network.generate(prompt, cameras=True, seed=seed)
    assert shot.reconstruction is not None
    clip = network.reconstruct(PACKAGE / "assets" / "real_clip")
    return [
        (f'Generated with its cameras: "{prompt}"', shot.reconstruction),
        ("Reconstructed: photographs of a desk (TUM RGB-D, CC BY 4.0)", clip),
    ]


def true_results() -> list[tuple[str, Reconstruction]]:
    """Give two held-out clips of the controlled world with what is true about them."""
    world = World(WorldConfig(size=128, samples=3, photos=str(PACKAGE / "assets" / "photos")))
    clips = [world.clip(HELD_OUT + number) for number in (0, 1)]
    return [
        (f'Controlled world, true depth and cameras: "{clip.caption}"', true_scene(clip))
        for clip in clips
    ]


def true_scene(clip: WorldClip) -> Reconstruction:
    """State a clip of the controlled world as a reconstruction without error."""
    height, width = clip.depth.shape[1:]
    cameras = Cameras(
        torch.from_numpy(clip.world_from_camera), torch.from_numpy(clip.K), (height, width)
    )
    depth = torch.from_numpy(clip.depth)
    video = Video(torch.from_numpy(clip.frames), fps=8)
    return Reconstruction(video, cameras, depth, torch.ones_like(depth), "metric")


def world_sheet(path: Path, size: int = TILE) -> None:
    """Draw the first held-out clips: first and last frame, depth and normals of the first."""
    world = World(WorldConfig(size=size, samples=3, photos=str(PACKAGE / "assets" / "photos")))
    cell = 2 * size + 2
    sheet = Image.new(
        "RGB",
        (ACROSS * (cell + SPACE) + SPACE, DOWN * (cell + CAPTION + SPACE) + SPACE),
        "white",
    )
    for number in range(ACROSS * DOWN):
        clip = world.clip(HELD_OUT + number)
        left = SPACE + number % ACROSS * (cell + SPACE)
        top = SPACE + number // ACROSS * (cell + CAPTION + SPACE)
        pictures = (clip.frames[0], clip.frames[-1], depth_colors(clip), normal_colors(clip))
        for i, picture in enumerate(pictures):
            place = (left + i % 2 * (size + 2), top + i // 2 * (size + 2))
            sheet.paste(Image.fromarray(picture), place)
        _write_caption(sheet, clip.caption, left, top + cell + 3, cell)
    with atomic_file(path) as file:
        sheet.save(file, format="png", optimize=True)


def depth_colors(clip: WorldClip) -> np.ndarray:
    """Colour the depth of the first frame on a logarithmic scale, as overview pictures do."""
    from matplotlib import colormaps

    depth = clip.depth[0]
    valid = depth > 0
    low, high = np.log(np.quantile(depth[valid], [0.01, 0.99]))
    share = (np.log(np.where(valid, depth, 1.0)) - low) / max(high - low, 1e-6)
    colors = (255 * colormaps[overview.DEPTH_COLORS](share.clip(0, 1))[..., :3]).round()
    return np.where(valid[..., None], colors, 214).astype(np.uint8)


def normal_colors(clip: WorldClip) -> np.ndarray:
    """Colour the normals of the first frame: red points right, green up, blue to the camera."""
    normals = clip.normals[0] * np.array([1.0, -1.0, -1.0])
    colors = (127.5 * (normals + 1)).round()
    return np.where((clip.depth[0] > 0)[..., None], colors, 214).astype(np.uint8)


def _write_caption(sheet: Image.Image, text: str, left: int, top: int, width: int) -> None:
    """Write a caption in three lines at most."""
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer, font=font) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    for number, line in enumerate(lines[:3]):
        draw.text((left, top + 12 * number), line, fill=(60, 64, 67), font=font)


def curves(path: Path, metrics: Path) -> None:
    """Draw the losses that a joint stage logged: training smoothed, validation as points."""
    from matplotlib.figure import Figure

    with metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(9, 3), layout="constrained")
    titles = {"gen": "L_gen: error in v", "rec": "L_rec: pointmap loss"}
    for axes, (name, title) in zip(figure.subplots(1, len(titles)), titles.items(), strict=True):
        for split, style in (("train", "-"), ("val", "o-")):
            key = f"{split}/{name}"
            steps = [int(row["step"]) for row in rows if row.get(key)]
            values = np.array([float(row[key]) for row in rows if row.get(key)])
            if split == "train" and len(values) > 9:
                values = np.convolve(np.pad(values, 4, mode="edge"), np.full(9, 1 / 9), "valid")
            axes.plot(steps, values, style, label=split, markersize=3, linewidth=1)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step")
        axes.legend(frameon=False)
    _save(path, figure)


def _save(path: Path, figure: object) -> None:
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=100)  # type: ignore[attr-defined]


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    screen = commands.add_parser("first_screen")
    screen.add_argument("--model", default="tiny")
    screen.add_argument("--prompt", default=PROMPT)
    screen.add_argument("--seed", type=int, default=SEED)
    screen.add_argument("--truth", action="store_true", help="clips of the world, without a model")
    screen.add_argument("--out", type=Path, default=IMAGES / "first_screen.png")
    sheet = commands.add_parser("world")
    sheet.add_argument("--out", type=Path, default=IMAGES / "world.png")
    drawn = commands.add_parser("curves")
    drawn.add_argument("metrics", type=Path)
    drawn.add_argument("--out", type=Path, default=PACKAGE / "weights" / "tiny" / "curves.png")
    args = parser.parse_args()
    if args.command == "first_screen":
        model = (args.model, args.prompt, args.seed)
        first_screen(args.out, true_results() if args.truth else demo_results(*model))
    elif args.command == "world":
        world_sheet(args.out)
    else:
        curves(args.out, args.metrics)


if __name__ == "__main__":
    main()

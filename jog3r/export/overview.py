"""One picture of a result: frames, depth maps under one colour scale, and the cameras in the scene.

The scene is drawn twice by parallel projection, from behind and above the mean camera and straight
from above, like a doll's house: surfaces that turn their back to the viewer, such as the ceiling
seen from above, are left out. Frusta run from blue (first frame) to red (last), their upper edge is
drawn bolder.
"""

import io
import textwrap
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import roma
import torch
from jaxtyping import Bool
from torch import Tensor

from jog3r.errors import MissingPackageError
from jog3r.export.atomic import atomic_file
from jog3r.export.frusta import (
    EDGES,
    FRUSTUM_SHARE,
    TOP_EDGE,
    frustum_corners,
    near_points,
    scene_extent,
)
from jog3r.geometry import focal, normals_from_pointmap, pointmap_from_depth, unproject
from jog3r.results import Cameras, Reconstruction, Video

try:
    from matplotlib import colormaps
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap, LogNorm
    from matplotlib.figure import Figure
except ImportError as error:  # pragma: no cover
    raise MissingPackageError(
        f"matplotlib: expected it for pictures, got '{error}'; pip install matplotlib"
    ) from error

COLUMNS = 8
MAX_POINTS = 60_000
DEPTH_SAMPLE = 100_000
MAX_FRUSTA = 24
SPLATS = (1.1, 9.0)  # smallest and largest point [1/72 inch]
WIDTH, MARGIN, GAP = 14.0, 0.45, 0.08  # inches
LABEL, TITLE, SCENE, BETWEEN = 0.26, 0.62, 4.6, 0.3
DPI = 110
INK, QUIET, PAPER, STAGE, NO_DEPTH = "#202124", "#70757a", "#ffffff", "#f4f5f7", "#d5d8dc"
DEPTH_COLORS = "Spectral"
TIME = LinearSegmentedColormap.from_list("time", ["#3f7fe8", "#8e5bd0", "#e8483b"])
BACK_FACING = 0.25
"""Cosine between a surface's normal and the line of sight from which on it is left out."""
VIEWS = (("From behind and above", -28.0, 32.0), ("From above", 0.0, 90.0))


class Page(NamedTuple):
    """A figure with its size, so that boxes can be placed in inches from the upper left corner."""

    figure: Figure
    width: float
    height: float

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add a place to draw on; all in inches."""
        box = (left, self.height - top - height, width, height)
        across = (self.width, self.height, self.width, self.height)
        axes = self.figure.add_axes(tuple(a / b for a, b in zip(box, across, strict=True)))  # type: ignore[arg-type]
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def text(self, left: float, top: float, text: str, *, size: float, color: str = INK) -> None:
        """Write below and to the right of a point; inches, and points for the size."""
        # parse_math: a prompt may hold dollar signs.
        self.figure.text(
            left / self.width,
            1 - top / self.height,
            text,
            fontsize=size,
            color=color,
            va="top",
            parse_math=False,
        )


class Surface(NamedTuple):
    """The points that are drawn, world frame."""

    points: Tensor
    normals: Tensor
    colors: Tensor
    widths: Tensor  # of the pixels, at the distance of their points


def write_overview(
    path: str | Path, video: Video, reconstruction: Reconstruction | None = None, *, title: str
) -> None:
    """Draw the picture as PNG.

    Args:
        path: to create or replace.
        video: up to eight of its frames are shown; tiny ones are enlarged pixel by pixel.
        reconstruction: of this video; without one only the frames are shown.
        title: for example the prompt; cut to two lines.

    Raises:
        SaveError: the file could not be written; nothing partial is left.
    """
    count = min(len(video), COLUMNS)
    chosen = np.linspace(0, len(video) - 1, count).round().astype(int)
    inner = WIDTH - 2 * MARGIN
    cell_width = min((inner - (COLUMNS - 1) * GAP) / COLUMNS, 3.2 * video.width / video.height)
    cell_height = cell_width * video.height / video.width
    row = cell_height + LABEL
    rows = row if reconstruction is None else 2 * row + LABEL + SCENE
    page = new_page(WIDTH, MARGIN + TITLE + rows + MARGIN / 2)
    _draw_title(page, video, reconstruction, title)
    top = MARGIN + TITLE
    for column, index in enumerate(chosen):
        left = MARGIN + column * (cell_width + GAP)
        axes = page.axes(left, top, cell_width, cell_height)
        show(axes, video.frames[index].numpy(), cell_width)
        page.text(left, top + cell_height + 0.04, f"frame {index}", size=8, color=QUIET)
        if reconstruction is not None:
            axes = page.axes(left, top + row, cell_width, cell_height)
            show(axes, depth_colors(reconstruction, int(index)), cell_width)
    if reconstruction is not None:
        _draw_depth_scale(page, reconstruction, top + row + cell_height + 0.07)
        _draw_scene(page, reconstruction, top + 2 * row + LABEL)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A title in a script that the font lacks is drawn with boxes; the picture is still of use.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        page.figure.savefig(buffer, format="png", dpi=DPI)
    with atomic_file(path) as file:
        file.write(buffer.getbuffer())


def new_page(width: float, height: float) -> Page:
    """Return an empty page of this size [inches]."""
    return Page(Figure(figsize=(width, height), facecolor=PAPER), width, height)


def _draw_title(
    page: Page, video: Video, reconstruction: Reconstruction | None, title: str
) -> None:
    title = title.encode(errors="replace").decode()  # no font draws half of a surrogate pair
    lines = textwrap.wrap(title, 110, max_lines=2, placeholder=" ...") or [""]
    page.text(MARGIN, MARGIN * 0.7, "\n".join(lines), size=14 if len(lines) == 1 else 11.5)
    facts = f"{len(video)} frames, {video.width} x {video.height} px, {video.fps:g} frames/s"
    if reconstruction is not None:
        share = int(torch.count_nonzero(reconstruction.depth)) / reconstruction.depth.numel()
        facts += f"; depth on {share:.0%} of the pixels; scale: {reconstruction.scale}"
    page.text(MARGIN, MARGIN * 0.7 + 0.42, facts, size=9.5, color=QUIET)


def show(axes: Axes, image: np.ndarray, width: float) -> None:
    """Show an image `width` inches wide; a tiny one is enlarged pixel by pixel."""
    enlarged = image.shape[1] < width * DPI
    axes.imshow(image, interpolation="nearest" if enlarged else "antialiased", aspect="auto")


def _depth_norm(reconstruction: Reconstruction) -> LogNorm:
    """Return the colour scale: logarithmic, so that near and far are told apart outdoors too."""
    chosen = _every(reconstruction.depth > 0, DEPTH_SAMPLE)
    sample = torch.from_numpy(reconstruction.depth.numpy()[chosen.numpy()])
    if not len(sample):
        return LogNorm(1.0, 10.0, clip=True)
    low, high = torch.quantile(sample, torch.tensor([0.01, 0.99])).tolist()
    return LogNorm(low, max(high, low * 1.001), clip=True)


def _every(keep: Bool[Tensor, "t h w"], most: int) -> Bool[Tensor, "t h w"]:
    """Return every n-th of the pixels to keep, n being 1 + their number // most."""
    step, passed = 1 + int(torch.count_nonzero(keep)) // most, 0
    thin = torch.zeros_like(keep)
    for frame, left in zip(keep, thin, strict=True):
        places = frame.nonzero()
        left[tuple(places[(-passed) % step :: step].T)] = True
        passed += len(places)
    return thin


def depth_colors(reconstruction: Reconstruction, index: int) -> np.ndarray:
    """Return the depth of a frame as colours `(H, W, 3)` in [0, 1], on one scale for all frames."""
    depth = reconstruction.depth[index].numpy()
    norm = _depth_norm(reconstruction)
    colors = colormaps[DEPTH_COLORS](norm(np.where(depth > 0, depth, 1.0)))[..., :3]
    grey = [int(NO_DEPTH[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.where(depth[..., None] > 0, colors, grey)


def _draw_depth_scale(page: Page, reconstruction: Reconstruction, top: float) -> None:
    norm = _depth_norm(reconstruction)
    unit = " m" if reconstruction.scale == "metric" else ""
    page.text(MARGIN, top, f"depth   {norm.vmin:.3g}{unit}", size=8, color=QUIET)
    bar = page.axes(MARGIN + 1.15, top + 0.02, 1.8, 0.11)
    bar.imshow(np.linspace(0, 1, 256)[None], cmap=DEPTH_COLORS, aspect="auto")
    far = f"{norm.vmax:.3g}{unit}   (logarithmic; grey: no depth)"
    page.text(MARGIN + 3.03, top, far, size=8, color=QUIET)


def _draw_scene(page: Page, reconstruction: Reconstruction, top: float) -> None:
    surface = surface_of(reconstruction)
    width = (WIDTH - 2 * MARGIN - BETWEEN) / 2
    for number, (name, yaw_deg, pitch_deg) in enumerate(VIEWS):
        left = MARGIN + number * (width + BETWEEN)
        axes = page.axes(left, top + LABEL, width, SCENE - LABEL)
        draw_view(axes, surface, reconstruction.cameras, yaw_deg, pitch_deg)
        page.text(left, top + 0.03, name, size=9.5)
    legend = WIDTH - MARGIN - 2.35
    page.text(legend, top + 0.05, "first camera", size=8, color=QUIET)
    bar = page.axes(legend + 0.78, top + 0.08, 0.8, 0.09)
    bar.imshow(np.linspace(0, 1, 256)[None], cmap=TIME, aspect="auto")
    page.text(legend + 1.67, top + 0.05, "last camera", size=8, color=QUIET)


def draw_view(
    axes: Axes, surface: Surface, cameras: Cameras, yaw_deg: float, pitch_deg: float
) -> None:
    """Draw the points and the camera path, seen from beside the mean camera.

    Args:
        axes: to draw on.
        surface: what `surface_of` makes.
        cameras: of the same reconstruction.
        yaw_deg: turn of the view against the mean camera, about its vertical axis.
        pitch_deg: the same about its horizontal axis.
    """
    axes.set_facecolor(STAGE)
    view_from_world = _view(cameras, yaw_deg, pitch_deg)
    frusta = frustum_corners(cameras, FRUSTUM_SHARE * scene_extent(surface.points, cameras))
    corners = (frusta.double() @ view_from_world.T).numpy()[..., :2]
    near = surface.points[near_points(surface.points, cameras)].double()
    framed = (near @ view_from_world.T).numpy()[:, :2]
    inner = np.quantile(framed, [0.01, 0.99], axis=0) if len(framed) else framed
    unit = _frame_view(axes, np.concatenate([inner, corners.reshape(-1, 2)]))
    _draw_points(axes, surface, view_from_world, unit)
    _draw_frusta(axes, corners)


def surface_of(reconstruction: Reconstruction) -> Surface:
    """Return the points to draw, about MAX_POINTS of them, frame by frame to save memory."""
    keep, stop = _every(reconstruction.point_mask(), MAX_POINTS), 0
    count = int(torch.count_nonzero(keep))
    points, normals = torch.empty(count, 3), torch.empty(count, 3)
    surface = Surface(points, normals, torch.empty(count, 3, dtype=torch.uint8), torch.empty(count))
    for index, chosen in enumerate(keep):
        start, stop = stop, stop + int(torch.count_nonzero(chosen))
        maps = _surface_maps(reconstruction, slice(index, index + 1))
        for part, values in zip(surface, maps, strict=True):
            part[start:stop] = values[0][chosen]
    return surface


def _surface_maps(reconstruction: Reconstruction, here: slice) -> Surface:
    """Return what is drawn of every pixel of some frames."""
    depth, cameras = reconstruction.depth[here], reconstruction.cameras
    K, world_from_camera = cameras.K[here], cameras.world_from_camera[here]
    points_camera = unproject(depth, K)
    normals = torch.zeros_like(points_camera)
    if min(depth.shape[1:]) >= 2:
        rotation = world_from_camera[:, None, :3, :3]
        normals = normals_from_pointmap(points_camera) @ rotation.transpose(-1, -2)
    return Surface(
        pointmap_from_depth(depth, K, world_from_camera),
        normals,
        reconstruction.video.frames[here],
        depth / focal(K)[:, None, None],
    )


def _view(cameras: Cameras, yaw_deg: float, pitch_deg: float) -> Tensor:
    """Return the rotation from the world to a view turned against the mean camera.

    In float64, as all that is drawn: the extent of a scene may be beyond float32.
    """
    total = cameras.world_from_camera[:, :3, :3].double().sum(dim=0)
    mean = torch.as_tensor(roma.special_procrustes(total))
    turn = roma.euler_to_rotmat("XY", [pitch_deg, yaw_deg], degrees=True, dtype=mean.dtype)
    return torch.as_tensor(turn) @ mean.T


def _frame_view(axes: Axes, shown: np.ndarray) -> float:
    """Show all of the given places undistorted, y running down; return the unit [1/72 inch]."""
    figure, box = axes.get_figure(root=True), axes.get_position()
    assert isinstance(figure, Figure)
    inches = np.array([box.width, box.height]) * figure.get_size_inches()
    low, high = shown.min(axis=0), shown.max(axis=0)
    inches_per_unit = float(min(inches / np.maximum((high - low) * 1.08, 1e-6)))
    centre, half = (low + high) / 2, inches / inches_per_unit / 2
    axes.set_xlim(centre[0] - half[0], centre[0] + half[0])
    axes.set_ylim(centre[1] + half[1], centre[1] - half[1])
    return 72 * inches_per_unit


def _draw_points(axes: Axes, surface: Surface, view_from_world: Tensor, unit: float) -> None:
    """Draw each point as large as its pixel is there, so that surfaces close, far ones first."""
    points = (surface.points.double() @ view_from_world.T).numpy()
    back = (surface.normals.double() @ view_from_world.T).numpy()[:, 2] > BACK_FACING
    order = np.argsort(-points[:, 2], kind="stable")
    order = order[~back[order]]
    diameters = np.clip(1.4 * unit * surface.widths.numpy()[order], *SPLATS)
    colors = surface.colors.numpy()[order] / 255
    axes.scatter(points[order, 0], points[order, 1], s=diameters**2, c=colors, linewidths=0)


def _draw_frusta(axes: Axes, corners: np.ndarray) -> None:
    times = np.linspace(0, 1, len(corners))
    path = np.stack([corners[:-1, 0], corners[1:, 0]], axis=1)
    axes.add_collection(LineCollection(list(path), colors=TIME(times[1:]), linewidths=1.8))
    some = np.unique(np.linspace(0, len(corners) - 1, MAX_FRUSTA).round().astype(int))
    for edges, line_width in ((EDGES, 0.9), ((TOP_EDGE,), 2.2)):
        lines = corners[some][:, list(edges)].reshape(-1, 2, 2)
        colors = TIME(times[some].repeat(len(edges)))
        axes.add_collection(LineCollection(list(lines), colors=colors, linewidths=line_width))

"""One picture of a camera path: from above, from the right, and how it changes over the frames.

Everything is drawn in the frame of the first camera, whatever the world is. Frusta run from blue
(first frame) to red (last); the upper edge of each picture is drawn bolder.
"""

import io
from pathlib import Path

import numpy as np
import roma
import torch
from torch import Tensor

from jog3r.errors import MissingPackageError
from jog3r.export.atomic import atomic_file
from jog3r.export.frusta import EDGES, TOP_EDGE, frustum_corners, near_points, scene_extent
from jog3r.export.overview import DPI, INK, QUIET, STAGE, TIME, Page, new_page
from jog3r.geometry import invert, relative, transform_points
from jog3r.results import Cameras, PointCloud, Reconstruction

try:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
except ImportError as error:  # pragma: no cover
    raise MissingPackageError(
        f"matplotlib: expected it for pictures, got '{error}'; pip install matplotlib"
    ) from error

WIDTH, HEIGHT = 13.0, 5.4  # inches
MARGIN, TITLE, VIEW, BETWEEN, LABELS = 0.75, 0.75, 3.75, 0.8, 0.5
MAX_POINTS, MAX_FRUSTA = 40_000, 16
NOTHING = 1e-6
"""A curve that stays below is one of zeros."""
FRUSTUM_SHARE = 0.06
"""Depth of a drawn frustum, as a share of the extent of what is drawn."""
# title, which coordinates run to the right and up, their signs, their names
VIEWS = (
    ("From above", (0, 2), (1, 1), ("x, right", "z, forward")),
    ("From the right", (2, 1), (1, -1), ("z, forward", "up, -y")),
)


def write_preview(
    path: str | Path, cameras: Cameras, scene: Reconstruction | None = None, *, title: str = ""
) -> None:
    """Draw the picture as PNG.

    Args:
        path: to create or replace.
        cameras: to draw.
        scene: whose point cloud is drawn with them; it must be in the same world.
        title: for example the name of the path.

    Raises:
        SaveError: the file could not be written; nothing partial is left.
    """
    page = new_page(WIDTH, HEIGHT)
    page.text(MARGIN, 0.2, title[:110], size=13)
    facts = f"{len(cameras)} frames, first camera at the origin, its axes; unit: that of the world"
    page.text(MARGIN, 0.48, facts, size=8.5, color=QUIET)
    cloud = None if scene is None else scene.points
    size = scene_extent(torch.empty(0, 3) if cloud is None else cloud.points, cameras)
    corners = _from_first(cameras, frustum_corners(cameras, FRUSTUM_SHARE * size))
    for number, (name, across, signs, labels) in enumerate(VIEWS):
        axes = _axes(page, number, name, labels)
        pick = np.array(signs) * corners.numpy()[..., list(across)]
        shown = pick.reshape(-1, 2)
        if cloud is not None:
            points, colors = _near(cloud, cameras)
            dots = np.array(signs) * points.numpy()[:, list(across)]
            axes.scatter(dots[:, 0], dots[:, 1], s=1.2, c=colors, linewidths=0)
            shown = np.concatenate([shown, dots])
        _frame(axes, shown)
        _draw_cameras(axes, pick)
    _draw_changes(page, cameras)
    buffer = io.BytesIO()
    page.figure.savefig(buffer, format="png", dpi=DPI)
    with atomic_file(path) as file:
        file.write(buffer.getbuffer())


def _from_first(cameras: Cameras, points: Tensor) -> Tensor:
    first_from_world = invert(cameras.world_from_camera[0].double())
    return transform_points(first_from_world, points.double())


def _near(cloud: PointCloud, cameras: Cameras) -> tuple[Tensor, np.ndarray]:
    """Return some of the points that are near enough to be drawn, and their colours."""
    keep = near_points(cloud.points, cameras).nonzero()[:, 0]
    keep = keep[:: 1 + len(keep) // MAX_POINTS]
    return _from_first(cameras, cloud.points[keep]), cloud.colors[keep].numpy() / 255


def _axes(page: Page, column: int, name: str, labels: tuple[str, str]) -> Axes:
    left = MARGIN + column * (VIEW + BETWEEN)
    page.text(left, TITLE, name, size=10)
    axes = page.axes(left, TITLE + 0.28, VIEW, HEIGHT - TITLE - 0.28 - LABELS)
    axes.set_facecolor(STAGE)
    axes.set_xlabel(labels[0], fontsize=8, color=QUIET)
    axes.set_ylabel(labels[1], fontsize=8, color=QUIET)
    _ticks(axes)
    return axes


def _ticks(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.tick_params(labelsize=7, colors=QUIET, length=2)
    axes.grid(color="white", linewidth=0.8)
    axes.set_axisbelow(True)


def _frame(axes: Axes, shown: np.ndarray) -> None:
    """Show all of the given places undistorted."""
    low, high = shown.min(axis=0), shown.max(axis=0)
    figure_width, figure_height = VIEW, HEIGHT - TITLE - 0.28 - LABELS
    unit = max((high - low) / np.array([figure_width, figure_height])) * 1.08 or 1.0
    centre = (low + high) / 2
    axes.set_xlim(*(centre[0] + unit * figure_width * np.array([-0.5, 0.5])))
    axes.set_ylim(*(centre[1] + unit * figure_height * np.array([-0.5, 0.5])))


def _draw_cameras(axes: Axes, corners: np.ndarray) -> None:
    times = np.linspace(0, 1, len(corners))
    path = np.stack([corners[:-1, 0], corners[1:, 0]], axis=1)
    axes.add_collection(LineCollection(list(path), colors=TIME(times[1:]), linewidths=1.8))
    some = np.unique(np.linspace(0, len(corners) - 1, MAX_FRUSTA).round().astype(int))
    for edges, line_width in ((EDGES, 0.8), ((TOP_EDGE,), 2.0)):
        lines = corners[some][:, list(edges)].reshape(-1, 2, 2)
        colors = TIME(times[some].repeat(len(edges)))
        axes.add_collection(LineCollection(list(lines), colors=colors, linewidths=line_width))


def _draw_changes(page: Page, cameras: Cameras) -> None:
    """Plot what a step between frames is, and the field of view, over the frames."""
    steps = relative(
        cameras.world_from_camera[:-1].double(), cameras.world_from_camera[1:].double()
    )
    eye = torch.eye(3, dtype=steps.dtype).expand(len(steps), 3, 3)
    turn_deg = roma.rotmat_geodesic_distance(steps[:, :3, :3], eye).rad2deg()
    fov_deg = 2 * torch.atan(cameras.image_size[0] / 2 / cameras.K[:, 1, 1].double()).rad2deg()
    rows = (
        ("step between frames", steps[:, :3, 3].norm(dim=-1)),
        ("turn between frames [deg]", turn_deg),
        ("vertical field of view [deg]", fov_deg),
    )
    left = MARGIN + len(VIEWS) * (VIEW + BETWEEN)
    each = (HEIGHT - TITLE - LABELS) / len(rows)
    for number, (name, values) in enumerate(rows):
        page.text(left, TITLE + number * each, name, size=9, color=INK)
        axes = page.axes(left, TITLE + number * each + 0.25, WIDTH - left - 0.35, each - 0.5)
        axes.set_facecolor(STAGE)
        frames = np.arange(len(cameras) - len(values), len(cameras))
        axes.scatter(frames, values.numpy(), c=frames, cmap=TIME, s=9, zorder=3)
        axes.plot(frames, values.numpy(), color=QUIET, linewidth=0.8)
        highest = float(values.max()) if len(values) else 0.0
        # Nothing but rounding: the scale of noise would say nothing, and its offset hide the title.
        top = highest if highest > NOTHING else 1.0
        axes.set_ylim(-0.05 * top, 1.15 * top)
        axes.set_xlim(-0.5, len(cameras) - 0.5)
        _ticks(axes)
    page.text(left, HEIGHT - LABELS - 0.02, "frame", size=8, color=QUIET)

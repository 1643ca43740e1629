"""Claim: each step that leaves points out brings the cloud nearer to the true surfaces.

Down-sampling by voxels is none of them: it spreads the points evenly over the surfaces. The
controlled world gives exact depth and cameras. Depth is then spoilt in three ways: upsampled from
half the resolution, which puts pixels into the air at every edge; noise along the ray; and
outliers, which a network mostly, not always, gives a low confidence.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.poses import mean_and_error
from benchmarks.record import Record, parser, progress
from jog3r.data.world import HELD_OUT, World, WorldConfig
from jog3r.geometry.open3d_package import require_open3d
from jog3r.results import Cameras, Mesh, PointSelection, Reconstruction, Video

SIZE, FRAMES, FINER = 128, 8, 4
NOISE, OUTLIERS, OUTLIER_NOISE, TOLD = 0.01, 0.03, 0.3, 0.7
"""Relative depth noise; share of outliers, their noise, and share of them that look unsure."""
NEAR = 4.0  # times the median depth: what lies beyond is no part of the claim
FAR = 2 * NEAR  # takes the place of the sky and of the horizon before anything is spoilt
STRAY_PERCENT = 5.0  # of the median depth

EVERYTHING = PointSelection(drop_fraction=0.0)
CONFIDENT = replace(EVERYTHING, drop_fraction=0.05)
NOT_SLANTED = replace(CONFIDENT, max_slant_deg=85.0)
IN_VOXELS = replace(NOT_SLANTED, voxel_ratio=1 / 256)
STEPS = {
    "all pixels": EVERYTHING,
    "+ drop_fraction 0.05": CONFIDENT,
    "+ max_slant_deg 85": NOT_SLANTED,
    "+ voxel_ratio 1/256": IN_VOXELS,
    "+ outlier_neighbours 20": replace(IN_VOXELS, outlier_neighbours=20),
}
ALONE = {
    "only drop_fraction 0.05": CONFIDENT,
    "only drop_fraction 0.2": PointSelection(),
    "only max_slant_deg 85": replace(EVERYTHING, max_slant_deg=85.0),
    "only voxel_ratio 1/256": replace(EVERYTHING, voxel_ratio=1 / 256),
    "only outlier_neighbours 20": replace(EVERYTHING, outlier_neighbours=20),
}
MESH = replace(NOT_SLANTED, voxel_ratio=1 / 192)


@dataclass(frozen=True)
class Case:
    """One clip: what is exact, what was made of it, and the surfaces around it."""

    exact: Reconstruction
    spoilt: Reconstruction
    surface: Tensor
    unit: float


def cases(count: int, seed: int) -> Iterator[Case]:
    """Render held-out clips, and their depth once more in four times the resolution."""
    coarse = World(WorldConfig(size=SIZE))
    fine = World(WorldConfig(size=FINER * SIZE, samples=1, shadows=False))
    for number in range(count):
        chosen = HELD_OUT + 3_000_000 + 100_000 * seed + number
        clip, truth = coarse.clip(chosen, FRAMES), fine.clip(chosen, FRAMES)
        depth = torch.from_numpy(clip.depth)
        unit = float(depth[depth > 0].median())
        near = (depth > 0) & (depth < NEAR * unit)
        exact = Reconstruction(
            Video(torch.from_numpy(clip.frames), 8.0),
            Cameras(
                torch.from_numpy(clip.world_from_camera), torch.from_numpy(clip.K), (SIZE, SIZE)
            ),
            depth,
            torch.ones_like(depth),
            "metric",
            near,
        )
        generator = torch.Generator().manual_seed(chosen)
        surface = torch.from_numpy(truth.points_world())[torch.from_numpy(truth.depth) > 0]
        yield Case(exact, spoil(exact, generator), surface, unit)


def spoil(exact: Reconstruction, generator: torch.Generator) -> Reconstruction:
    """Return the scene with the depth and the confidence of a mediocre network."""
    # Between a thing and the sky pixels lie in the air too.
    far = FAR * float(exact.depth[exact.depth > 0].median())
    depth = torch.where(exact.depth > 0, exact.depth, far).clamp(max=far)
    half = torch.nn.functional.avg_pool2d(depth[:, None], 2)
    rough = torch.nn.functional.interpolate(half, scale_factor=2.0, mode="bilinear")[:, 0]
    noise, wild, draw, told = (
        make(exact.depth.shape, generator=generator)
        for make in (torch.randn, torch.randn, torch.rand, torch.rand)
    )
    outlier = draw < OUTLIERS
    rough = rough * torch.exp(torch.where(outlier, OUTLIER_NOISE * wild, NOISE * noise))
    confidence = 2 + torch.rand(exact.depth.shape, generator=generator)
    confidence = torch.where(outlier & (told < TOLD), 1.0, confidence)
    depth = torch.where(exact.depth > 0, rough, 0.0)
    return replace(exact, depth=depth, confidence=confidence)


class Surface:
    """Distances between points and the true surfaces, in percent of the clip's median depth."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.search = _search(case.surface)
        self.seen = case.exact.select_points(EVERYTHING).points

    def row(self, points: Tensor, pixels: int) -> dict[str, float]:
        """Measure how near the points are, and how much of what was seen they cover."""
        error = self._percent(self.search, points)
        return {
            "points_%": 100 * len(points) / pixels,
            "mean_error_%": float(error.mean()),
            "error_at_95_%": float(error.quantile(0.95)),
            "stray_%": 100 * float((error > STRAY_PERCENT).float().mean()),
            "covered_%": 100
            * float((self._percent(_search(points), self.seen) < STRAY_PERCENT).float().mean()),
        }

    def _percent(self, search: Any, points: Tensor) -> Tensor:
        _, squares = search.knn_search(_tensor(points), 1)
        return torch.from_numpy(squares.numpy())[:, 0].sqrt() * 100 / self.case.unit


def _search(points: Tensor) -> Any:
    search = require_open3d("measure clouds").core.nns.NearestNeighborSearch(_tensor(points))
    search.knn_index()
    return search


def _tensor(points: Tensor) -> Any:
    core = require_open3d("measure clouds").core
    return core.Tensor.from_numpy(points.contiguous().numpy())


def centres(mesh: Mesh) -> Tensor:
    """Return the middles of the triangles, which are about as large as a voxel."""
    return mesh.vertices[mesh.triangles].mean(dim=1)


def case_rows(case: Case) -> dict[str, dict[str, float]]:
    """Measure every selection on one clip."""
    surface, spoilt = Surface(case), case.spoilt
    pixels = int(spoilt.point_mask(EVERYTHING).sum())
    clouds = {"exact depth": case.exact.select_points(EVERYTHING).points}
    clouds |= {name: spoilt.select_points(rule).points for name, rule in (STEPS | ALONE).items()}
    first = spoilt.select_points(NOT_SLANTED)
    clouds["outliers before voxels"] = (
        first.without_outliers().voxel_downsampled(first.extent / 256).points
    )
    clouds["mesh"] = centres(spoilt.mesh(MESH))
    clouds["mesh, least_views 3"] = centres(spoilt.mesh(MESH, least_views=3))
    return {name: surface.row(points, pixels) for name, points in clouds.items()}


def table(measured: list[dict[str, dict[str, float]]]) -> list[dict[str, Any]]:
    """Average over the clips."""
    return [
        {"selection": name}
        | {key: mean_and_error([clip[name][key] for clip in measured])[0] for key in first}
        for name, first in measured[0].items()
    ]


def main() -> None:
    """Run the benchmark."""
    args = parser(__doc__, clips=16, model=False).parse_args()
    torch.set_num_threads(args.threads)
    record, measured = Record("point_cloud", args), []
    for number, case in enumerate(cases(args.clips, args.seed), start=1):
        measured.append(case_rows(case))
        progress(f"{number} of {args.clips} clips")
    notes = {
        "clips": f"{args.clips} held-out clips, {FRAMES} frames of {SIZE}x{SIZE}, exact cameras;"
        f" pixels within {NEAR:g} times the median depth",
        "spoilt": f"depth from half the resolution, noise {NOISE:g}, {OUTLIERS:.0%} outliers of"
        f" noise {OUTLIER_NOISE:g}, of which {TOLD:.0%} have the lowest confidence",
        "error": "distance to the nearest of the true points, which are four times as dense, in"
        " percent of the median depth; exact depth shows how fine that is",
        "points": "share of the pixels with depth; for meshes, triangles",
        "stray": f"share of the points with an error above {STRAY_PERCENT:g} %",
        "covered": f"share of the true pixels with a point within {STRAY_PERCENT:g} %",
    }
    record.write(table(measured), notes)


if __name__ == "__main__":
    main()

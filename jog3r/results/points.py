"""Coloured points in the world frame."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.nn.functional import normalize

from jog3r.errors import InputError
from jog3r.geometry.voxels import voxel_means
from jog3r.result_checks import as_path, check_finite, check_suffix, check_tensor, whole_number
from jog3r.results.equality import Result

UNIT_TOLERANCE = 1e-3
"""How far from 1 the length of a normal may be."""

_MEASURED = 1_000_000  # points are enough to measure an extent


@dataclass(frozen=True, eq=False, repr=False)
class PointCloud(Result):
    """Coloured points in the world frame.

    Args:
        points: world frame.
        colors: RGB.
        confidence: at least 1; larger is surer.
        normals: unit vectors on the outer side of the surface, zero where there is none; None if
            they have not been estimated.

    Raises:
        InputError: wrong shapes, dtypes or devices, NaN, or normals of another length.

    Example:
        >>> red = torch.tensor([[255, 0, 0]], dtype=torch.uint8)
        >>> PointCloud(torch.zeros(1, 3), red, torch.ones(1))
        PointCloud(1 points)
    """

    points: Float32[Tensor, "n 3"]
    colors: UInt8[Tensor, "n 3"]
    confidence: Float32[Tensor, " n"]
    normals: Float32[Tensor, "n 3"] | None = None

    def __post_init__(self) -> None:
        check_tensor("points", self.points, ("N", 3), torch.float32, empty=True)
        count = self.points.shape[0]
        check_tensor("colors", self.colors, (count, 3), torch.uint8, empty=True)
        check_tensor("confidence", self.confidence, (count,), torch.float32, empty=True)
        check_finite("points", self.points)
        check_finite("confidence", self.confidence)
        if self.normals is not None:
            check_tensor("normals", self.normals, (count, 3), torch.float32, empty=True)
            _check_unit("normals", self.normals)

    def save(self, path: str | Path) -> Path:
        """Write `.ply`, or `.glb` (y up, without confidence and normals), and return the path.

        Raises:
            InputError: another suffix.
            SaveError: the file could not be written; nothing partial is left.
        """
        path = as_path("path", path)
        check_suffix(path, (".ply", ".glb"))
        if path.suffix.lower() == ".ply":
            from jog3r.export.ply import write_ply

            write_ply(path, self)
        else:
            from jog3r.export.glb import write_glb

            write_glb(path, self)
        return path

    def without_outliers(self, neighbours: int = 20, std_ratio: float = 2.0) -> "PointCloud":
        """Return the cloud without the points that stand alone, such as specks in the air.

        Args:
            neighbours: how many of the nearest other points of a point are looked at.
            std_ratio: above 0; a point goes if the mean distance to its neighbours exceeds the mean
                of all points by more than this many standard deviations.

        Raises:
            InputError: fewer points than neighbours, or values out of range.
            MissingPackageError: open3d does not load.
        """
        from jog3r.geometry.outliers import inlier_mask

        return self._subset(inlier_mask(self.points, neighbours=neighbours, std_ratio=std_ratio))

    def voxel_downsampled(self, voxel_size: float) -> "PointCloud":
        """Return one point for every cube of a grid that holds points.

        Position, colour, normal and confidence are each the mean over the cube's points, weighted
        by their confidence; so one sure point among many unsure ones decides. Normals are brought
        back to unit length.

        Args:
            voxel_size: edge of the cubes, above 0, in the unit of the points; a share of `extent`
                is a size that suits every scene.

        Raises:
            InputError: a size that is not above 0, more than 2^53 cubes along an axis, or a
                confidence that is not above 0.
        """
        if not 0 < voxel_size < math.inf:
            raise InputError(f"voxel_size: expected a length above 0, got {voxel_size!r}")
        if len(self) and not float(self.confidence.min()) > 0:
            raise InputError(
                f"confidence: expected above 0 to weigh points, got {self.confidence.min():.4g};"
                " set it to 1 where it is not known"
            )
        carried = [self.colors, self.confidence[:, None]]
        carried += [] if self.normals is None else [self.normals]
        points, means = voxel_means(self.points, carried, self.confidence, voxel_size)
        colors, confidence = means[0].round().to(torch.uint8), means[1][:, 0]
        return PointCloud(points, colors, confidence, *(normalize(n, dim=1) for n in means[2:]))

    def with_normals(
        self, facing: Float32[Tensor, "n 3"] | None = None, *, neighbours: int = 30
    ) -> "PointCloud":
        """Return the cloud with normals of the planes through each point's neighbours.

        Args:
            facing: a direction on the outer side of each point, of any length, for example
                `position - cloud.points` of a camera; None for the side of the present normals.
            neighbours: how many nearest points, itself included, span the plane; at least 3.

        Raises:
            InputError: fewer points than neighbours, wrong shapes, NaN, or neither directions nor
                present normals.
            MissingPackageError: open3d does not load.
        """
        from jog3r.geometry.cloud_normals import cloud_normals

        outside = self.normals if facing is None else facing
        if outside is None:
            raise InputError("facing: expected directions, got None and no normals; give some")
        return replace(self, normals=cloud_normals(self.points, outside, neighbours=neighbours))

    def thinned(self, max_points: int) -> "PointCloud":
        """Return at most so many points, a random choice that is the same each time, in order.

        Raises:
            InputError: not a whole number of at least 1.
        """
        if whole_number("max_points", max_points) < 1:
            raise InputError(f"max_points: expected at least 1, got {max_points!r}")
        if len(self) <= max_points:
            return self
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(0))
        return self._subset(order[:max_points].sort().values)

    @property
    def extent(self) -> float:
        """Diagonal of the box that holds the middle 98 % of the near points along each axis.

        Near are those within three times the median distance from the middle: under an open sky a
        few points at the horizon would make everything else tiny. Of many points a part, at least
        half a million, is measured.

        Raises:
            InputError: no point.
        """
        if not len(self):
            raise InputError("points: expected some to measure their extent, got none")
        points = self.points[:: 1 + len(self) // _MEASURED].double()
        distance = (points - points.median(dim=0).values).norm(dim=1)
        near = points[distance <= 3 * distance.median()]
        low, high = near.quantile(near.new_tensor([0.01, 0.99]), dim=0)
        return float((high - low).norm())

    def _subset(self, chosen: Tensor) -> "PointCloud":
        normals = None if self.normals is None else self.normals[chosen]
        return PointCloud(
            self.points[chosen], self.colors[chosen], self.confidence[chosen], normals
        )

    def __len__(self) -> int:
        return self.points.shape[0]

    def __repr__(self) -> str:
        return f"PointCloud({len(self)} points)"


def _check_unit(name: str, vectors: Float32[Tensor, "n 3"]) -> None:
    check_finite(name, vectors)
    length = vectors.norm(dim=1)
    near_one = (length >= 1 - UNIT_TOLERANCE) & (length <= 1 + UNIT_TOLERANCE)
    wrong = int((~near_one & (length > 0)).sum())
    if wrong:
        raise InputError(
            f"{name}: expected length 1, or 0 where there is none, got {wrong} others of"
            f" {len(vectors)}; normalise them"
        )

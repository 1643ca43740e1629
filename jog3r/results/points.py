"""Coloured points in the world frame."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from jog3r.result_checks import as_path, check_finite, check_suffix, check_tensor
from jog3r.results.equality import Result


@dataclass(frozen=True, eq=False, repr=False)
class PointCloud(Result):
    """Coloured points in the world frame.

    Args:
        points: world frame.
        colors: RGB.
        confidence: at least 1; larger is surer.

    Raises:
        InputError: wrong shapes, dtypes or devices, NaN.

    Example:
        >>> red = torch.tensor([[255, 0, 0]], dtype=torch.uint8)
        >>> PointCloud(torch.zeros(1, 3), red, torch.ones(1))
        PointCloud(1 points)
    """

    points: Float32[Tensor, "n 3"]
    colors: UInt8[Tensor, "n 3"]
    confidence: Float32[Tensor, " n"]

    def __post_init__(self) -> None:
        check_tensor("points", self.points, ("N", 3), torch.float32, empty=True)
        count = self.points.shape[0]
        check_tensor("colors", self.colors, (count, 3), torch.uint8, empty=True)
        check_tensor("confidence", self.confidence, (count,), torch.float32, empty=True)
        check_finite("points", self.points)
        check_finite("confidence", self.confidence)

    def save(self, path: str | Path) -> Path:
        """Write `.ply` (with confidence) or `.glb` (y up, without confidence); return the path.

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

        keep = inlier_mask(self.points, neighbours=neighbours, std_ratio=std_ratio)
        return PointCloud(self.points[keep], self.colors[keep], self.confidence[keep])

    def __len__(self) -> int:
        return self.points.shape[0]

    def __repr__(self) -> str:
        return f"PointCloud({len(self)} points)"

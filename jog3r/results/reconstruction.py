"""The 3D scene behind a video."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor
from torch.nn.functional import normalize

from jog3r.errors import InputError
from jog3r.geometry import pointmap_from_depth
from jog3r.result_checks import check_finite, check_tensor
from jog3r.results.cameras import Cameras
from jog3r.results.equality import Result
from jog3r.results.mesh import (
    MESH_SELECTION,
    MESH_VOXEL_PX,
    MESH_VOXEL_RATIO,
    Mesh,
    check_mesh_selection,
)
from jog3r.results.points import PointCloud
from jog3r.results.selection import (
    DEFAULT_SELECTION,
    MOST_POINTS,
    PointSelection,
    chosen_pixels,
    thinned_pixels,
)
from jog3r.results.video import Video

Scale = Literal["metric", "relative", "given-poses"]
"""Unit of length: metres; arbitrary per scene; that of the camera poses the caller gave."""

_FLAG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*: \S.*")


@dataclass(frozen=True, eq=False, repr=False)
class Reconstruction(Result):
    """The 3D scene behind a video.

    Args:
        video: what was reconstructed; everything below is in its pixels.
        cameras: one per frame.
        depth: z-depth along each camera's forward axis, in the unit of `scale`; 0 = no value.
        confidence: at least 1; larger is surer.
        scale: unit of length: `metric` [m], `relative` (arbitrary), `given-poses`.
        mask: True = use. Pixels outside never enter a point cloud, nor the percentile of confidence
            that selects it; None uses all.
        flags: what is known to be unusual about this result, each a code and a sentence, such as
            "no-parallax: the camera only turns; positions mean nothing".

    Raises:
        InputError: parts that do not fit each other, NaN, negative depth, confidence below 1, flags
            without code or sentence.

    Example:
        >>> from jog3r.geometry import intrinsics_from_fov
        >>> video = Video(torch.zeros(2, 48, 64, 3, dtype=torch.uint8), fps=8)
        >>> K = intrinsics_from_fov(60.0, (48, 64)).repeat(2, 1, 1)
        >>> cameras = Cameras(torch.eye(4).repeat(2, 1, 1), K, (48, 64))
        >>> ones = torch.ones(2, 48, 64)
        >>> Reconstruction(video, cameras, ones, ones, "relative").points
        PointCloud(6144 points)
    """

    video: Video
    cameras: Cameras
    depth: Float32[Tensor, "t h w"]
    confidence: Float32[Tensor, "t h w"]
    scale: Scale
    mask: Bool[Tensor, "t h w"] | None = None
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = (len(self.video), self.video.height, self.video.width)
        if (len(self.cameras), *self.cameras.image_size) != shape:
            raise InputError(f"cameras: expected those of {self.video!r}, got {self.cameras!r}")
        for name, least in (("depth", 0.0), ("confidence", 1.0)):
            values = getattr(self, name)
            check_tensor(name, values, shape, torch.float32)
            check_finite(name, values)
            if float(values.min()) < least:
                raise InputError(f"{name}: expected at least {least:g}, got {values.min():.4g}")
        if self.scale not in get_args(Scale):
            raise InputError(f"scale: expected one of {get_args(Scale)}, got {self.scale!r}")
        if self.mask is not None:
            check_tensor("mask", self.mask, shape, torch.bool)
        _check_flags(self.flags)

    @property
    def points_world(self) -> Float[Tensor, "t h w 3"]:
        """The world point of every pixel; where depth is 0 this is the camera's position."""
        return pointmap_from_depth(self.depth, self.cameras.K, self.cameras.world_from_camera)

    @property
    def points(self) -> PointCloud:
        """The point cloud that every exporter writes: `select_points()` with its defaults."""
        return self.select_points()

    def select_points(
        self,
        selection: PointSelection = DEFAULT_SELECTION,
        *,
        mask: Bool[Tensor, "t h w"] | None = None,
    ) -> PointCloud:
        """Merge the pixels that `point_mask` picks from all frames, and care for the cloud.

        Args:
            selection: which pixels, and what is done to their points.
            mask: as in `point_mask`.

        Returns:
            Points ordered by frame, row, column, at most `selection.max_points`; where they are
            down-sampled, in an order that depends on nothing else but the points.

        Raises:
            InputError: as in `point_mask`, or too few points left for a step that needs neighbours
                or an extent.
            MissingPackageError: open3d, which finds neighbours, does not load.
        """
        normals = selection.normal_neighbours is not None
        pixels = self.point_mask(selection, mask=mask)
        if selection.max_points is not None and not selection.needs_all_points:
            pixels = thinned_pixels(pixels, selection.max_points)
        cloud = self._merged(pixels, facing=normals)
        if selection.voxel_ratio is not None:
            cloud = cloud.voxel_downsampled(selection.voxel_ratio * cloud.extent)
        if selection.outlier_neighbours is not None:
            kept = selection.outlier_neighbours, selection.outlier_std_ratio
            cloud = cloud.without_outliers(*kept)
        if selection.normal_neighbours is not None:
            cloud = cloud.with_normals(neighbours=selection.normal_neighbours)
        return cloud if selection.max_points is None else cloud.thinned(selection.max_points)

    def point_mask(
        self,
        selection: PointSelection = DEFAULT_SELECTION,
        *,
        mask: Bool[Tensor, "t h w"] | None = None,
    ) -> Bool[Tensor, "t h w"]:
        """Return which pixels make the point cloud: the one rule behind every export.

        Pixels without depth and pixels outside the masks go first; of the rest, those whose
        confidence is below the `drop_fraction` quantile. So a mask does not shift what counts as
        low confidence inside it, and equal confidences are all kept. Depth and slant are tested
        likewise where the selection asks for it.

        Args:
            selection: which pixels; its other steps work on points, not on pixels.
            mask: True = keep, of those that the reconstruction's own mask keeps.

        Raises:
            InputError: a mask of another shape or dtype.
        """
        valid = self.depth > 0
        if self.mask is not None:
            valid &= self.mask
        if mask is not None:
            check_tensor("mask", mask, tuple(self.depth.shape), torch.bool)
            valid &= mask
        return chosen_pixels(selection, valid, self.depth, self.confidence, self.cameras.K)

    def mesh(
        self,
        selection: PointSelection = MESH_SELECTION,
        *,
        mask: Bool[Tensor, "t h w"] | None = None,
        truncation_voxels: float = 4.0,
        least_views: int = 1,
    ) -> Mesh:
        """Fuse the depth maps to one surface, in which what the frames disagree on is averaged.

        Args:
            selection: which pixels, and with `voxel_ratio` how fine (1/192 of the extent, but at
                least two pixels at the median depth, where it says none); no other step on points.
            mask: as in `point_mask`.
            truncation_voxels: how far from the surface the frames are averaged [voxels]; more
                than the depth's error.
            least_views: frames that have to agree on a place; 2 and more leave out what only one
                frame says.

        Raises:
            InputError: as in `point_mask`, steps that a mesh has no use for, values out of range,
                no pixel left, K with skew, or a surface of too many voxels.
            MissingPackageError: open3d, which does it, does not load.
        """
        from jog3r.geometry.fusion import fuse_depth

        check_mesh_selection(selection)
        keep = self.point_mask(selection, mask=mask)
        fused = fuse_depth(
            self.depth,
            keep,
            self.video.frames,
            self.cameras.K,
            self.cameras.world_from_camera,
            voxel_size=self._mesh_voxel(selection, keep),
            truncation_voxels=truncation_voxels,
            least_views=least_views,
        )
        return Mesh(*fused)

    def _mesh_voxel(self, selection: PointSelection, keep: Bool[Tensor, "t h w"]) -> float:
        extent = self._merged(thinned_pixels(keep, MOST_POINTS)).extent
        if selection.voxel_ratio is not None:
            return selection.voxel_ratio * extent
        focal = float(self.cameras.K[:, 0, 0].median())
        pixel = float(np.median(self.depth.numpy()[keep.numpy()])) / focal
        return max(MESH_VOXEL_RATIO * extent, MESH_VOXEL_PX * pixel)

    def _merged(self, keep: Bool[Tensor, "t h w"], *, facing: bool = False) -> PointCloud:
        """Gather the points of some pixels, frame by frame to save memory.

        Args:
            keep: which pixels.
            facing: whether to put the directions to the cameras in the place of the normals.
        """
        count = int(torch.count_nonzero(keep))
        points, colors = torch.empty(count, 3), torch.empty(count, 3, dtype=torch.uint8)
        confidence, normals = torch.empty(count), torch.empty(count, 3) if facing else None
        stop = 0
        for index, chosen in enumerate(keep):
            start, stop = stop, stop + int(torch.count_nonzero(chosen))
            world_from_camera = self.cameras.world_from_camera[index]
            world = pointmap_from_depth(self.depth[index], self.cameras.K[index], world_from_camera)
            points[start:stop] = world[chosen]
            colors[start:stop] = self.video.frames[index][chosen]
            confidence[start:stop] = self.confidence[index][chosen]
            if normals is not None:
                normals[start:stop] = normalize(world_from_camera[:3, 3] - world[chosen], dim=1)
        return PointCloud(points, colors, confidence, normals)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write video, cameras, depth, point cloud and an overview picture to a folder.

        The folder appears whole or not at all; what is in it: docs of `jog3r.export.folder`.

        Args:
            folder: to create; missing parents are created too.
            overwrite: replace a folder that an earlier `save` wrote.

        Raises:
            InputError: the folder exists and `overwrite` is False, or it is not one of ours.
            SaveError: it could not be written; nothing partial is left.
        """
        from jog3r.export.folder import write_reconstruction

        return write_reconstruction(folder, self, overwrite=overwrite)

    @classmethod
    def load(cls, folder: str | Path) -> "Reconstruction":
        """Read what `save` wrote, bit for bit; also the reconstruction inside a saved Generation.

        Raises:
            FileError: missing, truncated or foreign folder or file; names it.
        """
        from jog3r.export.folder import read_reconstruction

        return read_reconstruction(folder)

    def __repr__(self) -> str:
        return f"Reconstruction({self.video!r}, scale={self.scale!r})"


def _check_flags(flags: object) -> None:
    texts = flags if isinstance(flags, tuple) else (flags,)
    wrong = [text for text in texts if not (isinstance(text, str) and _FLAG.fullmatch(text))]
    if wrong or not isinstance(flags, tuple):
        raise InputError(f"flags: expected a tuple of texts 'code: sentence', got {flags!r}")

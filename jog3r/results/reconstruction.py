"""The 3D scene behind a video."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry import pointmap_from_depth
from jog3r.result_checks import check_finite, check_tensor
from jog3r.results.cameras import Cameras
from jog3r.results.equality import Result
from jog3r.results.points import PointCloud
from jog3r.results.video import Video

Scale = Literal["metric", "relative", "given-poses"]
"""Unit of length: metres; arbitrary per scene; that of the camera poses the caller gave."""

DROP_FRACTION = 0.2
"""Share of the valid pixels, the least confident, that `Reconstruction.points` leaves out."""

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
        *,
        drop_fraction: float = DROP_FRACTION,
        mask: Bool[Tensor, "t h w"] | None = None,
    ) -> PointCloud:
        """Merge the pixels that `point_mask` picks from all frames into one cloud.

        Args:
            drop_fraction: as in `point_mask`.
            mask: as in `point_mask`.

        Returns:
            Points ordered by frame, row, column.

        Raises:
            InputError: as in `point_mask`.
        """
        keep = self.point_mask(drop_fraction=drop_fraction, mask=mask)
        return PointCloud(self.points_world[keep], self.video.frames[keep], self.confidence[keep])

    def point_mask(
        self,
        *,
        drop_fraction: float = DROP_FRACTION,
        mask: Bool[Tensor, "t h w"] | None = None,
    ) -> Bool[Tensor, "t h w"]:
        """Return which pixels make the point cloud: the one rule behind every export.

        Pixels without depth and pixels outside the masks go first; of the rest, those whose
        confidence is below the `drop_fraction` quantile. So a mask does not shift what counts as
        low confidence inside it, and equal confidences are all kept.

        Args:
            drop_fraction: in [0, 1).
            mask: True = keep, of those that the reconstruction's own mask keeps.

        Raises:
            InputError: a fraction outside [0, 1), or a mask of another shape or dtype.
        """
        if not 0 <= drop_fraction < 1:
            raise InputError(f"drop_fraction: expected a share in [0, 1), got {drop_fraction!r}")
        keep = self.depth > 0 if self.mask is None else (self.depth > 0) & self.mask
        if mask is not None:
            check_tensor("mask", mask, tuple(self.depth.shape), torch.bool)
            keep = keep & mask
        confidence = self.confidence[keep]
        if drop_fraction == 0 or len(confidence) == 0:
            return keep
        rank = 1 + int(drop_fraction * len(confidence))
        return keep & (self.confidence >= confidence.kthvalue(rank).values)

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

"""What the model hands out: frozen dataclasses of CPU tensors, checked when they are built.

Frames and units (docs/conventions.md): OpenCV camera axes (x right, y down, z forward), K in pixels
of the video it travels with, pixel centres at +0.5. Lengths are in the unit that
`Reconstruction.scale` names. Two results are equal when all their tensors are equal bit by bit.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry import check_intrinsics, check_transforms, pointmap_from_depth
from jog3r.result_checks import (
    as_path,
    check_finite,
    check_fps,
    check_suffix,
    check_tensor,
    check_unit_frames,
    whole_number,
)

Scale = Literal["metric", "relative", "given-poses"]
"""Unit of length: metres; arbitrary per scene; that of the camera poses the caller gave."""

CameraFormat = Literal["realestate10k", "tum", "json"]

DROP_FRACTION = 0.2
"""Share of the valid pixels, the least confident, that `Reconstruction.points` leaves out."""


class _Result:
    """Equality of results; they cannot be hashed."""

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]
        return all(_same(getattr(self, name), getattr(other, name)) for name in names)


@dataclass(frozen=True, eq=False, repr=False)
class Video(_Result):
    """Frames as they are shown.

    Args:
        frames: RGB, rows from the top.
        fps: frames per second.

    Raises:
        InputError: wrong shape, dtype or device, no frame, or a frame rate outside [0.001, 1000].

    Example:
        >>> Video(torch.zeros(16, 48, 64, 3, dtype=torch.uint8), fps=8)
        Video(16 frames, 64x48 px, 8 fps)
    """

    frames: UInt8[Tensor, "t h w 3"]
    fps: float

    def __post_init__(self) -> None:
        check_tensor("frames", self.frames, ("T", "H", "W", 3), torch.uint8)
        check_fps(self.fps)

    @classmethod
    def from_tensor(cls, frames: Float[Tensor, "t 3 h w"], fps: float) -> "Video":
        """Build a video from the form used inside the library, rounding to 8 bits.

        Args:
            frames: RGB in [-1, 1], on any device.
            fps: frames per second.

        Raises:
            InputError: wrong shape or dtype, NaN, or values outside [-1, 1] (a decoder's output
                has to be clamped by whoever knows that this is meant).
        """
        check_unit_frames("frames", frames)
        rounded = ((frames.detach().float() + 1) * 127.5).round().to(torch.uint8)
        return cls(rounded.permute(0, 2, 3, 1).contiguous().cpu(), fps)

    def tensor(self) -> Float[Tensor, "t 3 h w"]:
        """Return the frames in the form used inside the library: RGB in [-1, 1]."""
        return self.frames.permute(0, 3, 1, 2).float() / 127.5 - 1

    def save(self, path: str | Path) -> Path:
        """Write an mp4 (H.264) and return its path; `.mp4` is added to a name without suffix.

        Raises:
            InputError: another suffix, no name at all, or frames too large for H.264.
            SaveError: the file could not be written; nothing partial is left.
        """
        from jog3r.export.mp4 import write_mp4

        path = as_path("path", path)
        if path.name in ("", ".."):
            raise InputError(f"path: expected a name ending in .mp4, got {str(path)!r}; add one")
        path = path if path.suffix else path.with_suffix(".mp4")
        check_suffix(path, (".mp4",))
        write_mp4(path, self)
        return path

    @property
    def height(self) -> int:
        """Rows [px]."""
        return self.frames.shape[1]

    @property
    def width(self) -> int:
        """Columns [px]."""
        return self.frames.shape[2]

    def __len__(self) -> int:
        return self.frames.shape[0]

    def __repr__(self) -> str:
        return f"Video({len(self)} frames, {self.width}x{self.height} px, {self.fps:g} fps)"


@dataclass(frozen=True, eq=False, repr=False)
class Cameras(_Result):
    """One pinhole camera per frame.

    Args:
        world_from_camera: camera axes x right, y down, z forward; its last column is the position.
        K: intrinsics [px] of an image of `image_size`.
        image_size: (height, width) [px].

    Raises:
        InputError: wrong shapes, dtypes or devices, NaN, no rigid transform, K not of this image.

    Example:
        >>> from jog3r.geometry import intrinsics_from_fov
        >>> K = intrinsics_from_fov(60.0, (48, 64)).repeat(16, 1, 1)
        >>> cameras = Cameras(torch.eye(4).repeat(16, 1, 1), K, (48, 64))
        >>> cameras
        Cameras(16 frames, 64x48 px)
        >>> path = cameras.save("cameras.txt", "realestate10k")
        >>> Cameras.load(path, "realestate10k") == cameras
        True
    """

    world_from_camera: Float32[Tensor, "t 4 4"]
    K: Float32[Tensor, "t 3 3"]
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        check_tensor("world_from_camera", self.world_from_camera, ("T", 4, 4), torch.float32)
        frames = self.world_from_camera.shape[0]
        check_tensor("K", self.K, (frames, 3, 3), torch.float32)
        if not isinstance(self.image_size, tuple):
            raise InputError(f"image_size: expected a tuple (h, w), got {self.image_size!r}")
        check_transforms(self.world_from_camera)
        check_intrinsics(self.K, self.image_size)

    def save(self, path: str | Path, format: CameraFormat, *, fps: float | None = None) -> Path:
        """Write the cameras to one text file and return its path.

        Args:
            path: taken as it is; an existing file is replaced.
            format: `realestate10k` (camera_from_world, K), `tum` (world_from_camera as position
                and quaternion xyzw; this format has no place for K) or `json` (everything).
            fps: frame rate that the time stamps follow; None counts one second per frame, and
                leaves the entry out of `json`.

        Raises:
            InputError: unknown format, a frame rate outside [0.001, 1000], or K with skew for
                `realestate10k`.
            SaveError: the file could not be written; nothing partial is left.
        """
        from jog3r.export.cameras import write_cameras

        path = as_path("path", path)
        write_cameras(path, self, format, fps=fps)
        return path

    @classmethod
    def load(
        cls,
        path: str | Path,
        format: CameraFormat,
        *,
        image_size: tuple[int, int] | None = None,
        K: Float32[Tensor, "3 3"] | None = None,
    ) -> "Cameras":
        """Read cameras from one text file.

        Args:
            path: file to read.
            format: as in `save`.
            image_size: (height, width) [px] of the images; needed where the file does not say
                it (`tum`, and `realestate10k` files from elsewhere, whose K is normalised).
            K: intrinsics of all frames [px], for `tum`, which has none; also as array or lists.

        Raises:
            InputError: unknown format, a needed argument missing, or one given that the file
                already answers differently.
            FileError: missing, truncated or foreign file; names the line and column.
        """
        from jog3r.export.cameras import read_cameras

        return read_cameras(path, format, image_size=image_size, K=K)

    def __len__(self) -> int:
        return self.world_from_camera.shape[0]

    def __repr__(self) -> str:
        return f"Cameras({len(self)} frames, {self.image_size[1]}x{self.image_size[0]} px)"


@dataclass(frozen=True, eq=False, repr=False)
class PointCloud(_Result):
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


@dataclass(frozen=True, eq=False, repr=False)
class Reconstruction(_Result):
    """The 3D scene behind a video.

    Args:
        video: what was reconstructed; everything below is in its pixels.
        cameras: one per frame.
        depth: z-depth along each camera's forward axis, in the unit of `scale`; 0 = no value.
        confidence: at least 1; larger is surer.
        scale: unit of length: `metric` [m], `relative` (arbitrary), `given-poses`.

    Raises:
        InputError: parts that do not fit each other, NaN, negative depth, confidence below 1.

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

        Pixels without depth and pixels outside the mask go first; of the rest, those whose
        confidence is below the `drop_fraction` quantile. So a mask does not shift what counts as
        low confidence inside it, and equal confidences are all kept.

        Args:
            drop_fraction: in [0, 1).
            mask: True = keep.

        Raises:
            InputError: a fraction outside [0, 1), or a mask of another shape or dtype.
        """
        if not 0 <= drop_fraction < 1:
            raise InputError(f"drop_fraction: expected a share in [0, 1), got {drop_fraction!r}")
        keep = self.depth > 0
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


@dataclass(frozen=True, eq=False, repr=False)
class Generation(_Result):
    """A generated video and, if its cameras were asked for, the scene behind it.

    Args:
        video: what was generated.
        prompt: what was asked for.
        seed: that gives the same result again.
        reconstruction: of this very video, or None.

    Raises:
        InputError: a reconstruction of another video, a prompt that is no text, or a seed that is
            no whole number.
    """

    video: Video
    prompt: str
    seed: int
    reconstruction: Reconstruction | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str):
            raise InputError(f"prompt: expected text, got {self.prompt!r}")
        # The class is frozen; files hold Python's int, not numpy's.
        object.__setattr__(self, "seed", whole_number("seed", self.seed))
        if self.reconstruction is not None and self.reconstruction.video != self.video:
            raise InputError(
                f"reconstruction: expected one of {self.video!r}, got one of other frames"
            )

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write everything to a folder, as `Reconstruction.save` does.

        Raises:
            InputError: the folder exists and `overwrite` is False, or it is not one of ours.
            SaveError: it could not be written; nothing partial is left.
        """
        from jog3r.export.folder import write_generation

        return write_generation(folder, self, overwrite=overwrite)

    @classmethod
    def load(cls, folder: str | Path) -> "Generation":
        """Read what `save` wrote, bit for bit.

        Raises:
            FileError: missing, truncated or foreign folder or file; names it.
        """
        from jog3r.export.folder import read_generation

        return read_generation(folder)

    def __repr__(self) -> str:
        scene = "" if self.reconstruction is None else ", with reconstruction"
        return f"Generation({self.prompt!r}, seed={self.seed}, {self.video!r}{scene})"


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return bool(a == b)

"""One pinhole camera per frame."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float32
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry import check_intrinsics, check_transforms
from jog3r.result_checks import as_path, check_tensor
from jog3r.results.equality import Result

CameraFormat = Literal[
    "realestate10k", "tum", "kitti", "json", "colmap-text", "colmap-binary", "nerfstudio", "npz"
]


@dataclass(frozen=True, eq=False, repr=False)
class Cameras(Result):
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
        """Write the cameras alone and return the path.

        Args:
            path: taken as it is; an existing file is replaced. For the two COLMAP formats a folder,
                in which the three files of an earlier model are replaced.
            format: `json` and `npz` hold everything; `tum` and `kitti` have no place for K;
                `realestate10k` and COLMAP are camera_from_world, the others world_from_camera.
                docs/formats.md has a table of all.
            fps: frame rate that the time stamps follow, for formats that have them; None counts one
                second per frame, and leaves the entry out of `json` and `npz`.

        Raises:
            InputError: unknown format, a frame rate outside [0.001, 1000] or for a format without
                time, K with skew for a format that cannot say it, or a folder with another COLMAP
                model.
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
        """Read cameras.

        Args:
            path: file or folder to read.
            format: as in `save`.
            image_size: (height, width) [px] of the images; needed where the file does not say
                it (`tum`, `kitti`, and `realestate10k` files from elsewhere, whose K is
                normalised).
            K: intrinsics of all frames [px], for `tum` and `kitti`, which have none; also as array
                or lists.

        Raises:
            InputError: unknown format, a needed argument missing, or one given that the file
                already answers differently.
            FileError: missing, truncated or foreign file; names the place in it.
        """
        from jog3r.export.cameras import read_cameras

        return read_cameras(path, format, image_size=image_size, K=K)

    def __len__(self) -> int:
        return self.world_from_camera.shape[0]

    def __repr__(self) -> str:
        return f"Cameras({len(self)} frames, {self.image_size[1]}x{self.image_size[0]} px)"

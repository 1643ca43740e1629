"""What the user knows beforehand: intrinsics, cameras of some frames, masks.

Checked once, in the pixels of the user's frames, and taken to those of the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry import check_intrinsics, check_transforms

if TYPE_CHECKING:
    from jog3r.data.fit import ResizeAndCrop


@dataclass(frozen=True, kw_only=True)
class Priors:
    """Known things about the T frames of one video, in one size of pixels.

    Args:
        K: intrinsics of all frames (3, 3), or of each.
        cameras: world_from_camera of the frames that have a known one.
        masks: True = use.
    """

    K: Float[Tensor, "..."] | None = None
    cameras: Mapping[int, Float[Tensor, "4 4"]] | None = None
    masks: Bool[Tensor, "t h w"] | None = None

    @classmethod
    def of(
        cls, *, K: Any, cameras: Any, masks: Any, size: tuple[int, int], frames: int
    ) -> "Priors":
        """Check what the user gave; `JOG3R.reconstruct` explains each.

        Raises:
            InputError: Something that is not one per frame, or not of this size, or no camera.
        """
        from jog3r.results import Cameras

        if isinstance(cameras, Cameras):
            if K is not None:
                raise InputError(
                    "K: expected None beside Cameras, which hold their own, got one; pass"
                    " cameras.world_from_camera"
                )
            K, cameras = _intrinsics_of(cameras, size), cameras.world_from_camera
        return cls(
            K=known_intrinsics(K, size, frames),
            cameras=known_cameras(cameras, frames),
            masks=known_masks(masks, (frames, *size)),
        )

    def at(self, seen: list[int]) -> "Priors":
        """Keep what is known of some of the frames."""
        K = self.K if self.K is None or self.K.ndim == 2 else self.K[seen]
        places = {frame: place for place, frame in enumerate(seen)}
        cameras = self.cameras and {
            places[frame]: camera for frame, camera in self.cameras.items() if frame in places
        }
        masks = None if self.masks is None else self.masks[seen]
        return Priors(K=K, cameras=cameras or None, masks=masks)

    def to_target(self, mapping: "ResizeAndCrop") -> "Priors":
        """State them in the pixels of a model.

        Raises:
            InputError: K whose principal point the crop leaves far outside.
        """
        K, masks = self.K, self.masks
        if K is not None:
            K = mapping.intrinsics_to_target(K)
            check_intrinsics(K, mapping.target_size, name="K, after crop and resizing")
        if masks is not None:
            masks = mapping.masks_to_target(masks)
        return Priors(K=K, cameras=self.cameras, masks=masks)


def known_intrinsics(K: Any, size: tuple[int, int], frames: int) -> Tensor | None:
    """Check the user's K [px] of images of height and width `size`; None stays None.

    Raises:
        InputError: Not numbers, another shape than (3, 3) or (frames, 3, 3), or no K of such
            images, or one with skew, which camera files cannot hold.
    """
    if K is None:
        return None
    K = _numbers("K", K)
    if tuple(K.shape) not in ((3, 3), (frames, 3, 3)):
        raise InputError(
            f"K: expected (3, 3) or ({frames}, 3, 3) for {frames} frames, got {tuple(K.shape)};"
            " give one for all frames or one for each that is kept"
        )
    check_intrinsics(K, size)
    if float((K[..., 0, 1] / K[..., 0, 0]).abs().max()) > 1e-6:
        raise InputError(
            f"K: expected no skew, got {float(K[..., 0, 1].abs().max()):g}; rectify the video first"
        )
    return K


def known_cameras(cameras: Any, frames: int) -> dict[int, Tensor] | None:
    """Check the user's world_from_camera of all frames, or of some by their numbers.

    Raises:
        InputError: Not one per frame, a number of no frame, or no rigid transform.
    """
    if cameras is None:
        return None
    if not isinstance(cameras, Mapping):
        every = _numbers("cameras", cameras)
        if tuple(every.shape) != (frames, 4, 4):
            raise InputError(
                f"cameras: expected ({frames}, 4, 4) world_from_camera, one for each frame that is"
                f" kept, got {tuple(every.shape)}; a dict {{frame: camera}} says some of them"
            )
        cameras = dict(enumerate(every))
    known = {}
    for frame, camera in cameras.items():
        if isinstance(frame, bool) or not isinstance(frame, int) or not 0 <= frame < frames:
            raise InputError(
                f"cameras: expected numbers of frames from 0 to {frames - 1}, got {frame!r}; count"
                " those that are kept"
            )
        name = f"cameras[{frame}]"
        known[frame] = _numbers(name, camera)
        if known[frame].shape != (4, 4):
            raise InputError(f"{name}: expected (4, 4), got {tuple(known[frame].shape)}; pass one")
        check_transforms(known[frame], name=name)
    if not known:
        raise InputError("cameras: expected at least one, got none; leave the argument out")
    return known


def known_masks(masks: Any, shape: tuple[int, int, int]) -> Tensor | None:
    """Check the user's masks, True = use.

    Raises:
        InputError: Not true or false, or another shape than the frames.
    """
    if masks is None:
        return None
    found = torch.as_tensor(masks) if isinstance(masks, np.ndarray | Tensor) else None
    if found is None or found.dtype != torch.bool:
        got = type(masks).__name__ if found is None else f"{found.dtype} {tuple(found.shape)}"
        raise InputError(
            f"masks: expected an array or tensor of bool {shape}, True where pixels count, got"
            f" {got}; compare yours with a threshold"
        )
    if tuple(found.shape) != shape:
        raise InputError(
            f"masks: expected {shape}, one for each frame that is kept and of its size (frames,"
            f" height, width), got {tuple(found.shape)}; thin and resize masks as the frames are"
        )
    return found.cpu()


def _numbers(name: str, value: Any) -> Tensor:
    try:
        matrix = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value, "f4"))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{name}: expected a matrix of numbers, got {type(value).__name__} ({error}); pass a"
            " tensor"
        ) from error
    return matrix.detach().to("cpu", torch.float32)


def _intrinsics_of(cameras: Any, size: tuple[int, int]) -> Tensor:
    if cameras.image_size != size:
        raise InputError(
            f"cameras: expected those of frames of {size} (height, width) [px], got"
            f" {cameras.image_size}; resize their K (jog3r.geometry.resize_intrinsics)"
        )
    return cameras.K

"""What the caller knows beforehand: intrinsics, cameras, masks. Checks, and how cameras hold."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral

import roma
import torch
from torch import Tensor

from jog3r.alignment.unknowns import Cameras
from jog3r.errors import InputError
from jog3r.geometry import check_intrinsics, check_transforms
from jog3r.geometry.checks import check_tensor

DISTINCT = 1e-6
"""Known positions this far apart, relative to their largest coordinate, are two."""


@dataclass(frozen=True)
class KnownCameras:
    """Cameras that are held where they are.

    Args:
        frames: (N) their numbers, in order.
        world_from_camera: (N, 4, 4), rotations exact to float64.
    """

    frames: Tensor
    world_from_camera: Tensor

    @property
    def fix_scale(self) -> bool:
        """Whether two of them are apart, so that they fix the unit of length."""
        position = self.world_from_camera[:, :3, 3]
        apart = (position - position[:1]).abs().max()
        return bool(apart > DISTINCT * position.abs().max())

    def world_of(self, cameras: Cameras) -> Cameras:
        """Move cameras into the world in which these are known, and put these in their place.

        The rotation is that of the cameras, the scale (where known) that of their positions.
        """
        target, wanted = self.world_from_camera[:, :3, :3], self.world_from_camera[:, :3, 3]
        found, position = cameras.rotation[self.frames], cameras.position[self.frames]
        # Any: roma gives pairs on request.
        turn: Tensor = roma.special_procrustes((target @ found.mT).sum(dim=0))  # type: ignore[assignment]
        if self.fix_scale:
            spread, spread_wanted = ((p - p.mean(dim=0)).square().sum() for p in (position, wanted))
            if spread > 0:
                cameras = cameras.scaled((spread_wanted / spread).sqrt())
                position = cameras.position[self.frames]
        shift = wanted.mean(dim=0) - turn @ position.mean(dim=0)
        rotation, moved = turn @ cameras.rotation, cameras.position @ turn.T + shift
        rotation[self.frames], moved[self.frames] = target, wanted
        return replace(cameras, rotation=rotation, position=moved)


def known_intrinsics(
    intrinsics: Tensor, frames: int, size: tuple[int, int], shared_focal: bool
) -> Tensor:
    """Check known K and return one per frame, float64.

    Raises:
        InputError: K that is none, does not fit the images or the number of frames, or together
            with `shared_focal=False`.
    """
    check_intrinsics(intrinsics, size, name="intrinsics")
    _check_no_grad("intrinsics", intrinsics)
    if tuple(intrinsics.shape) not in ((3, 3), (frames, 3, 3)):
        got = tuple(intrinsics.shape)
        raise InputError(f"intrinsics: expected (3, 3) or ({frames}, 3, 3), got {got}")
    if not shared_focal:
        raise InputError(
            "shared_focal: expected True with known intrinsics, got False; nothing is left to"
            " estimate"
        )
    return intrinsics.double().expand(frames, 3, 3)


def known_cameras(
    cameras: Tensor | Mapping[int, Tensor], frames: int, device: torch.device
) -> KnownCameras:
    """Check known cameras.

    Raises:
        InputError: none at all, frames that do not exist, or matrices that are not rigid.
    """
    given = by_frame(cameras, frames)
    if not given:
        raise InputError(
            f"cameras: expected some of the frames 0 to {frames - 1}, got none; leave them out"
        )
    known = torch.stack([camera.to(device).double() for camera in given.values()])
    rotation: Tensor = roma.special_procrustes(known[:, :3, :3])  # type: ignore[assignment]
    known = torch.cat([torch.cat([rotation, known[:, :3, 3:]], dim=2), known[:, 3:]], dim=1)
    return KnownCameras(torch.tensor(list(given), device=device), known)


def by_frame(cameras: Tensor | Mapping[int, Tensor], frames: int) -> dict[int, Tensor]:
    """Return known cameras by their frame's number, in order.

    Raises:
        InputError: another number of cameras than of frames, a frame that does not exist, or a
            matrix that is no rigid transform.
    """
    if not isinstance(cameras, Mapping):
        check_tensor("cameras", cameras, ())
        if tuple(cameras.shape) != (frames, 4, 4):
            got = tuple(cameras.shape)
            raise InputError(f"cameras: expected ({frames}, 4, 4), got {got}; or give a mapping")
        cameras = dict(enumerate(cameras))
    unknown = [frame for frame in cameras if not _is_frame(frame, frames)]
    if unknown:
        raise InputError(
            f"cameras: expected some of the frames 0 to {frames - 1}, got {unknown}; count from 0"
        )
    for frame, camera in cameras.items():
        name = f"cameras[{frame}]"
        check_tensor(name, camera, ())
        _check_no_grad(name, camera)
        if tuple(camera.shape) != (4, 4):
            raise InputError(f"{name}: expected (4, 4), got {tuple(camera.shape)}; give one camera")
        check_transforms(camera, name=name)
    return {int(frame): cameras[frame] for frame in sorted(cameras)}


def _is_frame(number: object, frames: int) -> bool:
    whole = isinstance(number, Integral) and not isinstance(number, bool)
    return whole and 0 <= int(number) < frames  # type: ignore[arg-type]


def _check_no_grad(name: str, value: Tensor) -> None:
    if value.requires_grad:
        raise InputError(f"{name}: expected a plain tensor, got one with grad; use .detach()")


def check_masks(masks: Tensor, frames: int, size: tuple[int, int]) -> None:
    """Check the pixels to use.

    Raises:
        InputError: not booleans of the pointmaps' size.
    """
    expected = (frames, *size)
    if not isinstance(masks, Tensor):
        got = type(masks).__name__
        raise InputError(f"masks: expected a tensor {expected}, got {got}; use torch.as_tensor()")
    if tuple(masks.shape) != expected or masks.dtype != torch.bool:
        got = f"{tuple(masks.shape)} {masks.dtype}"
        raise InputError(f"masks: expected {expected} of booleans, True = use, got {got}")

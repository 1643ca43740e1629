"""One clip of a data set, whatever is known of it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry import check_intrinsics
from jog3r.geometry.transforms import check_transforms
from jog3r.result_checks import check_fps, check_tensor

Part = Literal[
    "frames", "fps", "K", "world_from_camera", "depth", "points_world", "mask", "caption"
]
"""What may be known of a clip."""

PARTS: tuple[Part, ...] = get_args(Part)
PER_FRAME = ("frames", "K", "world_from_camera", "depth", "points_world", "mask")


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """Frames that belong together, and what their data set says of them; None where it is silent.

    Args:
        id: Unique within its source.
        source: Name of the data set.
        licence: Of the material, as its publisher states it; `unknown` where there is no statement.
        frames: RGB.
        fps: Frames per second.
        K: Intrinsics [px of the frames].
        world_from_camera: Camera poses, in a world of the clip's own.
        depth: Along z, on the pixels of the frames, in the unit of the cameras; 0 where unknown.
        points_world: Pointmaps, where the data set has them instead of depth; NaN where unknown.
        mask: True where a pixel may be used.
        caption: What is to be seen.
        scale: `metric` where lengths are in metres.

    Raises:
        InputError: An empty id, parts of different lengths or sizes, no camera, no intrinsics,
            negative or infinite depth.

    Example:
        >>> clip = Clip(id="a", source="mine", licence="CC0-1.0", caption="a room")
        >>> clip.missing[:3], clip.has("caption"), len(clip)
        (('frames', 'fps', 'K'), True, 0)
    """

    id: str
    source: str
    licence: str
    frames: UInt8[Tensor, "t h w 3"] | None = None
    fps: float | None = None
    K: Float[Tensor, "t 3 3"] | None = None
    world_from_camera: Float[Tensor, "t 4 4"] | None = None
    depth: Float[Tensor, "t h w"] | None = None
    points_world: Float[Tensor, "t h w 3"] | None = None
    mask: Bool[Tensor, "t h w"] | None = None
    caption: str | None = None
    scale: Literal["metric", "relative"] = "relative"

    def __post_init__(self) -> None:
        if not self.id:
            raise InputError("id: expected a name, got an empty one; name the clip")
        if self.fps is not None:
            check_fps(self.fps)
        lengths = {name: len(part) for name, part in self._per_frame().items()}
        if len(set(lengths.values())) > 1:
            raise InputError(
                f"{self.id}: expected parts of one length, got {lengths} frames; leave out the"
                " frames that lack one of them"
            )
        self._check_shapes()
        self._check_values()

    def __len__(self) -> int:
        """Count the frames; 0 where no part has any."""
        return max((len(part) for part in self._per_frame().values()), default=0)

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width [px]; None where nothing has pixels."""
        maps = (self.frames, self.depth, self.points_world, self.mask)
        return next(((m.shape[1], m.shape[2]) for m in maps if m is not None), None)

    @property
    def missing(self) -> tuple[Part, ...]:
        """What is not known, in the order of `PARTS`."""
        return tuple(name for name in PARTS if getattr(self, name) is None)

    def has(self, *parts: Part) -> bool:
        """Tell whether all of these are known."""
        return not set(parts) & set(self.missing)

    def select(self, frames: Sequence[int]) -> "Clip":
        """Keep some frames, in any order; the frame rate is that of evenly spaced ones.

        Raises:
            InputError: Frames that the clip does not have.
        """
        if not frames or not all(0 <= frame < len(self) for frame in frames):
            raise InputError(
                f"{self.id}: expected some of the frames 0 to {len(self) - 1}, got {list(frames)}"
            )
        kept = torch.as_tensor(list(frames))
        parts = {name: part[kept] for name, part in self._per_frame().items()}
        steps = set(kept.diff().abs().tolist())
        even = len(steps) == 1 and 0 not in steps
        fps = self.fps / steps.pop() if self.fps is not None and even else self.fps
        return self._replaced(**parts, fps=fps)

    def _replaced(self, **changed: Any) -> "Clip":
        return Clip(**{f.name: changed.get(f.name, getattr(self, f.name)) for f in fields(self)})

    def _per_frame(self) -> dict[str, Tensor]:
        parts = {name: getattr(self, name) for name in PER_FRAME}
        return {name: part for name, part in parts.items() if part is not None}

    def _check_shapes(self) -> None:
        size: tuple[int | str, int | str] = self.image_size or ("H", "W")
        shapes: dict[str, tuple[int | str, ...]] = {
            "frames": ("T", *size, 3),
            "K": ("T", 3, 3),
            "world_from_camera": ("T", 4, 4),
            "depth": ("T", *size),
            "points_world": ("T", *size, 3),
            "mask": ("T", *size),
        }
        kinds = {"frames": torch.uint8, "mask": torch.bool}
        for name, part in self._per_frame().items():
            kind = kinds.get(name, torch.float32)
            check_tensor(f"{self.id}: {name}", part, shapes[name], kind)

    def _check_values(self) -> None:
        if self.world_from_camera is not None:
            check_transforms(self.world_from_camera, name=f"{self.id}: world_from_camera")
        if self.K is not None and self.image_size is not None:
            check_intrinsics(self.K, self.image_size)
        if self.depth is not None and not bool(((self.depth >= 0) & self.depth.isfinite()).all()):
            raise InputError(
                f"{self.id}: expected depth of at least 0, got NaN, infinite or negative numbers;"
                " set it to 0 where nothing is known"
            )

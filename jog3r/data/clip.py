"""One clip of a data set, whatever is known of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
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
GEOMETRY: tuple[Part, ...] = ("depth", "K", "world_from_camera")
"""What reconstruction learns from."""
Scale = Literal["metric", "relative"]

# Shape and dtype of what a clip has once per frame.
_FORMS: dict[str, tuple[tuple[int | str, ...], torch.dtype]] = {
    "frames": (("T", "H", "W", 3), torch.uint8),
    "K": (("T", 3, 3), torch.float32),
    "world_from_camera": (("T", 4, 4), torch.float32),
    "depth": (("T", "H", "W"), torch.float32),
    "points_world": (("T", "H", "W", 3), torch.float32),
    "mask": (("T", "H", "W"), torch.bool),
}
PER_FRAME = tuple(_FORMS)


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
        InputError: An empty id, source, licence or caption (one that is not known is None), parts
            of different lengths or sizes, no camera, no intrinsics, negative or infinite depth,
            infinite points.

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
    scale: Scale = "relative"

    def __post_init__(self) -> None:
        self._check_words()
        if self.fps is not None:
            check_fps(self.fps)
        self._check_shapes()
        lengths = {name: len(part) for name, part in self._per_frame().items()}
        if len(set(lengths.values())) > 1:
            raise InputError(
                f"{self.id}: expected parts of one length, got {lengths} frames; leave out the"
                " frames that lack one of them"
            )
        self._check_values()

    def __len__(self) -> int:
        """Count the frames; 0 where no part has any."""
        return max((len(part) for part in self._per_frame().values()), default=0)

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width [px]; None where nothing has pixels."""
        return next(((m.shape[1], m.shape[2]) for m in self._maps().values()), None)

    @property
    def missing(self) -> tuple[Part, ...]:
        """What is not known, in the order of `PARTS`."""
        return tuple(name for name in PARTS if getattr(self, name) is None)

    def has(self, *parts: Part) -> bool:
        """Tell whether all of these are known."""
        return not set(parts) & set(self.missing)

    def select(self, frames: Sequence[int]) -> "Clip":
        """Keep some frames, in any order; the frame rate is unknown where they are not even.

        Raises:
            InputError: Frames that the clip does not have.
        """
        chosen = list(frames)
        if not chosen or not all(0 <= frame < len(self) for frame in chosen):
            raise InputError(
                f"{self.id}: expected some of the frames 0 to {len(self) - 1}, got {chosen}"
            )
        kept = torch.as_tensor(chosen)
        parts = {name: part[kept] for name, part in self._per_frame().items()}
        return self.replaced(**parts, fps=fps_of_frames(self.fps, chosen))

    def replaced(self, **changed: Any) -> "Clip":
        """Return a clip with some of its fields changed.

        Raises:
            InputError: As the constructor.
        """
        return replace(self, **changed)

    def _per_frame(self) -> dict[str, Tensor]:
        parts = {name: getattr(self, name) for name in PER_FRAME}
        return {name: part for name, part in parts.items() if part is not None}

    def _check_words(self) -> None:
        for name in ("id", "source", "licence"):
            if not getattr(self, name).strip():
                raise InputError(f"{name}: expected a name, got an empty one; name it")
        if self.caption is not None and not self.caption.strip():
            raise InputError(f"{self.id}: expected a caption or None, got an empty one; use None")
        if self.scale not in get_args(Scale):
            raise InputError(
                f"{self.id}: expected a scale of {get_args(Scale)}, got {self.scale!r}"
            )

    def _check_shapes(self) -> None:
        for name, part in self._per_frame().items():
            check_tensor(f"{self.id}: {name}", part, *_FORMS[name])
        sizes = {name: tuple(part.shape[1:3]) for name, part in self._maps().items()}
        if len(set(sizes.values())) > 1:
            raise InputError(
                f"{self.id}: expected maps of one size, got (height, width) {sizes}; resize them"
                " to the frames"
            )

    def _maps(self) -> dict[str, Tensor]:
        parts = self._per_frame()
        return {name: part for name, part in parts.items() if "H" in _FORMS[name][0]}

    def _check_values(self) -> None:
        if self.world_from_camera is not None:
            check_transforms(self.world_from_camera, name=f"{self.id}: world_from_camera")
        if self.K is not None and self.image_size is not None:
            check_intrinsics(self.K, self.image_size, name=f"{self.id}: K")
        if self.depth is not None and not bool(((self.depth >= 0) & self.depth.isfinite()).all()):
            raise InputError(
                f"{self.id}: expected depth of at least 0, got NaN, infinite or negative numbers;"
                " set it to 0 where nothing is known"
            )
        if self.points_world is not None and bool(self.points_world.isinf().any()):
            raise InputError(
                f"{self.id}: expected points or NaN, got infinite ones; set them to NaN where"
                " nothing is known"
            )


def fps_of_frames(fps: float | None, frames: Sequence[int]) -> float | None:
    """Return the frame rate of some frames of a clip; None where they are not evenly spaced.

    Args:
        fps: Of the clip, if known.
        frames: Chosen from it.

    Example:
        >>> fps_of_frames(12.0, [6, 4, 2]), fps_of_frames(12.0, [0, 1, 3])
        (6.0, None)
    """
    steps = {abs(after - before) for before, after in pairwise(frames)}
    if fps is None or not steps:
        return fps
    return fps / min(steps) if len(steps) == 1 and 0 not in steps else None

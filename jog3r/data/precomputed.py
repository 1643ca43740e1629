"""A clip that went through autoencoder and text encoder once: the record inside shards.

Encoding a clip takes longer than a training step on it, and a text encoder of several gigabytes has
no place beside the optimiser. The record holds what both have given, and the depth and cameras that
reconstruction learns from, where they are known. As bytes it is a safetensors file whose tensors
begin with the dimension of frames, so that some frames can be read without the others.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.data.tensor_parts import TensorParts
from jog3r.errors import FileError, InputError
from jog3r.geometry import check_intrinsics
from jog3r.geometry.checks import check_finite, check_tensor
from jog3r.geometry.transforms import check_transforms, invert

GEOMETRY = ("depth", "K", "world_from_camera")
PER_FRAME = ("latents", *GEOMETRY)
TEXT = ("text", "text_mask")
WORDS = ("id", "source", "licence", "caption")
# The features of T5 leave the range of float16.
STORED = {
    "latents": torch.float16,
    "depth": torch.float16,
    "text": torch.bfloat16,
    "text_mask": torch.bool,
    "K": torch.float32,
    "world_from_camera": torch.float32,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class PrecomputedClip:
    """What training needs of a clip of T frames, each encoded by itself.

    Depth, K and world_from_camera are known together or not at all; a clip without them trains
    generation only.

    Attributes:
        id: Unique within its source.
        latents: Scaled, as the autoencoder's `encode` gives them.
        text: Features of the caption.
        text_mask: True at its tokens.
        depth: Along z [m or relative], 0 where nothing is known.
        K: Intrinsics [px of the depth].
        world_from_camera: Camera poses; any world will do.
        caption: The text itself, for people.
        source: Name of the data set.
        licence: Of the material.

    Raises:
        InputError: Shapes that do not belong together, NaN, no token, negative depth, no camera,
            no intrinsics, an empty id, some but not all of the geometry.
    """

    id: str
    latents: Float[Tensor, "c t h w"]
    text: Float[Tensor, "l e"]
    text_mask: Bool[Tensor, " l"]
    depth: Float[Tensor, "t height width"] | None = None
    K: Float[Tensor, "t 3 3"] | None = None
    world_from_camera: Float[Tensor, "t 4 4"] | None = None
    caption: str = ""
    source: str = "unknown"
    licence: str = "unknown"

    def __post_init__(self) -> None:
        if not self.id:
            raise InputError("id: expected a name, got an empty one; name the clip")
        check_tensor("latents", self.latents, ("C", "T", "h", "w"))
        check_finite("latents", self.latents)
        self._check_text()
        known = [name for name in GEOMETRY if getattr(self, name) is not None]
        if known and len(known) < len(GEOMETRY):
            raise InputError(f"geometry: expected all of {[*GEOMETRY]} or none, got {known} only")
        if known:
            self._check_geometry()

    def __len__(self) -> int:
        return self.latents.shape[1]

    @property
    def has_geometry(self) -> bool:
        """Whether depth and cameras are known."""
        return self.depth is not None

    def to_bytes(self) -> bytes:
        """Give the record as a file: latents, text and depth in half precision, cameras in full.

        Raises:
            InputError: Numbers that half precision does not hold.
        """
        from safetensors.torch import save

        given = {name: getattr(self, name) for name in STORED}
        kept = {name: _stored(name, part) for name, part in given.items() if part is not None}
        kept["latents"] = kept["latents"].transpose(0, 1)
        tensors = {name: part.contiguous().cpu() for name, part in kept.items()}
        # One entry, since safetensors writes several in any order.
        return save(tensors, metadata={"clip": json.dumps(self.words, ensure_ascii=False)})

    @property
    def words(self) -> dict[str, str]:
        """What is said of the clip: id, source, licence, caption."""
        return {name: getattr(self, name) for name in WORDS}

    @classmethod
    def read(cls, parts: TensorParts, frames: Sequence[int] | None = None) -> "PrecomputedClip":
        """Read a record, or some of its frames in any order; only those are read from the disk.

        The world of what comes back is the camera of its first frame.

        Args:
            parts: Where `to_bytes` was written.
            frames: Which frames; None for all.

        Raises:
            FileError: Tensors that are truncated, missing or make no clip.
            InputError: Frames that the clip does not have.
        """
        length = parts.shape("latents")[0]
        wanted = list(range(length)) if frames is None else list(frames)
        if not wanted or not all(0 <= frame < length for frame in wanted):
            raise InputError(
                f"frames: expected some of 0 to {length - 1} of {parts.name}, got {frames}"
            )
        tensors = {name: parts.read(name) for name in TEXT}
        tensors |= {name: parts.read(name, wanted) for name in PER_FRAME if name in parts}
        try:
            words = json.loads(parts.metadata.get("clip", "{}"))
            return cls(**words, **_for_training(tensors))
        except (InputError, TypeError, IndexError, ValueError) as error:
            raise FileError(
                f"{parts.name}: expected a precomputed clip, got one that makes none ({error});"
                " prepare it again"
            ) from error

    def _check_text(self) -> None:
        check_tensor("text", self.text, ("L", "E"))
        check_finite("text", self.text)
        if self.text_mask.dtype != torch.bool or self.text_mask.shape != self.text.shape[:1]:
            raise InputError(
                f"text_mask: expected ({len(self.text)},) booleans, got"
                f" {tuple(self.text_mask.shape)} {self.text_mask.dtype}"
            )
        if not self.text_mask.any():
            raise InputError(
                "text_mask: expected a True among them, got none; the empty prompt has an end token"
            )

    def _check_geometry(self) -> None:
        assert self.depth is not None
        assert self.K is not None
        assert self.world_from_camera is not None
        frames = len(self)
        check_tensor("depth", self.depth, (frames, "H", "W"))
        check_tensor("K", self.K, (frames, 3, 3))
        check_tensor("world_from_camera", self.world_from_camera, (frames, 4, 4))
        check_finite("depth", self.depth)
        if bool((self.depth < 0).any()):
            raise InputError(
                f"depth: expected at least 0, got {float(self.depth.min()):g}; set it to 0 where"
                " nothing is known"
            )
        check_transforms(self.world_from_camera, name="world_from_camera")
        check_intrinsics(self.K, (self.depth.shape[1], self.depth.shape[2]))


def _for_training(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Give single precision, latents with their channels first, and the first camera as world."""
    given = {name: x.float() if x.is_floating_point() else x for name, x in tensors.items()}
    given["latents"] = given["latents"].transpose(0, 1)
    if "world_from_camera" in given:
        poses = given["world_from_camera"]
        check_tensor("world_from_camera", poses, (len(poses), 4, 4))
        check_transforms(poses, name="world_from_camera")
        given["world_from_camera"] = invert(poses[:1]) @ poses
    return given


def _stored(name: str, tensor: Tensor) -> Tensor:
    """Give a tensor in the precision it is written in."""
    stored = tensor.to(STORED[name])
    if not bool(stored.isfinite().all()):
        raise InputError(
            f"{name}: expected numbers that {stored.dtype} holds, up to"
            f" {torch.finfo(stored.dtype).max:g}, got {float(tensor.abs().max()):g}; scale them"
        )
    return stored

"""Clips that went through autoencoder and text encoder once, kept as files for training.

Encoding a clip takes longer than a training step on it, and a text encoder of several gigabytes has
no place beside the optimiser. One safetensors file per clip holds what both have given, and the
depth and cameras that reconstruction learns from.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.errors import FileError, InputError, Jog3rError
from jog3r.export.atomic import atomic_file
from jog3r.geometry import check_intrinsics
from jog3r.geometry.checks import check_finite, check_tensor
from jog3r.geometry.transforms import check_transforms, invert

PER_FRAME = {"latents": 1, "depth": 0, "K": 0, "world_from_camera": 0}
"""Tensors with one slice per frame, and the dimension of it."""
TEXT = ("text", "text_mask")
CAPTION = "caption"
# The features of T5 leave the range of float16.
STORED = {
    "latents": torch.float16,
    "depth": torch.float16,
    "text": torch.bfloat16,
    "text_mask": torch.bool,
    "K": torch.float32,
    "world_from_camera": torch.float32,
}


@dataclass(frozen=True, kw_only=True)
class PrecomputedClip:
    """What training needs of a clip of T frames, each encoded by itself.

    Attributes:
        latents: Scaled, as the autoencoder's `encode` gives them.
        text: Features of the caption.
        text_mask: True at its tokens.
        depth: Along z [m or relative], 0 where nothing is known.
        K: Intrinsics [px of the depth].
        world_from_camera: Camera poses; any world will do.
        caption: The text itself, for people.

    Raises:
        InputError: Shapes that do not belong together, NaN, no token, negative depth, no camera,
            no intrinsics.
    """

    latents: Float[Tensor, "c t h w"]
    text: Float[Tensor, "l e"]
    text_mask: Bool[Tensor, " l"]
    depth: Float[Tensor, "t height width"]
    K: Float[Tensor, "t 3 3"]
    world_from_camera: Float[Tensor, "t 4 4"]
    caption: str = ""

    def __post_init__(self) -> None:
        check_tensor("latents", self.latents, ("C", "T", "h", "w"))
        check_tensor("text", self.text, ("L", "E"))
        frames = self.latents.shape[1]
        check_tensor("depth", self.depth, (frames, "H", "W"))
        check_tensor("K", self.K, (frames, 3, 3))
        check_tensor("world_from_camera", self.world_from_camera, (frames, 4, 4))
        if self.text_mask.dtype != torch.bool or self.text_mask.shape != self.text.shape[:1]:
            raise InputError(
                f"text_mask: expected ({len(self.text)},) booleans, got"
                f" {tuple(self.text_mask.shape)} {self.text_mask.dtype}"
            )
        if not self.text_mask.any():
            raise InputError(
                "text_mask: expected a True among them, got none; the empty prompt has an end token"
            )
        for name in ("latents", "text", "depth"):
            check_finite(name, getattr(self, name))
        if bool((self.depth < 0).any()):
            raise InputError(
                f"depth: expected at least 0, got {float(self.depth.min()):g}; set it to 0 where"
                " nothing is known"
            )
        check_transforms(self.world_from_camera, name="world_from_camera")
        check_intrinsics(self.K, (self.depth.shape[1], self.depth.shape[2]))

    def __len__(self) -> int:
        return self.latents.shape[1]

    def save(self, file: str | Path) -> None:
        """Write latents, text and depth in half precision, cameras in full.

        Raises:
            InputError: Numbers that half precision does not hold; nothing is written.
            SaveError: The file cannot be written; nothing partial is left.
        """
        from safetensors.torch import save

        tensors = {name: _stored(name, getattr(self, name)) for name in STORED}
        content = save(
            {name: tensor.contiguous().cpu() for name, tensor in tensors.items()},
            metadata={CAPTION: self.caption},
        )
        with atomic_file(file) as handle:
            handle.write(content)

    @classmethod
    def load(cls, file: str | Path, frames: Sequence[int] | None = None) -> "PrecomputedClip":
        """Read a clip, or some of its frames in any order; only those are read from the disk.

        The world of what comes back is the camera of its first frame.

        Args:
            file: Written by `save`.
            frames: Which frames; None for all.

        Raises:
            FileError: Missing, truncated or foreign; tensors missing or that make no clip.
            InputError: Frames that the clip does not have.
        """
        return _loaded(Path(file), None if frames is None else list(frames))


def clip_length(file: Path) -> int:
    """Read from its header how many frames a clip has.

    Raises:
        FileError: Missing, truncated, foreign or without latents.
    """
    from safetensors import safe_open

    with _opened(file), safe_open(file, "pt") as content:
        return content.get_slice("latents").get_shape()[PER_FRAME["latents"]]


def _loaded(file: Path, frames: list[int] | None) -> PrecomputedClip:
    from safetensors import safe_open

    length = clip_length(file)
    wanted = list(range(length)) if frames is None else frames
    if not wanted or not all(0 <= frame < length for frame in wanted):
        raise InputError(f"frames: expected some of 0 to {length - 1} of {file}, got {frames}")
    with _opened(file), safe_open(file, "pt") as content:
        tensors = {name: content.get_tensor(name) for name in TEXT}
        for name, dim in PER_FRAME.items():
            part = content.get_slice(name)
            each = [part[:, f : f + 1] if dim else part[f : f + 1] for f in wanted]
            tensors[name] = torch.cat(each, dim=dim)
        caption = (content.metadata() or {}).get(CAPTION, "")
    tensors = {name: x.float() if x.is_floating_point() else x for name, x in tensors.items()}
    poses = tensors["world_from_camera"]
    try:
        check_tensor("world_from_camera", poses, (len(wanted), 4, 4))
        check_transforms(poses, name="world_from_camera")
        tensors["world_from_camera"] = invert(poses[:1]) @ poses
        return PrecomputedClip(**tensors, caption=caption)
    except InputError as error:
        raise FileError(
            f"{file}: expected a precomputed clip, got one that makes none ({error}); encode it"
            " again"
        ) from error


@contextmanager
def _opened(file: Path) -> Iterator[None]:
    """Turn what safetensors raises on a missing, truncated or foreign file into a FileError."""
    if not file.is_file():
        raise FileError(f"{file}: expected a precomputed clip, got no file; check the path")
    try:
        yield
    except Jog3rError:
        raise
    except Exception as error:  # of safetensors, of the disk, of slices that do not exist
        raise FileError(
            f"{file}: expected a precomputed clip, got a truncated or foreign file ({error});"
            " encode it again"
        ) from error


def _stored(name: str, tensor: Tensor) -> Tensor:
    """Give a tensor in the precision it is written in."""
    stored = tensor.to(STORED[name])
    if not bool(stored.isfinite().all()):
        raise InputError(
            f"{name}: expected numbers that {stored.dtype} holds, up to"
            f" {torch.finfo(stored.dtype).max:g}, got {float(tensor.abs().max()):g}; scale them"
        )
    return stored

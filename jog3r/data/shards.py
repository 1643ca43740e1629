"""Reading shards of precomputed clips: any clip, any of its frames, without reading the rest."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from jog3r.data.precomputed import PrecomputedClip
from jog3r.data.shard_writing import FORMAT, INDEX, MANIFEST, SETTINGS
from jog3r.data.tensor_parts import TensorParts
from jog3r.errors import FileError, InputError


@dataclass(frozen=True, eq=False)
class Bucket:
    """Clips that can be in one batch: of one size, all with geometry or all without.

    Args:
        name: Such as `256x256`, or `256x256-generation` for clips without geometry.
        places: Shard, offset [bytes] and number of frames of each clip.
    """

    name: str
    places: Int64[np.ndarray, "clips 3"]

    def __len__(self) -> int:
        return len(self.places)

    @property
    def lengths(self) -> Int64[np.ndarray, " clips"]:
        """Number of frames of each clip."""
        return self.places[:, 2]


class ShardFolder:
    """A folder that `jog3r data prepare` has finished.

    All shards are looked at when it is opened, so that a truncated one does not stop a training in
    the middle.

    Args:
        folder: With `manifest.json`.

    Attributes:
        manifest: What it says.

    Raises:
        FileError: No such folder, an unfinished or foreign one, a shard that is missing or has
            another size than the manifest says, no clip at all.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest: dict[str, Any] = _read_manifest(self.folder)
        self._files = [self.folder / shard["file"] for shard in self.manifest["shards"]]
        for file, shard in zip(self._files, self.manifest["shards"], strict=True):
            _check_size(file, shard["bytes"])
        if not self.manifest["clips"]:
            skipped = {kind: each["clips"] for kind, each in self.manifest["skipped"].items()}
            raise FileError(
                f"{self.folder}: expected clips, got none; skipped when it was prepared: {skipped}"
            )

    @property
    def encoder(self) -> str:
        """What encoded the clips."""
        return str(self.manifest["settings"]["encoder"])

    @cached_property
    def buckets(self) -> dict[str, Bucket]:
        """The clips by bucket.

        Raises:
            FileError: The index is missing, damaged, or of another preparation.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        file = self.folder / INDEX
        wanted = {name: each["clips"] for name, each in self.manifest["by_bucket"].items()}
        try:
            places = load_file(file)
        except (OSError, SafetensorError) as error:
            raise FileError(
                f"{file}: expected the index of the shards, got none or a damaged one ({error});"
                " delete manifest.json and prepare again, which makes both anew"
            ) from error
        if {name: len(rows) for name, rows in places.items()} != wanted:
            raise FileError(
                f"{file}: expected the clips that {MANIFEST} counts, {wanted}, got others; delete"
                f" {MANIFEST} and prepare again, which makes both anew"
            )
        return {name: Bucket(name, rows) for name, rows in sorted(places.items())}

    def read(self, bucket: str, place: int, frames: Sequence[int] | None = None) -> PrecomputedClip:
        """Read a clip, or some of its frames in any order; only those are read from the disk.

        Args:
            bucket: One of `buckets`.
            place: Of the clip in it, from 0.
            frames: Which frames; None for all.

        Raises:
            FileError: A shard that has been removed, truncated or overwritten since.
            InputError: No such bucket, clip or frame.
        """
        if bucket not in self.buckets or not 0 <= place < len(self.buckets[bucket]):
            sizes = {name: len(each) for name, each in self.buckets.items()}
            raise InputError(
                f"clip: expected one of the buckets {sizes}, got number {place} of {bucket!r}"
            )
        shard, offset, _ = map(int, self.buckets[bucket].places[place])
        path = self._files[shard]
        try:
            with path.open("rb", buffering=0) as file:
                return PrecomputedClip.read(TensorParts(file, path, offset), frames)
        except OSError as error:
            raise FileError(
                f"{path}: expected a shard, got '{error.strerror}'; copy it again"
            ) from error


def _read_manifest(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST
    if not file.is_file():
        got = "an unfinished one" if (folder / SETTINGS).is_file() else "none"
        raise FileError(
            f"{folder}: expected a folder of shards with {MANIFEST}, got {got}; run jog3r data"
            " prepare until it is done"
        )
    try:
        manifest = json.loads(file.read_text("utf-8"))
        found = manifest["format"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FileError(
            f"{file}: expected the manifest of shards, got another or damaged file ({error});"
            " delete it and prepare again, which makes it anew"
        ) from error
    if found != FORMAT:
        raise FileError(f"{file}: expected format {FORMAT}, got {found!r}; prepare again")
    return manifest


def _check_size(file: Path, wanted: int) -> None:
    try:
        size = file.stat().st_size
    except OSError as error:
        raise FileError(
            f"{file}: expected a shard of {wanted} bytes, got '{error.strerror}'; copy it again"
        ) from error
    if size != wanted:
        raise FileError(
            f"{file}: expected a shard of {wanted} bytes, got {size}; it is truncated or of another"
            " preparation, copy it again, or delete its folder and prepare again"
        )

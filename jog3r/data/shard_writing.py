"""Shards of precomputed clips: portions that appear whole, then the manifest of all of them.

A preparation is divided into portions of consecutive clips. The folder of a portion holds one tar
per bucket, which is what can be in one batch (a size, with or without geometry), and
`portion.json`, which says where in the tars the clips lie and which clips were left out, and why.
It takes its name when all of it is on the disk, so a process that is killed loses the portion it
worked on and nothing else. When the last portion is done, `index.safetensors` and `manifest.json`
are written from all of them.

The tars are WebDataset shards: `00000012.json` (id, source, licence, caption) and
`00000012.safetensors` of a clip lie next to each other. Nothing in them depends on the time, the
process or the machine.
"""

import io
import json
import os
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jog3r.data.precomputed import PrecomputedClip
from jog3r.errors import FileError, SaveError
from jog3r.export.atomic import atomic_files, atomic_folder

FORMAT = "jog3r-shards-1"
SETTINGS, MANIFEST = "settings.json", "manifest.json"
INDEX, PORTION = "index.safetensors", "portion.json"
GENERATION_ONLY = "-generation"


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A clip that is not in the shards.

    Args:
        id: Of the clip, or the file in its place.
        kind: One of few words to count it by.
        why: Expected, got.
        clips: How many are lost for it.
    """

    id: str
    kind: str
    why: str
    clips: int = 1


class Portion:
    """The tars of a portion while they are written; `new_portion` makes it.

    Args:
        folder: Made for it.
        stack: Closes the files.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._tars: dict[str, tuple[BinaryIO, tarfile.TarFile]] = {}
        self._clips: dict[str, list[dict[str, Any]]] = {}
        self._skipped: list[Skipped] = []
        self._notes: Counter[str] = Counter()

    def add(self, number: int, clip: PrecomputedClip, size: tuple[int, int]) -> None:
        """Write a clip.

        Args:
            number: Its place among all clips of the preparation; names it inside the tar.
            clip: The record.
            size: Height and width of its frames [px].

        Raises:
            InputError: Numbers that half precision does not hold; nothing is written of it.
        """
        content = clip.to_bytes()
        bucket = f"{size[0]}x{size[1]}{'' if clip.has_geometry else GENERATION_ONLY}"
        file, tar = self._tar(bucket)
        about = json.dumps(clip.words, ensure_ascii=False).encode()
        _append(tar, f"{number:08d}.json", about)
        _append(tar, f"{number:08d}.safetensors", content)
        padding = -len(content) % tarfile.BLOCKSIZE  # up to the next whole block, behind it
        offset = file.tell() - padding - len(content)
        entry = {name: getattr(clip, name) for name in ("id", "source", "licence")}
        self._clips[bucket].append({**entry, "frames": len(clip), "offset": offset})

    def skip(self, skipped: Skipped) -> None:
        """Count a clip that is left out."""
        self._skipped.append(skipped)

    def note(self, what: str, count: int = 1) -> None:
        """Count something about clips that are not left out."""
        self._notes[what] += count

    def finish(self) -> None:
        """End the tars and say what is in them."""
        for file, tar in self._tars.values():
            tar.close()
            file.flush()
            os.fsync(file.fileno())
        sizes = {bucket: file.tell() for bucket, (file, _) in self._tars.items()}
        record = {
            "shards": {
                bucket: {"bytes": sizes[bucket], "clips": clips}
                for bucket, clips in sorted(self._clips.items())
            },
            "skipped": [asdict(each) for each in self._skipped],
            "notes": dict(sorted(self._notes.items())),
        }
        with (self._folder / PORTION).open("w", encoding="utf-8") as written:
            json.dump(record, written, ensure_ascii=False, indent=1)
            written.flush()
            os.fsync(written.fileno())

    def _tar(self, bucket: str) -> tuple[BinaryIO, tarfile.TarFile]:
        if bucket not in self._tars:
            # Closed by the stack; a tar is ended by `finish` alone, so never after a failure.
            file = self._stack.enter_context((self._folder / f"{bucket}.tar").open("wb"))
            tar = tarfile.TarFile(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)
            self._tars[bucket], self._clips[bucket] = (file, tar), []
        return self._tars[bucket]


@contextmanager
def new_portion(folder: Path, number: int) -> Iterator[Portion]:
    """Write a portion, whole or not at all.

    Raises:
        SaveError: It cannot be written (disk full, no permission), or another process makes it
            too; nothing of it is left.
    """
    target = portion_folder(folder, number)
    for left in folder.glob(f".{target.name}.*.tmp"):  # by a process that was killed
        shutil.rmtree(left)
    with atomic_folder(target) as place, ExitStack() as stack:
        portion = Portion(place, stack)
        yield portion
        if not place.is_dir():
            raise SaveError(
                f"{target}: expected one process to make it, got another that began it anew; give"
                " each process a --part of its own"
            )
        portion.finish()


def portion_folder(folder: Path, number: int) -> Path:
    """Name the folder of a portion."""
    return folder / f"{number:06d}"


def write_manifest(
    folder: Path, portions: int, *, settings: Mapping[str, Any], skipped: Iterable[Skipped] = ()
) -> dict[str, Any]:
    """Put the index and the manifest of all portions beside them.

    Args:
        folder: Of the portions.
        portions: How many there are.
        settings: What the clips were made with; `encoder` in it must be the same wherever clips
            are mixed.
        skipped: Clips that came into no portion.

    Returns:
        The manifest.

    Raises:
        FileError: A portion is missing or damaged.
        SaveError: They cannot be written.
    """
    from safetensors.numpy import save

    counts = _Counts(skipped)
    for number in range(portions):
        counts.take(portion_folder(folder, number))
    manifest = {"format": FORMAT, **counts.manifest(), "settings": dict(settings)}
    text = json.dumps(manifest, ensure_ascii=False, indent=1)
    with atomic_files(folder) as place:
        # The manifest moves last: where it is, the index is too.
        (place / INDEX).write_bytes(save(counts.index()))
        (place / MANIFEST).write_text(text + "\n", "utf-8")
    return manifest


def write_shards(
    folder: str | Path,
    clips: Iterable[PrecomputedClip],
    *,
    size: tuple[int, int],
    encoder: str,
) -> dict[str, Any]:
    """Write clips that you have encoded yourself, all in one portion.

    Args:
        folder: New, or of the same name as before, whose shards are replaced.
        clips: The records.
        size: Height and width of their frames [px].
        encoder: Names what encoded them; clips of several folders mix only where it is the same.

    Returns:
        The manifest.

    Raises:
        InputError: Numbers that half precision does not hold.
        SaveError: Something cannot be written.
    """
    folder = Path(folder)
    with new_portion(folder, 0) as portion:
        for number, clip in enumerate(clips):
            portion.add(number, clip, size)
    return write_manifest(folder, 1, settings={"encoder": encoder})


class _Counts:
    """Adds up portions."""

    def __init__(self, skipped: Iterable[Skipped]) -> None:
        self.by: dict[str, Counter[str]] = {"source": Counter(), "licence": Counter()}
        self.buckets: dict[str, Counter[str]] = {}
        self.skipped: dict[str, dict[str, Any]] = {}
        self.notes: Counter[str] = Counter()
        self.shards: list[dict[str, Any]] = []
        self.places: dict[str, list[tuple[int, int, int]]] = {}
        for each in skipped:
            self._leave_out(each)

    def take(self, folder: Path) -> None:
        file = folder / PORTION
        try:
            record = json.loads(file.read_text("utf-8"))
            for bucket, shard in record["shards"].items():
                self._take_shard(f"{folder.name}/{bucket}.tar", bucket, shard)
            for each in record["skipped"]:
                self._leave_out(Skipped(**each))
            self.notes.update(record["notes"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FileError(
                f"{file}: expected the record of a portion, got none or a damaged one ({error});"
                " delete its folder and prepare again"
            ) from error

    def _take_shard(self, name: str, bucket: str, shard: dict[str, Any]) -> None:
        clips, number = shard["clips"], len(self.shards)
        self.shards.append({"file": name, "clips": len(clips), "bytes": shard["bytes"]})
        for key, counter in self.by.items():
            counter.update(clip[key] for clip in clips)
        frames = sum(clip["frames"] for clip in clips)
        self.buckets.setdefault(bucket, Counter()).update(clips=len(clips), frames=frames)
        rows = self.places.setdefault(bucket, [])
        rows += [(number, clip["offset"], clip["frames"]) for clip in clips]

    def _leave_out(self, skipped: Skipped) -> None:
        kind = self.skipped.setdefault(skipped.kind, {"clips": 0, "ids": {}})
        kind["clips"] += skipped.clips
        kind["ids"][skipped.id] = skipped.why

    def manifest(self) -> dict[str, Any]:
        return {
            "clips": sum(bucket["clips"] for bucket in self.buckets.values()),
            "frames": sum(bucket["frames"] for bucket in self.buckets.values()),
            "by_bucket": {name: dict(counts) for name, counts in sorted(self.buckets.items())},
            **{f"by_{name}": dict(sorted(counts.items())) for name, counts in self.by.items()},
            "skipped": dict(sorted(self.skipped.items())),
            "notes": dict(sorted(self.notes.items())),
            "shards": self.shards,
        }

    def index(self) -> dict[str, np.ndarray]:
        """Where each clip lies: rows of shard, offset [bytes] and number of frames."""
        return {name: np.asarray(rows, np.int64) for name, rows in sorted(self.places.items())}


def _append(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    tar.addfile(entry, io.BytesIO(content))

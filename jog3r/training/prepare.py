"""From a data set to shards of precomputed clips: divided among processes, resumed after a kill."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from jog3r.config import to_plain
from jog3r.data.clip import Clip
from jog3r.data.clip_fit import fit_clip
from jog3r.data.depth_unit import depth_unit
from jog3r.data.given_depth import given_depth
from jog3r.data.precomputed import STORED
from jog3r.data.readers.interface import ClipEntry, ClipReader
from jog3r.data.shard_writing import (
    PORTION,
    SETTINGS,
    Portion,
    Skipped,
    new_portion,
    portion_folder,
    write_manifest,
)
from jog3r.errors import FileError, InputError
from jog3r.export.atomic import atomic_file
from jog3r.model import JOG3R
from jog3r.training.depth_estimators import DepthEstimator, estimated_depth
from jog3r.training.precompute import precompute_clip


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """What to make of the clips.

    Args:
        sizes: Height and width of the frames [px]; each clip goes to that of the nearest shape.
        max_frames: Longest clip; longer ones keep their first frames. None for no bound.
        depth: `given` by the data set, made by an `estimator`, or `none`: generation only.
        uncaptioned: Whether to skip clips without caption or to keep them with the empty prompt.
        clips_per_portion: Clips that are written at once, and that a killed process loses.

    Raises:
        InputError: No size, or a number below 1.
    """

    sizes: tuple[tuple[int, int], ...]
    max_frames: int | None = None
    depth: Literal["given", "estimator", "none"] = "given"
    uncaptioned: Literal["skip", "keep"] = "skip"
    clips_per_portion: int = 128

    def __post_init__(self) -> None:
        longest = 1 if self.max_frames is None else self.max_frames
        sides = [side for size in self.sizes for side in size]
        if not sides or min(*sides, longest, self.clips_per_portion) < 1:
            raise InputError(
                "prepare: expected sizes, max_frames and clips_per_portion of at least 1, got"
                f" {self.sizes}, {self.max_frames} and {self.clips_per_portion}"
            )


class Preparation:
    """One data set on its way into one folder of shards.

    Args:
        reader: Of the data set.
        model: Its autoencoder and text encoder are used.
        folder: Of the shards; one that was begun with the same settings is continued.
        settings: What to make of the clips.
        captions: Of clips by id, in place of the data set's own.
        estimator: Of depth, where the settings ask for one.

    Raises:
        InputError: A size that the model does not take, an autoencoder whose latents span several
            frames, an estimator that is missing or not asked for, or a folder that was begun with
            other settings, clips or weights.
        MissingPartError: A model without autoencoder or text encoder.
        FileError: The data set has nothing to use.
        SaveError: The folder cannot be made.
    """

    def __init__(
        self,
        reader: ClipReader,
        model: JOG3R,
        folder: str | Path,
        settings: PrepareSettings,
        *,
        captions: Mapping[str, str] | None = None,
        estimator: DepthEstimator | None = None,
    ) -> None:
        _check_model(model, settings.sizes)
        if (estimator is not None) != (settings.depth == "estimator"):
            raise InputError(
                f"estimator: expected one with depth 'estimator' and none else, got {estimator}"
                f" with {settings.depth!r}"
            )
        self.reader, self.model, self.folder = reader, model, Path(folder)
        self.settings, self.captions, self.estimator = settings, dict(captions or {}), estimator
        self.entries = reader.index.entries
        if not self.entries:
            raise FileError(
                f"{reader.folder}: expected clips of {reader.source}, got none that can be used:"
                f" {reader.index.counted()}; jog3r data check says more"
            )
        self.portions = math.ceil(len(self.entries) / settings.clips_per_portion)
        self.plan = self._plan()
        self._claim()

    def run(
        self,
        part: int = 0,
        parts: int = 1,
        *,
        report: Callable[[int, int], None] | None = None,
    ) -> dict[str, Any] | None:
        """Make the portions of one part that are not there yet; parts may run at the same time.

        Args:
            part: Which, from 0.
            parts: How many there are; it may change from run to run.
            report: Called after every portion with its number and the number of all.

        Returns:
            The manifest, which whoever makes the last portion writes; None before.

        Raises:
            InputError: No such part.
            SaveError: A portion cannot be written (disk full); the others stay.
            FileError: A portion of an earlier run is damaged.
        """
        if not 0 <= part < parts:
            raise InputError(f"part: expected 0 to {parts - 1} of {parts}, got {part}")
        for number in range(part, self.portions, parts):
            if self._missing(number):
                self._make(number)
            if report is not None:
                report(number, self.portions)
        if any(self._missing(number) for number in range(self.portions)):
            return None
        lost = [
            Skipped(id=problem.where, kind=problem.kind, why=problem.what, clips=problem.lost)
            for problem in self.reader.index.problems
            if problem.lost
        ]
        return write_manifest(self.folder, self.portions, settings=self.plan, skipped=lost)

    def _plan(self) -> dict[str, Any]:
        """Say what the bytes of the shards depend on."""
        ids = "\n".join(f"{entry.id}\t{entry.length}" for entry in self.entries)
        captions = json.dumps(self.captions, sort_keys=True) if self.captions else ""
        return {
            "reader": self.reader.name,
            "source": self.reader.source,
            "licence": self.reader.licence,
            "announced": self.reader.index.announced,
            "clips": f"{len(self.entries)}, sha256 {_hash(ids)}",
            "encoder": encoder_hash(self.model),
            **json.loads(json.dumps(asdict(self.settings))),
            "estimator": None if self.estimator is None else self.estimator.name,
            "captions": f"sha256 {_hash(captions)}" if captions else "of the data set",
        }

    def _claim(self) -> None:
        file = self.folder / SETTINGS
        if not file.exists():
            with atomic_file(file) as opened:
                opened.write(json.dumps(self.plan, indent=1).encode() + b"\n")
        try:
            begun = json.loads(file.read_text("utf-8"))
            changed = {key for key in self.plan if begun.get(key) != self.plan[key]}
        except (OSError, ValueError, AttributeError) as error:
            raise FileError(
                f"{file}: expected the settings of a preparation, got another file ({error});"
                " choose another folder"
            ) from error
        if changed:
            before, now = ({key: each.get(key) for key in changed} for each in (begun, self.plan))
            raise InputError(
                f"{self.folder}: expected what its shards were begun with, {before}, got {now};"
                " choose another folder for other clips, settings or weights"
            )

    def _missing(self, number: int) -> bool:
        return not (portion_folder(self.folder, number) / PORTION).is_file()

    def _make(self, number: int) -> None:
        count = self.settings.clips_per_portion
        first = number * count
        with new_portion(self.folder, number) as portion:
            for place, entry in enumerate(self.entries[first : first + count], first):
                try:
                    self._add(portion, place, entry)
                except _UnusableClipError as error:
                    portion.skip(Skipped(id=entry.id, kind=error.kind, why=str(error)))

    def _add(self, portion: Portion, place: int, entry: ClipEntry) -> None:
        clip = self._read(entry)
        caption = self._caption(clip)
        assert clip.image_size is not None
        size = nearest_size(clip.image_size, self.settings.sizes)
        depth, why = self._depth(clip)
        fitted = self._fitted(clip, None if depth is None else _storable(depth), size)
        assert fitted.frames is not None
        geometry: dict[str, Tensor | None] = {}
        if depth is not None:
            geometry = {n: getattr(fitted, n) for n in ("depth", "K", "world_from_camera")}
        try:
            record = precompute_clip(
                self.model,
                fitted.frames.permute(0, 3, 1, 2).float() / 127.5 - 1.0,
                caption,
                id=clip.id,
                source=clip.source,
                licence=clip.licence,
                **geometry,
            )
            portion.add(place, record, size)
        except InputError as error:
            raise _UnusableClipError("cannot-be-encoded", error) from error
        if why:
            portion.note(f"generation only: {why}")
        if entry.length > len(clip):
            portion.note("frames beyond max_frames", entry.length - len(clip))

    def _read(self, entry: ClipEntry) -> Clip:
        longest = self.settings.max_frames
        frames = None if longest is None else range(min(entry.length, longest))
        try:
            clip = self.reader.read(entry, frames)
        except (FileError, InputError, OSError) as error:
            raise _UnusableClipError("unreadable", error) from error
        if clip.frames is None:
            raise _UnusableClipError("no-frames", f"{entry.id}: expected frames, got none")
        return clip

    def _fitted(self, clip: Clip, depth: Tensor | None, size: tuple[int, int]) -> Clip:
        try:
            return fit_clip(clip.replaced(depth=depth, points_world=None, mask=None), size)
        except InputError as error:  # a principal point outside the part that is kept
            raise _UnusableClipError("cannot-be-fitted", error) from error

    def _caption(self, clip: Clip) -> str:
        caption = self.captions.get(clip.id, clip.caption or "").strip()
        if not caption and self.settings.uncaptioned == "skip":
            raise _UnusableClipError("no-caption", f"{clip.id}: expected a caption, got none")
        return caption

    def _depth(self, clip: Clip) -> tuple[Tensor | None, str]:
        """Give depth in the unit of the cameras, or why there is none."""
        if self.settings.depth == "none":
            return None, "depth not wanted"
        if clip.K is None or clip.world_from_camera is None:
            return None, "no cameras"
        if self.estimator is not None:
            depth = estimated_depth(clip, self.estimator)
            return depth, "" if depth is not None else "depth of unknown scale"
        depth = given_depth(clip)
        if depth is None or not bool((depth > 0).any()):
            return None, "no depth"
        unit = depth_unit(clip)
        if unit.verdict == "wrong":
            raise _UnusableClipError("depth-unit", f"{clip.id}: {unit.expected}")
        return depth, ""


def _storable(depth: Tensor) -> Tensor:
    """Call unknown what lies beyond the numbers that depth is stored in, such as a far horizon."""
    return torch.where(depth <= torch.finfo(STORED["depth"]).max, depth, 0.0)


class _UnusableClipError(Exception):
    """Why a clip is left out; never leaves this file."""

    def __init__(self, kind: str, why: object) -> None:
        super().__init__(str(why))
        self.kind = kind


def nearest_size(size: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Choose the size of the nearest aspect ratio.

    Among sizes of one shape it is the largest to which nothing is enlarged, or else the smallest.

    Args:
        size: Height and width of a clip.
        sizes: To choose from.

    Example:
        >>> nearest_size((720, 1280), [(256, 256), (256, 448), (512, 896)])
        (512, 896)
        >>> nearest_size((360, 640), [(256, 256), (256, 448), (512, 896)])
        (256, 448)
    """

    def cost(wanted: tuple[int, int]) -> tuple[float, bool, int]:
        shape = abs(math.log(wanted[0] * size[1] / (wanted[1] * size[0])))
        enlarged = wanted[0] > size[0] or wanted[1] > size[1]
        area = wanted[0] * wanted[1]
        return round(shape, 9), enlarged, area if enlarged else -area

    return min(sizes, key=cost)


def encoder_hash(model: JOG3R) -> str:
    """Name what encodes clips: the weights of the autoencoder, and the text encoder.

    A text encoder from elsewhere counts by its config, which says where it is from.
    """
    digest = hashlib.sha256()
    for name in ("autoencoder", "text_encoder"):
        config = getattr(model.config, name)
        digest.update(json.dumps(to_plain(config), sort_keys=True).encode())
        for key, tensor in _weights(getattr(model, name)):
            digest.update(key.encode())
            flat = tensor.detach().cpu().reshape(-1).contiguous()  # whatever its memory format
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    return f"sha256 {digest.hexdigest()[:32]}"


def _weights(part: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(part, torch.nn.Module):
        yield from sorted(part.state_dict().items())


def _check_model(model: JOG3R, sizes: Sequence[tuple[int, int]]) -> None:
    _ = model.text_encoder
    step = model.autoencoder.factor
    if getattr(model.config, "network", None) is not None:
        step = math.lcm(step, model.network.config.patch)
    wrong = [size for size in sizes if size[0] % step or size[1] % step]
    if wrong:
        raise InputError(
            f"sizes: expected multiples of {step} px, as the model takes them, got {wrong}"
        )
    if model.autoencoder.latent_frames(2) != 2:
        raise InputError(
            "autoencoder: expected latents of single frames, got one whose latents span several;"
            " take a model with a frame autoencoder"
        )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]

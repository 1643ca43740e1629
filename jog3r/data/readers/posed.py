"""What readers of frames with cameras share: which frames can be used, and how they are decoded.

A frame whose picture is missing or empty, or whose camera is impossible, is left out of its clip
and counted. Of a data set of films the longest evenly spaced run of frames is then used, as for
RealEstate10K: a clip with a jump in it would teach motion that nobody made. Pictures that are a
reduced copy of what their lens describes take the lens along, those of lenses with distortion are
straightened, and all leave with the K that they then have.
"""

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from jog3r.data.clip import Clip, Part, Scale
from jog3r.data.fit import ResizeAndCrop
from jog3r.data.readers.interface import (
    ClipEntry,
    ClipReader,
    Index,
    Problem,
    clip_of_files,
    wanted_frames,
)
from jog3r.data.readers.lens import Lens, look_up, straighten
from jog3r.data.readers.pictures import read_picture
from jog3r.data.sampling import even_run
from jog3r.errors import FileError
from jog3r.geometry.transforms import TOLERANCE
from jog3r.result_checks import image_size_of


class View(NamedTuple):
    """A frame before it is decoded."""

    file: Path
    lens: Lens
    world_from_camera: np.ndarray  # (4, 4) float64
    more: Any = None  # what else its reader needs
    beside: tuple[Path, ...] = ()  # depth, masks: files that must be there too


class Scene(NamedTuple):
    """The frames that a scene announces, and what is wrong with its own files."""

    views: tuple[View, ...]
    problems: tuple[Problem, ...] = ()
    parts: frozenset[Part] = frozenset()


class PosedReader(ClipReader):
    """A data set of scenes: a clip per scene, a picture and a camera per frame.

    Args:
        folder: Laid out as the reader's own docstring says.
        size: (height, width) [px] that every frame is fitted to: the centred part of that shape,
            resized. None keeps the pictures' own size; frames of another size than most of
            their scene are then left out and counted.
        even: Use the longest evenly spaced run of frames, by the numbers in their names; None for
            what the data set is: True for films, False for photographs.

    Raises:
        FileError: No such folder.
        InputError: A malformed size.
    """

    scale: Scale = "relative"
    film: ClassVar[bool] = False
    """Whether frames are of a film, in its order."""

    def __init__(
        self,
        folder: str | Path | None,
        *,
        size: tuple[int, int] | None = None,
        even: bool | None = None,
    ) -> None:
        super().__init__(folder)
        self.size = None if size is None else image_size_of(size)
        self.even = self.film if even is None else even
        self._kept: tuple[str, Scene] | None = None

    @abstractmethod
    def _scenes(self) -> list[tuple[str, str]]:
        """List id and place of every scene that the folder announces."""

    @abstractmethod
    def _scene(self, place: str) -> Scene:
        """Read what a scene says of its frames; FileError where that cannot be read."""

    def _depth(
        self, view: View, K: Float[Tensor, "3 3"], size: tuple[int, int]
    ) -> Float[Tensor, "h w"]:
        """Give depth on the pixels of a frame with this K; scenes with the part `depth` have it."""
        raise NotImplementedError

    def _mask(
        self, view: View, K: Float[Tensor, "3 3"], size: tuple[int, int]
    ) -> Bool[Tensor, "h w"]:
        """Give the mask likewise."""
        raise NotImplementedError

    def _caption(self, place: str) -> str | None:
        """Say what is to be seen in a scene, where the data set does."""
        return None

    def _origin(self, place: str) -> dict[str, Any]:
        return {"source": self.source, "licence": self.licence, "scale": self.scale}

    def _look_over(self) -> Index:
        problems: list[Problem] = []
        scenes = sorted(self._scenes())
        entries = [self._entry(id, place, problems) for id, place in scenes]
        return Index(
            announced=len(scenes),
            entries=tuple(entry for entry in entries if entry is not None),
            problems=tuple(problems),
        )

    def _entry(self, id: str, place: str, problems: list[Problem]) -> ClipEntry | None:
        try:
            return self._usable(id, place, problems)
        except FileError as error:
            problems.append(Problem(kind="unreadable", where=place, what=str(error)))
            return None

    def _usable(self, id: str, place: str, problems: list[Problem]) -> ClipEntry | None:
        scene = self._scene(place)
        wrong = _wrong_views(scene.views, same_size=self.size is None)
        problems += [*scene.problems, *(self._relative(problem) for problem in wrong.values())]
        good = [(index, view) for index, view in enumerate(scene.views) if index not in wrong]
        if not good:
            what = f"expected frames that can be used, got none of {len(scene.views)}"
            problems.append(Problem(kind="no-frames", where=place, what=what))
            return None
        run = self._run(good, place, problems) if self.even else good
        parts: set[Part] = {"frames", "K", "world_from_camera", *scene.parts}
        if self._caption(place):
            parts.add("caption")
        used = tuple(self._key(index, view) for index, view in run)
        return ClipEntry(id=id, length=len(used), parts=frozenset(parts), place=(place, used))

    def _run(
        self, good: list[tuple[int, View]], place: str, problems: list[Problem]
    ) -> list[tuple[int, View]]:
        numbers = _numbers([view.file for _, view in good])
        run = even_run(numbers)
        if len(run) < len(good):
            what = (
                f"expected frames without gaps, got {len(good)} with some; the longest even run,"
                f" {len(run)} of them, is used (even=False uses all)"
            )
            problems.append(frame_problem("missing-frames", place, what))
        return [each for each, number in zip(good, numbers, strict=True) if number in run]

    def _relative(self, problem: Problem) -> Problem:
        where = Path(problem.where)
        inside = where.is_relative_to(self.folder)
        place = where.relative_to(self.folder).as_posix() if inside else problem.where
        return replace(problem, where=place)

    def read(self, entry: ClipEntry, frames: Sequence[int] | None = None) -> Clip:
        """Decode a clip, or some of its frames in any order.

        Args:
            entry: Of this reader's index.
            frames: Which; None for all.

        Raises:
            FileError: A file of it is missing, broken or contradicts another.
            InputError: Frames that the clip does not have.
        """
        place, used = entry.place
        views = self._views(place, [used[frame] for frame in wanted_frames(entry, frames)])
        pictures, matrices = zip(*(self._picture(view) for view in views), strict=True)
        sizes = Counter(tuple(picture.shape[:2]) for picture in pictures)
        if len(sizes) > 1:
            raise FileError(
                f"{entry.id}: expected pictures of one size, got (height, width) {dict(sizes)};"
                " open the folder with size="
            )
        parts: dict[str, Any] = {"frames": torch.stack(pictures)}
        for part, give in (("depth", self._depth), ("mask", self._mask)):
            if part in entry.parts:
                seen = zip(views, matrices, strict=True)
                parts[part] = torch.stack([give(view, K, next(iter(sizes))) for view, K in seen])
        cameras = torch.from_numpy(np.stack([view.world_from_camera for view in views])).float()
        return clip_of_files(
            entry,
            K=torch.stack(matrices).float(),
            world_from_camera=cameras,
            caption=self._caption(place) or None,
            **parts,
            **self._origin(place),
        )

    def _key(self, index: int, view: View) -> Any:
        """Name a frame for `_views`, by a plain value."""
        return index

    def _views(self, place: str, keys: Sequence[Any]) -> list[View]:
        """Return the frames of these names."""
        if self._kept is None or self._kept[0] != place:
            self._kept = place, self._scene(place)
        return [self._kept[1].views[key] for key in keys]

    def _picture(self, view: View) -> tuple[UInt8[Tensor, "h w 3"], Float[Tensor, "3 3"]]:
        picture = read_picture(view.file)
        straight, K = straighten(picture.float(), _lens_of(view.file, view.lens, picture))
        size = (picture.shape[0], picture.shape[1])
        if self.size is not None and self.size != size:
            mapping = ResizeAndCrop.fit(size, self.size)
            unit = straight.permute(2, 0, 1)[None] / 127.5 - 1
            fitted = mapping.frames_to_target(unit)[0].permute(1, 2, 0)
            straight, K = (fitted + 1) * 127.5, mapping.intrinsics_to_target(K)
        return straight.round().to(torch.uint8), K


def map_on_frame(
    file: Path,
    values: Float[Tensor, "h w"],
    lens: Lens,
    K: Float[Tensor, "3 3"],
    size: tuple[int, int],
) -> Float[Tensor, "h2 w2"]:
    """Return a map of the same camera on the pixels of a frame; 0 where the map does not reach.

    Args:
        file: For the error text.
        values: On the pixels of the lens, or of a reduced copy of it.
        lens: That took them.
        K: Of the frame.
        size: (height, width) of the frame [px].

    Raises:
        FileError: A map of another shape than the lens has.
    """
    return look_up(values[..., None], _lens_of(file, lens, values), K, size)[..., 0]


def _numbers(files: Sequence[Path]) -> list[int]:
    """Return the last number in every picture's name, which says its place in the film."""
    found = [re.findall(r"[0-9]+", file.name) for file in files]
    numbers = [int(each[-1]) if each else -1 for each in found]
    unsure = [file for file, number in zip(files, numbers, strict=True) if number < 0]
    unsure += [file for (a, b), file in zip(pairwise(numbers), files[1:], strict=True) if a >= b]
    if unsure:
        raise FileError(
            f"{unsure[0]}: expected names that number the frames of a film, got this one; open the"
            " folder with even=False"
        )
    return numbers


def frame_problem(kind: str, where: str, what: str) -> Problem:
    """Return a problem of one frame, which costs no clip."""
    return Problem(kind=kind, where=where, what=what, lost=0)


def _lens_of(file: Path, lens: Lens, picture: Tensor) -> Lens:
    try:
        return lens.resized((picture.shape[0], picture.shape[1]))
    except FileError as error:
        raise FileError(f"{file}: {error}") from error


def _wrong_views(views: Sequence[View], *, same_size: bool) -> dict[int, Problem]:
    """Say of every frame that cannot be used why."""
    wrong: dict[int, Problem] = {}
    lenses = {lens: _lens_fault(lens) for lens in {view.lens for view in views}}
    known: set[Path] = set()
    for index, view in enumerate(views):
        fault = lenses[view.lens] or _camera_fault(view.world_from_camera) or _file_fault(view)
        if not fault and view.file in known:
            fault = "duplicate-id", "expected every picture once, got it again; the first is used"
        if fault:
            wrong[index] = frame_problem(fault[0], str(view.file), fault[1])
        else:
            known.add(view.file)
    sizes = Counter(view.lens.size for index, view in enumerate(views) if index not in wrong)
    if same_size and len(sizes) > 1:
        usual = sizes.most_common(1)[0][0]
        for index, view in enumerate(views):
            if index not in wrong and view.lens.size != usual:
                what = f"expected {usual[1]}x{usual[0]} px as most, got {view.lens.size[::-1]}"
                wrong[index] = frame_problem("other-size", str(view.file), what)
    return wrong


def _lens_fault(lens: Lens) -> tuple[str, str] | None:
    try:
        lens.check()
    except FileError as error:
        return ("distortion" if "distortion" in str(error) else "camera"), str(error)
    return None


def _camera_fault(world_from_camera: np.ndarray) -> tuple[str, str] | None:
    if not np.isfinite(world_from_camera).all():
        return "no-camera", "expected finite numbers, got NaN or infinity: tracking was lost"
    rotation = world_from_camera[:3, :3]
    deviation = np.abs(rotation.T @ rotation - np.eye(3)).max()
    last = np.abs(world_from_camera[3] - [0, 0, 0, 1]).max()
    if deviation > TOLERANCE / 2 or last > TOLERANCE or np.linalg.det(rotation) < 0:
        return "camera", (
            "expected a rotation (determinant 1) and a position, got determinant"
            f" {np.linalg.det(rotation):.4g}, off by {max(deviation, last):.2g}; is it mirrored,"
            " scaled or transposed?"
        )
    return None


def _file_fault(view: View) -> tuple[str, str] | None:
    for kind, file in [("no-picture", view.file), *(("no-map", file) for file in view.beside)]:
        try:
            empty = file.stat().st_size == 0
        except OSError as error:
            return kind, f"{file.name}: expected a picture, got '{error.strerror}'"
        if empty:
            return kind, f"{file.name}: expected a picture, got an empty file"
    return None

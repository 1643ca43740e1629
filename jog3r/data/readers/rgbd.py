"""Colour and depth with a tracked camera: ScanNet's exported layout, and 7-Scenes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.data.media import natural_order
from jog3r.data.readers.lens import Lens
from jog3r.data.readers.pictures import picture_size, read_16_bit
from jog3r.data.readers.posed import PosedReader, Scene, View, frame_problem, map_on_frame
from jog3r.errors import FileError
from jog3r.export.text import read_text

METRES = 1e-3
"""Depth files count millimetres."""
NO_DEPTH = 65535
"""What 7-Scenes writes where nothing was measured; ScanNet writes 0."""
SEVEN_SCENES_LENS = Lens((585.0, 585.0), (320.0, 240.0), (480, 640))


class Files(NamedTuple):
    """What a frame has besides its picture."""

    name: str
    depth: Path
    depth_lens: Lens


class Layout(NamedTuple):
    """Where a kind of scene keeps a frame's files, and, last, whose data set it is."""

    color: str
    depth: str
    pose: str
    source: str
    licence: str


SCANNET = Layout(
    "color/{}.jpg", "depth/{}.png", "pose/{}.txt", "ScanNet", "ScanNet Terms of Use (research)"
)
SEVEN_SCENES = Layout(
    "{}.color.png",
    "{}.depth.png",
    "{}.pose.txt",
    "7-Scenes",
    "Microsoft 7-Scenes licence (non-commercial)",
)


class RGBD(PosedReader):
    """Scenes of ScanNet, or of anything exported like it, or sequences of 7-Scenes.

    Layout of ScanNet as its SensReader exports it::

        SCENE/color/0.jpg                       1296x968
        SCENE/depth/0.png                       640x480, 16 bits, millimetres, 0 = none
        SCENE/pose/0.txt                        world_from_camera, 4 x 4, OpenCV axes, metres
        SCENE/intrinsic/intrinsic_color.txt     4 x 4, pixel centres at whole numbers
        SCENE/intrinsic/intrinsic_depth.txt

    Layout of 7-Scenes::

        SCENE/seq-01/frame-000000.color.png     640x480
        SCENE/seq-01/frame-000000.depth.png     640x480, 16 bits, millimetres, 65535 = none
        SCENE/seq-01/frame-000000.pose.txt      as above

    A clip is a scene or a sequence; lengths are metres. Frames that were not tracked (-inf in
    their matrix), whose matrix is broken, or that lack colour or depth are left out and counted.
    Depth is looked up on the pixels of the colours by both lenses, nearest, never averaged. ScanNet
    has K with pixel centres at whole numbers: 0.5 is added. 7-Scenes has no calibration: the
    defaults of its publisher (585 px, centre 320, 240) stand for depth and colour alike, although
    the two were not registered.

    Args:
        folder: A scene, or a folder of scenes, up to two levels deep.
        size: As of every `PosedReader`.
        even: Likewise; False uses what lies beyond a gap too.

    Source: ScanNet, README of SensReader and issues 17 and 92; 7-Scenes, README.
    """

    name = "rgbd"
    source = "RGB-D"  # where both layouts are there; each clip has its own
    licence = "unknown"
    scale = "metric"
    film = True

    def __init__(
        self,
        folder: str | Path | None,
        *,
        size: tuple[int, int] | None = None,
        even: bool = True,
    ) -> None:
        super().__init__(folder, size=size, even=even)
        found = [self.folder, *self.folder.glob("*"), *self.folder.glob("*/*")]
        self._found = [path for path in found if _layout_in(path, path == self.folder)]
        layouts = {_layout(path) for path in self._found}
        if len(layouts) == 1:
            self.source, self.licence = layouts.pop()[-2:]

    def _scenes(self) -> list[tuple[str, str]]:
        places = [path.relative_to(self.folder).as_posix() for path in self._found]
        return [(self.folder.resolve().name if p == "." else p, p) for p in places]

    def _scene(self, place: str) -> Scene:
        folder = self.folder / place
        layout = _layout(folder)
        views, problems = [], []
        names = _names(folder, layout)
        lenses = _lenses(folder, layout, names)
        for name in names:
            try:
                views.append(_view(folder, layout, lenses, name))
            except FileError as error:
                where = f"{place}/{layout.pose.format(name)}"
                problems.append(frame_problem("camera", where, str(error)))
        return Scene(tuple(views), tuple(problems), frozenset({"depth"}))

    def _key(self, index: int, view: View) -> str:
        return view.more.name

    def _views(self, place: str, keys: Sequence[Any]) -> list[View]:
        # Of these frames alone: a scene has thousands of small files.
        folder = self.folder / place
        layout = _layout(folder)
        lenses = _lenses(folder, layout, list(keys))
        return [_view(folder, layout, lenses, key) for key in keys]

    def _origin(self, place: str) -> dict[str, Any]:
        layout = _layout(self.folder / place)
        return {"source": layout.source, "licence": layout.licence, "scale": self.scale}

    def _depth(
        self, view: View, K: Float[Tensor, "3 3"], size: tuple[int, int]
    ) -> Float[Tensor, "h w"]:
        numbers = read_16_bit(view.more.depth)
        depth = torch.from_numpy(np.where(numbers == NO_DEPTH, 0, numbers).astype(np.float32))
        return map_on_frame(view.more.depth, depth * METRES, view.more.depth_lens, K, size)


def _layout_in(folder: Path, root: bool) -> bool:
    if (folder / "color").is_dir() and (folder / "pose").is_dir():
        return True
    # Looked into only where it is named so: other folders hold thousands of files.
    return (root or folder.name.startswith("seq-")) and any(folder.glob("frame-*.color.png"))


def _layout(folder: Path) -> Layout:
    return SCANNET if (folder / "color").is_dir() else SEVEN_SCENES


def _names(folder: Path, layout: Layout) -> list[str]:
    """Name the frames that have a picture or a camera, in the order of their numbers."""
    names: set[str] = set()
    for pattern in (layout.color, layout.pose):
        before, after = pattern.split("{}")
        where = (folder / before) if before else folder
        names |= {path.name[: -len(after)] for path in where.glob(f"*{after}")}
    return sorted(names, key=natural_order)


def _lenses(folder: Path, layout: Layout, names: Sequence[str]) -> tuple[Lens, Lens]:
    """Return the lenses of colour and depth; the sizes are those of the first files there."""
    if layout is SEVEN_SCENES:
        return SEVEN_SCENES_LENS, SEVEN_SCENES_LENS
    lenses = []
    for kind, pattern in (("color", layout.color), ("depth", layout.depth)):
        files = (folder / pattern.format(name) for name in names)
        first = next((file for file in files if file.is_file()), None)
        if first is None:
            raise FileError(f"{folder}: expected files {pattern.format('N')}, got none")
        path = folder / "intrinsic" / f"intrinsic_{kind}.txt"
        K = _matrix(path)
        centre = (float(K[0, 2] + 0.5), float(K[1, 2] + 0.5))
        lenses.append(Lens((float(K[0, 0]), float(K[1, 1])), centre, picture_size(first)))
    return lenses[0], lenses[1]


def _view(folder: Path, layout: Layout, lenses: tuple[Lens, Lens], name: str) -> View:
    color, depth = (folder / pattern.format(name) for pattern in (layout.color, layout.depth))
    camera = _matrix(folder / layout.pose.format(name))
    return View(color, lenses[0], camera, Files(name, depth, lenses[1]), (depth,))


def _matrix(path: Path) -> np.ndarray:
    """Read 4 x 4 numbers, infinite ones too: so ScanNet says that tracking was lost."""
    entries = read_text(path).split()
    try:
        numbers = [float(entry) for entry in entries]
    except ValueError as error:
        raise FileError(f"{path}: expected numbers, got '{error}'") from error
    if len(numbers) != 16:
        raise FileError(f"{path}: expected 4 x 4 numbers, got {len(numbers)}; is it truncated?")
    return np.reshape(numbers, (4, 4))

"""MegaScenes: photographs of places from Wikimedia Commons, and COLMAP models of them."""

from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from jog3r.data.readers.colmap_model import has_model, read_cameras, sparse_depth
from jog3r.data.readers.posed import PosedReader, Scene, View
from jog3r.errors import FileError
from jog3r.export.cameras_json import read_json

MODELS = "reconstruct/[0-9][0-9][0-9]/[0-9][0-9][0-9]/*/*"
"""Where models are: reconstruct/001/234/sparses/0; the folder in between has had other names."""


class MegaScenes(PosedReader):
    """Scenes of MegaScenes as its bucket lays them out.

    Layout::

        reconstruct/001/234/sparses/0/images.bin     cameras.bin, points3D.bin; COLMAP models
        images/001/234/commons/CATEGORY/0/pictures/NAME.jpg
        metadata/categories.json                     {"Name_of_the_place": 1234, ...}

    A clip is one reconstruction, `001/234/0`: photographs by many cameras, at any time of any
    year, in the order of their names, which means nothing; it has no frame rate. Every photograph
    has its own size and lens. Since a record has one size, all are fitted to `size`: straightened,
    cut to the centred part of that shape, resized, and K follows. An image of a model is the one
    file of its scene whose path ends with its name; those without are left out and counted. The
    caption is the name of the place. The annotations are CC BY 4.0; every photograph has its own
    licence, in the raw_metadata.json beside it.

    Args:
        folder: With reconstruct/ and images/.
        depth: Give the depth of the points that a photograph shows, at their pixels, 0 elsewhere.
        size: (height, width) [px] that every photograph is fitted to.

    Raises:
        FileError: No such folder, or a categories.json of another form.
        InputError: A malformed size.

    Source: github.com/MegaScenes/dataset, README; "MegaScenes: Scene-Level View Synthesis at
        Scale", ECCV 2024.
    """

    name = "megascenes"
    source = "MegaScenes"
    licence = "CC BY 4.0; photographs: each its own"

    def __init__(
        self, folder: str | Path | None, *, depth: bool = False, size: tuple[int, int] = (512, 512)
    ) -> None:
        super().__init__(folder, size=size)
        self.depth = depth
        self._names = _names(self.folder / "metadata" / "categories.json")

    def _scenes(self) -> list[tuple[str, str]]:
        models = (path for path in self.folder.glob(MODELS) if has_model(path))
        places = [path.relative_to(self.folder).as_posix() for path in models]
        return [(f"{_scene_of(place)}/{Path(place).name}", place) for place in places]

    def _scene(self, place: str) -> Scene:
        scene = self.folder / "images" / _scene_of(place)
        files = _by_ending(scene)
        views = tuple(
            View(
                files.get(camera.name, scene / camera.name),
                camera.lens,
                camera.world_from_camera,
                (self.folder / place, camera.points),
            )
            for camera in read_cameras(self.folder / place)
        )
        return Scene(views, parts=frozenset({"depth"} if self.depth else ()))

    def _depth(
        self, view: View, K: Float[Tensor, "3 3"], size: tuple[int, int]
    ) -> Float[Tensor, "h w"]:
        model, points = view.more
        return sparse_depth(model, points, view.world_from_camera, K, size)

    def _caption(self, place: str) -> str | None:
        return self._names.get(int(_scene_of(place).replace("/", "")))


def _names(path: Path) -> dict[int, str]:
    """Return the names of places by the numbers of their scenes."""
    if not path.is_file():
        return {}
    numbers = read_json(path)
    wrong = [name for name, number in numbers.items() if not isinstance(number, int)]
    if wrong:
        raise FileError(f"{path}: {wrong[0]}: expected the number of a scene, got another value")
    return {number: name.replace("_", " ") for name, number in numbers.items()}


def _by_ending(scene: Path) -> dict[str, Path]:
    """Return the files of a scene by every ending of their paths that only one of them has."""
    found: dict[str, Path | None] = {}
    for path in scene.rglob("*"):
        parts = path.relative_to(scene).parts
        for start in range(len(parts)):
            ending = "/".join(parts[start:])
            found[ending] = None if ending in found else path
    return {ending: path for ending, path in found.items() if path is not None}


def _scene_of(place: str) -> str:
    """Return the number of a scene as its folders say it, 001/234."""
    return "/".join(Path(place).parts[1:3])

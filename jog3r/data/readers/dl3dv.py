"""DL3DV-10K."""

import re
from pathlib import Path

from jog3r.data.readers.posed import PosedReader, Scene
from jog3r.data.readers.transforms_json import read_views
from jog3r.errors import FileError, InputError
from jog3r.result_checks import whole_number

PLACES = ("*", "*/*")
"""Where scenes are: on their own, or in the subsets 1K to 11K."""


class DL3DV(PosedReader):
    """Scenes of DL3DV-10K as its own download lays them out.

    Layout::

        1K/HASH/transforms.json                cameras of the full resolution (mostly 3840x2160)
        1K/HASH/images_4/frame_00001.png       4 or 8 times reduced (960P, 480P), or images/
        HASH/nerfstudio/transforms.json        the same in the benchmark's layout
        HASH/nerfstudio/images_4/...

    A clip is a scene, its id the hash. K is brought to the reduced pictures, OpenGL axes become
    OpenCV, and the lens distortion (k1 k2 p1 p2), which every scene has, is straightened: a crop
    of a few per cent, so that no pixel is black. Pictures that transforms.json does not list have
    no camera and are not used. A scene without transforms.json, a frame without its picture, and
    a hash that comes again are counted.

    Args:
        folder: Of subsets, or of scenes.
        reduced: How many times the pictures are reduced, 1, 2, 4 or 8; None for the largest there.
        size: As of every `PosedReader`.
        even: Likewise; False uses what lies beyond a gap too.

    Raises:
        FileError: No such folder.
        InputError: A `reduced` below 1.

    Source: github.com/DL3DV-10K/Dataset, README and issues 4, 16 and 32; Ling et al., "DL3DV-10K".
    """

    name = "dl3dv"
    source = "DL3DV-10K"
    film = True
    licence = "DL3DV-10K Terms of Use"

    def __init__(
        self,
        folder: str | Path | None,
        *,
        reduced: int | None = None,
        size: tuple[int, int] | None = None,
        even: bool = True,
    ) -> None:
        super().__init__(folder, size=size, even=even)
        if reduced is not None and whole_number("reduced", reduced) < 1:
            raise InputError(f"reduced: expected 1, 2, 4 or 8, got {reduced}")
        self.reduced = reduced

    def _scenes(self) -> list[tuple[str, str]]:
        folders = [path for place in PLACES for path in self.folder.glob(place) if path.is_dir()]
        inside = ("nerfstudio", "images")  # of a scene: not looked into, there are many files
        folders = [path for path in folders if not path.name.startswith(inside)]
        scenes = [path for path in folders if _is_scene(path)]
        return [(path.name, path.relative_to(self.folder).as_posix()) for path in scenes]

    def _scene(self, place: str) -> Scene:
        scene = self.folder / place
        scene = scene / "nerfstudio" if (scene / "nerfstudio").is_dir() else scene
        pictures = self._pictures(scene)
        views, problems = read_views(
            scene / "transforms.json",
            f"{place}/transforms.json",
            lambda file: pictures / Path(file).name,
        )
        return Scene(views, problems)

    def _pictures(self, scene: Path) -> Path:
        there = _reductions(scene)
        if not there or self.reduced not in (None, *there):
            wanted = "images or images_4" if self.reduced is None else _folder_name(self.reduced)
            raise FileError(
                f"{scene}: expected a folder {wanted}, got {[_folder_name(n) for n in there]}"
            )
        return scene / _folder_name(min(there) if self.reduced is None else self.reduced)


def _is_scene(folder: Path) -> bool:
    files = folder / "nerfstudio" if (folder / "nerfstudio").is_dir() else folder
    return (files / "transforms.json").is_file() or bool(_reductions(files))


def _reductions(scene: Path) -> list[int]:
    names = (re.fullmatch(r"images(?:_(\d+))?", path.name) for path in scene.iterdir())
    return sorted(int(name[1] or 1) for name in names if name)


def _folder_name(reduced: int) -> str:
    return "images" if reduced == 1 else f"images_{reduced}"

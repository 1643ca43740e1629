"""Folders of nerfstudio: transforms.json and pictures."""

from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.data.clip import Part
from jog3r.data.readers.pictures import read_16_bit, read_stencil
from jog3r.data.readers.posed import PosedReader, Scene, View, map_on_frame
from jog3r.data.readers.transforms_json import read_views
from jog3r.export.nerfstudio import text_entry

DEPTH_UNIT = 1e-3
"""Of depth files, in lengths of the file's world: nerfstudio's default."""
MAPS: dict[Part, str] = {"depth": "depth_file_path", "mask": "mask_path"}


class NerfstudioFolder(PosedReader):
    """A scene of nerfstudio, or a folder of such scenes.

    Layout::

        SCENE/transforms.json     fl_x fl_y cx cy w h, k1 k2 k3 k4 p1 p2; per frame file_path and
                                  transform_matrix (world_from_camera, OpenGL axes), perhaps
                                  depth_file_path and mask_path
        SCENE/images/...          what file_path names, as large as w x h or reduced

    Axes become OpenCV, and `applied_transform` is undone. Lenses with distortion are straightened,
    fisheye and equirectangular ones left out and counted. Frames come in the order of their names.
    Depth (16-bit PNG, 1/1000 of a length) and masks (not black: use) are there where every frame
    has them.

    Args:
        folder: SCENE, or the folder of several.
        size: As of every `PosedReader`.
        even: Likewise; True for the frames of a film.

    Source: nerfstudio documentation, "Data conventions".
    """

    name = "nerfstudio"
    source = "nerfstudio"
    licence = "unknown"

    def _scenes(self) -> list[tuple[str, str]]:
        if (self.folder / "transforms.json").is_file():
            return [(self.folder.resolve().name, ".")]
        found = sorted(self.folder.glob("*/transforms.json"))
        return [(path.parent.name, path.parent.name) for path in found]

    def _scene(self, place: str) -> Scene:
        folder = self.folder / place
        path = folder / "transforms.json"
        views, problems = read_views(path, _shown(place), lambda file: folder / file)
        maps: dict[Part, str] = {
            part: key for part, key in MAPS.items() if all(key in v.more for v in views)
        }
        views = (_with_maps(view, path, maps) for view in views)
        return Scene(tuple(views), problems, frozenset(maps))

    def _depth(
        self, view: View, K: Float[Tensor, "3 3"], size: tuple[int, int]
    ) -> Float[Tensor, "h w"]:
        depth = torch.from_numpy(read_16_bit(view.more["depth"]).astype("float32"))
        return map_on_frame(view.more["depth"], depth * DEPTH_UNIT, view.lens, K, size)

    def _mask(
        self, view: View, K: Float[Tensor, "3 3"], size: tuple[int, int]
    ) -> Bool[Tensor, "h w"]:
        mask = read_stencil(view.more["mask"]).float()
        return map_on_frame(view.more["mask"], mask, view.lens, K, size) > 0


def _with_maps(view: View, path: Path, maps: dict[Part, str]) -> View:
    files = {part: path.parent / text_entry(path, view.more, key) for part, key in maps.items()}
    return view._replace(more=files, beside=tuple(files.values()))


def _shown(place: str) -> str:
    return (Path(place) / "transforms.json").as_posix()

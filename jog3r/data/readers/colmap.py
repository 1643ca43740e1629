"""Folders of COLMAP: images/ and sparse/0/."""

from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from jog3r.data.readers.colmap_model import has_model, read_cameras, sparse_depth
from jog3r.data.readers.posed import PosedReader, Scene, View
from jog3r.errors import FileError

PLACES = ("sparse/0", "sparse", ".")
"""Where in a scene a model may be."""


class ColmapFolder(PosedReader):
    """A project of COLMAP, or a folder of such projects.

    Layout::

        SCENE/images/...                 pictures, under the names that the model gives them
        SCENE/sparse/0/cameras.bin       or .txt; lenses SIMPLE_PINHOLE, PINHOLE, SIMPLE_RADIAL,
                                         RADIAL, OPENCV
        SCENE/sparse/0/images.bin        camera_from_world, quaternion w first, OpenCV axes
        SCENE/sparse/0/points3D.bin      wanted for depth only

    The model may also be in sparse/ or in SCENE itself. Lenses with distortion are straightened;
    a model with a fisheye lens is left out and counted, and so is an image whose picture is
    missing or whose quaternion is none. Frames come in the order of their names. Pictures that
    COLMAP did not register have no camera and are not used.

    Args:
        folder: SCENE, or the folder of several.
        depth: Give the depth of the points that an image shows, at their pixels, 0 elsewhere.
        size: As of every `PosedReader`.
        even: Likewise; True for the frames of a film.

    Source: COLMAP documentation, "Output Format" and "Camera Models".
    """

    name = "colmap"
    source = "COLMAP"
    licence = "unknown"

    def __init__(
        self,
        folder: str | Path | None,
        *,
        depth: bool = False,
        size: tuple[int, int] | None = None,
        even: bool = False,
    ) -> None:
        super().__init__(folder, size=size, even=even)
        self.depth = depth

    def _scenes(self) -> list[tuple[str, str]]:
        if _model_in(self.folder) is not None:
            return [(self.folder.resolve().name, ".")]
        scenes = [path for path in self.folder.glob("*") if _model_in(path) is not None]
        return [(path.name, path.name) for path in scenes]

    def _scene(self, place: str) -> Scene:
        scene = self.folder / place
        model = _model_in(scene)
        if model is None:
            raise FileError(f"{scene}: expected a COLMAP model, got none; was it removed?")
        views = tuple(
            View(
                scene / "images" / camera.name,
                camera.lens,
                camera.world_from_camera,
                (model, camera.points),
            )
            for camera in read_cameras(model)
        )
        return Scene(views, parts=frozenset({"depth"} if self.depth else ()))

    def _depth(
        self, view: View, K: Float[Tensor, "3 3"], size: tuple[int, int]
    ) -> Float[Tensor, "h w"]:
        model, points = view.more
        return sparse_depth(model, points, view.world_from_camera, K, size)


def _model_in(scene: Path) -> Path | None:
    return next((scene / place for place in PLACES if has_model(scene / place)), None)

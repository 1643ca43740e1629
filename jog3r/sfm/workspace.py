"""A temporary folder with what COLMAP works on: pictures, masks and its database."""

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pycolmap
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from jog3r.results import Video

logger = logging.getLogger("jog3r.sfm")


@dataclass(frozen=True)
class Workspace:
    """Where the pictures of a video lie for COLMAP; frame t is image t + 1 of the database.

    Args:
        folder: holds `images`, `masks` where there are masks, `database.db` and `models`.
        frames: how many pictures.
        size: (height, width) [px].
        seed: of every random choice.
    """

    folder: Path
    frames: int
    size: tuple[int, int]
    seed: int

    @property
    def images(self) -> Path:
        """The pictures, `000000.png` and so on."""
        return self.folder / "images"

    @property
    def masks(self) -> Path:
        """The masks, named after their pictures as COLMAP wants them; missing if all is used."""
        return self.folder / "masks"

    @property
    def database(self) -> Path:
        """Features and matches."""
        return self.folder / "database.db"

    @property
    def models(self) -> Path:
        """What COLMAP writes beside what it returns."""
        return self.folder / "models"


@contextlib.contextmanager
def open_workspace(
    video: Video, masks: Bool[Tensor, "t h w"] | None, seed: int
) -> Iterator[Workspace]:
    """Lay a video out for COLMAP, quietly, and leave nothing behind whatever happens.

    Args:
        video: its frames are written without loss.
        masks: True = use; no feature is taken outside.
        seed: of every random choice.
    """
    with tempfile.TemporaryDirectory(prefix="jog3r-sfm-") as name, quiet():
        space = Workspace(Path(name), len(video), (video.height, video.width), seed)
        for folder in (space.images, space.models):
            folder.mkdir()
        for number, frame in enumerate(video.frames):
            Image.fromarray(frame.numpy()).save(space.images / picture_name(number))
        if masks is not None:
            space.masks.mkdir()
            for number, mask in enumerate(masks):
                picture = Image.fromarray(mask.byte().numpy() * 255)
                picture.save(space.masks / f"{picture_name(number)}.png")
        pycolmap.set_random_seed(seed)
        yield space


def picture_name(frame: int) -> str:
    """Name the picture of a frame so that names sort as frames do."""
    return f"{frame:06d}.png"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep COLMAP's own log, also its errors, off the screen; ours says what failed."""
    before = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = int(pycolmap.logging.FATAL)
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = before

"""What is known of K, in the form that COLMAP takes: camera models and their parameters."""

from dataclasses import dataclass

import pycolmap
import torch
from torch import Tensor

from jog3r.sfm.workspace import Workspace

SAME = 1e-3
"""Relative difference of focal lengths up to which frames share a lens, or pixels are square."""
FOCAL_SHARES = (0.55, 0.85)
"""Focal lengths to try where nothing is known, as shares of the longer side: fields of view of 85
and 61 degrees. From a longer guess than these, wide lenses end in a wrong solution; from these,
the narrow ones are found."""


@dataclass(frozen=True)
class Lenses:
    """The lenses of a video.

    Args:
        K: (T, 3, 3) float64 [px].
        known: False where the focal length is to be found; it is shared by all frames then.
    """

    K: Tensor
    known: bool

    @property
    def shared(self) -> bool:
        """Whether all frames have the same lens."""
        first = self.K[:1]
        return not self.known or bool((self.K - first).abs().max() <= SAME * first[0, 0, 0])

    def cameras(self, size: tuple[int, int]) -> list[pycolmap.Camera]:
        """Return the camera of every frame, or the one that they share."""
        used = self.K[:1] if self.shared else self.K
        return [_camera(K, size, number + 1, self.known) for number, K in enumerate(used)]


def _camera(K: Tensor, size: tuple[int, int], number: int, known: bool) -> pycolmap.Camera:
    fx, fy, cx, cy = (float(K[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    # Square pixels are one unknown less, and that decides where the camera moves ahead.
    square = not known and abs(fx - fy) <= SAME * fx
    model, params = ("SIMPLE_PINHOLE", [fx, cx, cy]) if square else ("PINHOLE", [fx, fy, cx, cy])
    camera = pycolmap.Camera(
        model=model, width=size[1], height=size[0], params=params, camera_id=number
    )
    camera.has_prior_focal_length = True
    return camera


def set_lenses(space: Workspace, lenses: Lenses) -> None:
    """Write lenses into the database, where the mappers look for them."""
    with pycolmap.Database.open(space.database) as database:
        for camera in lenses.cameras(space.size):
            database.update_camera(camera)


def guesses(space: Workspace) -> list[Lenses]:
    """Return the lenses to try for a video of which nothing is known."""
    height, width = space.size
    found = []
    for share in FOCAL_SHARES:
        K = torch.eye(3, dtype=torch.float64)
        K[0, 0] = K[1, 1] = share * max(height, width)
        K[0, 2], K[1, 2] = width / 2, height / 2
        found.append(Lenses(K.repeat(space.frames, 1, 1), known=False))
    return found

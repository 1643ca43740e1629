"""jog3r: one video diffusion model that generates video and reconstructs it in 3D.

    from jog3r import JOG3R

    model = JOG3R.from_pretrained("tiny")
    shot = model.generate("a red sphere in a brick room", cameras=True, seed=0)
    scene = model.reconstruct("clip.mp4")

`import jog3r` itself is light: the names below are imported when they are first used.
"""

from typing import TYPE_CHECKING, Any

# Imported for its effect, and before anything that may import torchvision.
from jog3r import torchvision_cpu as _torchvision_cpu  # noqa: F401
from jog3r.errors import (
    AlignmentError,
    FileError,
    InputError,
    Jog3rError,
    MissingPackageError,
    MissingPartError,
    SaveError,
)

if TYPE_CHECKING:
    from jog3r.model import JOG3R
    from jog3r.results import (
        Cameras,
        Generation,
        Mesh,
        PointCloud,
        PointSelection,
        Reconstruction,
        Video,
    )

__version__ = "0.1.0"

__all__ = [
    "JOG3R",
    "AlignmentError",
    "Cameras",
    "FileError",
    "Generation",
    "InputError",
    "Jog3rError",
    "Mesh",
    "MissingPackageError",
    "MissingPartError",
    "PointCloud",
    "PointSelection",
    "Reconstruction",
    "SaveError",
    "Video",
    "__version__",
]

_HOME_OF = {
    "JOG3R": "jog3r.model",
    "Cameras": "jog3r.results",
    "Generation": "jog3r.results",
    "Mesh": "jog3r.results",
    "PointCloud": "jog3r.results",
    "PointSelection": "jog3r.results",
    "Reconstruction": "jog3r.results",
    "Video": "jog3r.results",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'jog3r' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value  # the next access does not come here again
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

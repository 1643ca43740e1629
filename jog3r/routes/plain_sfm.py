"""Plain structure from motion of a video, without any model: what the others are compared with."""

from typing import TYPE_CHECKING, Any

from jog3r.errors import InputError
from jog3r.routes.arguments import AlignmentOptions
from jog3r.routes.priors import Priors

if TYPE_CHECKING:
    from jog3r.results import Reconstruction

METHODS = ("learned", "sfm")


def check_method(method: Any, options: AlignmentOptions, cameras: Any) -> None:
    """Check that a method is known, and that plain structure from motion is not told too much.

    Raises:
        InputError: No such method, or options that it has no use for.
    """
    if method not in METHODS:
        raise InputError(f"method: expected one of {METHODS}, got {method!r}; choose one")
    plain = AlignmentOptions(regularisers=None, refine="default", suits=options.suits)
    if method == "sfm" and (cameras is not None or options != plain):
        raise InputError(
            'method: expected "learned" beside cameras, shared_focal, graph, window, overlap,'
            ' regularisers or refine, got "sfm", which takes K and masks only; leave them out'
        )


def plain_sfm(
    source: Any,
    *,
    K: Any,
    masks: Any,
    stride: int,
    max_frames: int | None,
    seed: int,
) -> "Reconstruction":
    """Reconstruct a video by COLMAP alone; `JOG3R.reconstruct` explains the arguments.

    Raises:
        InputError: What `read_video` and `Priors` refuse.
        AlignmentError: Too few frames that COLMAP can register.
        FileError: What `read_video` cannot read.
    """
    from jog3r.data.media import read_video
    from jog3r.sfm import structure_from_motion

    video = read_video(source, stride=stride, max_frames=max_frames)
    size = (video.height, video.width)
    priors = Priors.of(K=K, cameras=None, masks=masks, size=size, frames=len(video))
    return structure_from_motion(video, K=priors.K, masks=priors.masks, seed=seed)

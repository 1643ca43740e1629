"""What alignment is told besides pointmaps: checked once, where it comes in."""

import torch
from torch import Tensor

from jog3r.alignment.regularisers import Regularisers
from jog3r.errors import InputError
from jog3r.results import Video


def check_options(
    *, graph: object, regularisers: object, shared_focal: object, refine: object
) -> None:
    """Check the kinds of the options of `solve`.

    Raises:
        InputError: a graph that is neither a name nor pairs of frames, regularisers of another
            kind, or anything but True or False for the rest.
    """
    if isinstance(graph, Tensor):
        if graph.ndim != 2 or graph.shape[1] != 2 or not len(graph) or graph.dtype != torch.int64:
            got = f"{tuple(graph.shape)} {graph.dtype}"
            raise InputError(
                f"graph: expected pairs of frame numbers (pairs, 2), at least one, got {got}; use"
                " .long(), or None for all pairs"
            )
    elif not isinstance(graph, str | None):
        got = type(graph).__name__
        raise InputError(
            f"graph: expected a name or a tensor of pairs, got {got}; use torch.as_tensor()"
        )
    if not isinstance(regularisers, Regularisers | None):
        raise InputError(
            f"regularisers: expected Regularisers or None, got {regularisers!r}; Regularisers.off()"
            " switches them off"
        )
    for name, value in (("shared_focal", shared_focal), ("refine", refine)):
        if not isinstance(value, bool):
            raise InputError(f"{name}: expected True or False, got {value!r}; choose one")


def check_video(video: object, frames: int, size: tuple[int, int]) -> None:
    """Check that a video has the frames of the pointmaps.

    Raises:
        InputError: no Video, or one of another length or size.
    """
    if not isinstance(video, Video):
        got = type(video).__name__
        raise InputError(f"video: expected a jog3r.Video, got {got}; use Video(frames, fps)")
    if (len(video), video.height, video.width) != (frames, *size):
        raise InputError(
            f"video: expected {frames} frames of {size[1]}x{size[0]} px, as the pointmaps, got"
            f" {video!r}; resize it or leave it out"
        )

"""Videos of any length: windows that overlap, aligned one by one, stitched, and closed to loops."""

from collections.abc import Mapping, Sequence
from math import ceil
from numbers import Integral
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.alignment.chain import Chain
from jog3r.alignment.loop_closing import found_loops, loop_flags
from jog3r.alignment.off_load import frame_store, new_folder
from jog3r.alignment.pose_graph import Edge, average
from jog3r.alignment.priors import by_frame
from jog3r.alignment.regularisers import Regularisers
from jog3r.alignment.similarities import identity, stacked
from jog3r.alignment.solver import GREY, GREY_FPS
from jog3r.alignment.window_anchors import first_window, in_given_world, say_scale
from jog3r.alignment.window_solver import (
    Known,
    RefineWindow,
    SolvedWindow,
    Window,
    WindowPointmaps,
    WindowSolver,
)
from jog3r.errors import InputError
from jog3r.geometry import Similarity
from jog3r.results import Cameras, Reconstruction, Video

METRIC_WEIGHTS = torch.tensor([0.0] * 6 + [20.0], dtype=torch.float64)
"""Metric pointmaps say the scale of every window on its own, to 5 %."""


def align_windows(
    pointmaps: WindowPointmaps,
    frames: int,
    *,
    video: Video | None = None,
    graph: str = "window-3",
    window: int = 32,
    overlap: int = 8,
    intrinsics: Float[Tensor, "3 3"] | Float[Tensor, "t 3 3"] | None = None,
    cameras: Float[Tensor, "t 4 4"] | Mapping[int, Tensor] | None = None,
    masks: Bool[Tensor, "t h w"] | None = None,
    regularisers: Regularisers | None = None,
    shared_focal: bool = True,
    refine: bool = True,
    refine_window: RefineWindow | None = None,
    loop_check: bool = True,
    folder: str | Path | None = None,
) -> Reconstruction:
    """Align a video window by window, in time that grows as its length and bounded memory.

    1. The focal length: the median of three windows spread over the video.
    2. Each window is aligned on its own (`jog3r.alignment.align`) and joined to the one before by
       the similarity of their common frames, over which it fades in.
    3. Loop check: where the camera seems to have come back, the pointmaps of two such frames are
       asked for. If they agree, the drift they show is spread over all windows.

    Args:
        pointmaps: called with the numbers of some frames and with pairs (E, 2) that count **within
            these frames**; returns the pointmaps of those pairs, in that order. The frames are a
            window, or two frames far apart that may close a loop.
        frames: of the video.
        video: the frames themselves; None for grey ones.
        graph: which frames of a window are paired, by its name, as in `align`.
        window: most frames of a window; the windows of a video are equally long, to one frame.
        overlap: frames that two windows have in common.
        intrinsics: as in `align`.
        cameras: known ones, of all frames or by number; they are kept as they are.
        masks: as in `align`.
        regularisers: as in `align`.
        shared_focal: as in `align`, for the whole video.
        refine: as in `align`.
        refine_window: called with the numbers of a window's frames and with its alignment, before
            it is stitched; returns it with better cameras, such as `refine_photometrically` does.
        loop_check: look for loops and close them.
        folder: new or empty; takes `depth.npy` and `confidence.npy`, float32, which the result then
            maps into memory. None keeps both in memory.

    Returns:
        The unit of length is that of the first window, or of the known cameras; the world is the
        first camera, or that of the known ones. The flags name windows that the camera only turns
        in, weak stitches and loops.

    Raises:
        AlignmentError: no camera explains a window, or two have no confident pixels in common.
        InputError: arguments that do not fit each other or the pointmaps.
        SaveError: the folder cannot be written.
    """
    spans = cut(frames, window, overlap)
    given = {} if cameras is None else by_frame(cameras, frames)
    _check_lengths(frames, video=video, intrinsics=intrinsics, masks=masks)
    known = Known(intrinsics, given, masks, regularisers, shared_focal, refine, refine_window)
    with new_folder(folder) as place:
        return _aligned(WindowSolver(pointmaps, graph, known), spans, video, place, loop_check)


def _aligned(
    solver: WindowSolver,
    spans: Sequence[Window],
    video: Video | None,
    folder: Path | None,
    loop_check: bool,
) -> Reconstruction:
    if len(spans) > 1:
        solver = solver.with_focal(spans)
    given = solver.known.cameras
    chain = _joined(solver, spans, video, folder)
    loops = found_loops(chain, solver) if loop_check else []
    before, after = _placed(chain, loops, given)
    chain.scale_depth(after)
    return Reconstruction(
        video=_grey(spans[-1].stop, chain.size) if video is None else video,
        cameras=_cameras(chain, after, given),
        depth=chain.depth.tensor(),
        confidence=chain.confidence.tensor(),
        scale="given-poses" if _scale_is_given(chain, given) else chain.unit,
        mask=solver.known.masks,
        flags=(*chain.flags(), *loop_flags(chain, loops, before, after)),
    )


def _joined(
    solver: WindowSolver, spans: Sequence[Window], video: Video | None, folder: Path | None
) -> Chain:
    chain: Chain | None = None
    for k, solved in enumerate(map(solver.solve, spans)):
        if chain is None:
            chain = _new_chain(solved, spans[-1].stop, video, folder)
        chain.add(solved)
        chain.remember(spans[k + 1].first if k + 1 < len(spans) else None)
    assert chain is not None
    return chain


def _new_chain(
    solved: SolvedWindow, frames: int, video: Video | None, folder: Path | None
) -> Chain:
    height, width = solved.found.depth.shape[1:]
    if video is not None and (video.height, video.width) != (height, width):
        raise InputError(
            f"video: expected {width}x{height} px as the pointmaps have, got {video!r}; resize it"
        )
    depth, confidence = (
        frame_store(folder and folder / f"{name}.npy", (frames, height, width))
        for name in ("depth", "confidence")
    )
    return Chain(depth, confidence)


def _placed(
    chain: Chain, loops: list[Edge], given: Mapping[int, Tensor]
) -> tuple[Similarity, Similarity]:
    """Return world_from_window as the chain has it, and after all measurements agree."""
    before = stacked(chain.placed)
    anchors = chain.anchors
    if anchors:
        before = in_given_world(before, chain.blended_cameras(before), given, chain.lengths[0])
    elif not loops and chain.unit != "metric":
        return before, before
    else:
        anchors = [first_window(chain.lengths[0])]
    scales = [
        Edge(None, k, identity(), length, METRIC_WEIGHTS) for k, length in enumerate(chain.lengths)
    ]
    edges = [*chain.edges, *loops, *anchors, *(scales if chain.unit == "metric" else [])]
    return before, average(edges, before)


def _scale_is_given(chain: Chain, given: Mapping[int, Tensor]) -> bool:
    path = chain.blended_cameras(stacked(chain.placed))
    return say_scale(path, list(given), chain.lengths[0])


def _cameras(chain: Chain, placed: Similarity, given: Mapping[int, Tensor]) -> Cameras:
    world_from_camera = chain.blended_cameras(placed).float()
    for frame, camera in given.items():
        world_from_camera[frame] = camera
    return Cameras(world_from_camera, chain.blended_intrinsics().float(), chain.size)


def _grey(frames: int, size: tuple[int, int]) -> Video:
    # One number in memory, however long the video is.
    return Video(torch.tensor(GREY, dtype=torch.uint8).expand(frames, *size, 3), fps=GREY_FPS)


def _check_lengths(
    frames: int, *, video: Video | None, intrinsics: Tensor | None, masks: Tensor | None
) -> None:
    """Check what the windows would not see: that nothing is longer or shorter than the video."""
    kinds = (("video", video, Video), ("intrinsics", intrinsics, Tensor), ("masks", masks, Tensor))
    for name, value, kind in kinds:
        if not isinstance(value, kind | None):
            got = type(value).__name__
            raise InputError(f"{name}: expected a {kind.__name__}, got {got}; make one of it")
    lengths = {
        "video": None if video is None else len(video),
        "intrinsics": None if intrinsics is None or intrinsics.ndim < 3 else len(intrinsics),
        "masks": None if masks is None else len(masks),
    }
    for name, length in lengths.items():
        if length not in (None, frames):
            raise InputError(f"{name}: expected {frames} frames, got {length}")


def cut(frames: int, window: int, overlap: int) -> list[Window]:
    """Cut a video into as few windows as possible, of equal length up to one frame.

    Args:
        frames: of the video.
        window: most frames of a window.
        overlap: frames that two windows have in common.

    Raises:
        InputError: fewer than two frames, or an overlap that leaves no step from window to window.

    Example:
        >>> [str(each) for each in cut(20, window=9, overlap=3)]
        ['window 0 (frames 0-8)', 'window 1 (frames 6-14)', 'window 2 (frames 12-19)']
    """
    if not isinstance(frames, Integral) or frames < 2:
        raise InputError(f"frames: expected at least 2, got {frames!r}; pass their number")
    if not isinstance(window, Integral) or window < 2:
        raise InputError(f"window: expected at least 2 frames, got {window!r}; choose more")
    if not isinstance(overlap, Integral) or not 1 <= overlap < window:
        raise InputError(
            f"overlap: expected from 1 to {window - 1} frames, less than a window, got {overlap!r}"
        )
    count = max(1, ceil((frames - overlap) / (window - overlap)))
    ends = [overlap - (-(frames - overlap) * k // count) for k in range(count + 1)]
    return [Window(k, ends[k] - overlap, ends[k + 1]) for k in range(count)]

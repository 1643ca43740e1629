"""One window of a long video: ask for its pointmaps, align them with all that is known of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from jog3r.alignment.graphs import pair_graph
from jog3r.alignment.pairs import Alignment, PairPointmaps
from jog3r.alignment.regularisers import Regularisers
from jog3r.alignment.solver import solve
from jog3r.alignment.stitching import Views
from jog3r.alignment.window_anchors import centred, holds
from jog3r.errors import AlignmentError, InputError
from jog3r.geometry import focal, intrinsics_from_focal

WindowPointmaps = Callable[[Sequence[int], Int[Tensor, "e 2"]], PairPointmaps]
"""Gives the pointmaps of pairs of frames: first the numbers of the frames of a window, which a
video backbone sees in one pass, then the pairs, which count **within that window**."""

RefineWindow = Callable[[Sequence[int], Alignment], Alignment]
"""Moves the cameras of a window, given the numbers of its frames; known ones have to stay."""

FOCAL_WINDOWS = 3
"""Windows that are aligned beforehand to learn the focal length of the video."""


@dataclass(frozen=True)
class Window:
    """Frames `first` to before `stop` of a video.

    Args:
        number: of the window, from 0.
        first: its first frame.
        stop: the frame after its last one.
    """

    number: int
    first: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.first

    def __str__(self) -> str:
        return f"window {self.number} ({self.frames})"

    @property
    def frames(self) -> str:
        """Its frames, in words."""
        return f"frames {self.first}-{self.stop - 1}"


@dataclass(frozen=True)
class Known:
    """What is known of all frames, and how windows are aligned; see `align_windows`."""

    intrinsics: Float[Tensor, "3 3"] | Float[Tensor, "t 3 3"] | None
    cameras: Mapping[int, Tensor]
    masks: Bool[Tensor, "t h w"] | None
    regularisers: Regularisers | None
    shared_focal: bool
    refine: bool
    refine_window: RefineWindow | None = None


@dataclass(frozen=True)
class SolvedWindow:
    """A window in its own world.

    Args:
        window: which one.
        found: its alignment.
        known: its known cameras by number within the window.
        views: the alignment in float64, in the first known camera if there is one.
    """

    window: Window
    found: Alignment
    known: Mapping[int, Tensor]
    views: Views


@dataclass(frozen=True)
class WindowSolver:
    """Aligns windows, one at a time.

    Args:
        pointmaps: where the pointmaps come from.
        graph: which frames of a window are paired.
        known: of all frames.
    """

    pointmaps: WindowPointmaps
    graph: str
    known: Known

    def solve(self, window: Window) -> SolvedWindow:
        """Align one window.

        Raises:
            AlignmentError: no camera explains its pointmaps; names the window.
            InputError: pointmaps or knowledge that do not fit; names the window.
        """
        frames = range(window.first, window.stop)
        try:
            found = self.align(frames, self.graph, self.known.regularisers)
        except AlignmentError as error:
            raise AlignmentError(f"{window}: {error}") from error
        except InputError as error:
            raise InputError(f"{window}: {error}") from error
        if self.known.refine_window is not None:
            found = self.known.refine_window(list(frames), found)
        held = self.cameras_of(frames)
        masks = self.known.masks
        views = views_of(found, None if masks is None else masks[list(frames)])
        return SolvedWindow(window, found, held, centred(views, held))

    def align(
        self, frames: Sequence[int], graph: str, regularisers: Regularisers | None
    ) -> Alignment:
        """Align any frames.

        Raises:
            AlignmentError: no camera explains their pointmaps.
            InputError: pointmaps or knowledge that do not fit.
        """
        known, chosen = self.known, list(frames)
        K, held = known.intrinsics, self.cameras_of(chosen)
        return solve(
            self.ask(chosen, pair_graph(graph, len(chosen))),
            intrinsics=K if K is None or K.ndim < 3 else K[chosen],
            cameras=held if holds(held, len(chosen)) else None,
            masks=None if known.masks is None else known.masks[chosen],
            regularisers=regularisers,
            shared_focal=known.shared_focal,
            refine=known.refine,
        )

    def cameras_of(self, frames: Sequence[int]) -> dict[int, Tensor]:
        """Return the known cameras of some frames, by their number among these."""
        known = self.known.cameras
        return {n: known[frame] for n, frame in enumerate(frames) if frame in known}

    def ask(self, frames: Sequence[int], pairs: Tensor) -> PairPointmaps:
        """Return the pointmaps of pairs that count within some frames.

        Raises:
            InputError: those of other pairs came back, or none.
        """
        found = self.pointmaps(list(frames), pairs)
        if not isinstance(found, PairPointmaps):
            raise InputError(
                f"pointmaps: expected PairPointmaps to come back, got {type(found).__name__};"
                " return those of the pairs asked for"
            )
        if not torch.equal(found.pairs.cpu(), pairs):
            raise InputError(
                f"pointmaps: expected the pairs asked for, {pairs.tolist()}, got"
                f" {found.pairs.tolist()}; number them within the window, in the order asked"
            )
        return found

    def with_focal(self, windows: Sequence[Window]) -> "WindowSolver":
        """Return a solver that holds the focal length which some windows, spread evenly, agree on.

        It is the median of theirs, with the principal point at the image centre. Their pointmaps
        are asked for twice. Nothing changes where the intrinsics are known or each frame has its
        own.

        Raises:
            AlignmentError: no camera explains any of these windows.
        """
        if self.known.intrinsics is not None or not self.known.shared_focal:
            return self
        aligner = replace(self, known=replace(self.known, refine_window=None))
        count = min(FOCAL_WINDOWS, len(windows))
        chosen = torch.linspace(0, len(windows) - 1, count).round().int().tolist()
        solved, failed = [], []
        for k in chosen:
            try:
                solved.append(aligner.solve(windows[k]).found)
            except AlignmentError as error:
                failed.append(error)
        if not solved:
            raise failed[0]
        focals = torch.stack([focal(each.K).median() for each in solved])
        height, width = solved[0].depth.shape[1:]
        K = intrinsics_from_focal(focals.median(), (height, width)).cpu()
        return WindowSolver(self.pointmaps, self.graph, replace(self.known, intrinsics=K))


def views_of(found: Alignment, masks: Tensor | None) -> Views:
    """Return what stitching needs of an alignment; masked pixels weigh nothing."""
    weights = found.confidence.cpu() - 1.0
    if masks is not None:
        weights = torch.where(masks, weights, 0.0)
    return Views(
        found.world_from_camera.double().cpu(), found.K.double().cpu(), found.depth.cpu(), weights
    )

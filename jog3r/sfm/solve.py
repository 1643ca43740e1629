"""From a video to a sparse model that can be trusted, or to the reason why there is none."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.results import Video
from jog3r.sfm.bundle import COARSE_PX, adjust
from jog3r.sfm.features import find_matches
from jog3r.sfm.lenses import Lenses, guesses
from jog3r.sfm.mapping import map_from_scratch, score
from jog3r.sfm.matches import MIN_PAIR_MATCHES, Matches, agreement, only_turns
from jog3r.sfm.reading import read_matches
from jog3r.sfm.sparse import SparseModel
from jog3r.sfm.workspace import Workspace, open_workspace

MIN_START_AGREEMENT = 0.2
"""Share of the matches that cameras given must explain to be worth adjusting. Cameras that are off
by 2.5 degrees explain a quarter; from worse ones, adjustment can end in a wrong solution."""
MIN_ADJUSTED_AGREEMENT = 0.75
"""The same after adjustment; below, the cameras were too far off all the same. True cameras of real
clips explain 85 to 99 %."""
MIN_AGREEMENT = 0.5
"""The same for any solution, of the matches between its frames; below, it is not trusted."""
MIN_REGISTERED = 0.5
"""Share of the frames that need a camera for a solution to stand for the video."""


@dataclass(frozen=True)
class Solution:
    """What was found.

    Args:
        model: None where nothing can be trusted; the last of `flags` says why.
        mapped: whether it was mapped from scratch.
        flags: what is unusual, each a code and a sentence.
    """

    model: SparseModel | None
    mapped: bool
    flags: tuple[str, ...]


def solve(
    video: Video,
    masks: Bool[Tensor, "t h w"] | None,
    K: Float[Tensor, "t 3 3"] | None,
    *,
    K_known: bool,
    start: Float[Tensor, "t 4 4"] | None,
    seed: int,
    threads: int,
) -> Solution:
    """Match features, then adjust the cameras given, or map them from scratch.

    Args:
        video: at least two frames.
        masks: True = use.
        K: of every frame; None if nothing is known of it.
        K_known: whether to hold K.
        start: world_from_camera to begin with; None maps from scratch.
        seed: of every random choice.
        threads: CPU threads.
    """
    with open_workspace(video, masks, seed) as space:
        lenses = [] if K is None else [Lenses(K.double(), K_known)]
        lenses += [] if K_known else guesses(space)
        find_matches(space, lenses[0], threads)
        matches = read_matches(space)
        if len(matches) < MIN_PAIR_MATCHES:
            return _none("no-matches: too few features match between frames to find cameras")
        if only_turns(matches, lenses[0].K, K_known):
            return _none("no-parallax: the camera only turns or stands still; positions are free")
        if start is not None:
            model = _adjusted(space, lenses[0], start, matches)
            if model is not None:
                return _trusted(model, matches, mapped=False)
        return _trusted(map_from_scratch(space, matches, lenses), matches, mapped=True)


def _adjusted(
    space: Workspace, lenses: Lenses, start: Tensor, matches: Matches
) -> SparseModel | None:
    if agreement(matches, start, lenses.K) < MIN_START_AGREEMENT:
        return None
    everyone = torch.ones(space.frames, dtype=torch.bool)
    model = adjust(space, lenses, start.double(), everyone, COARSE_PX)
    if model is None or score(model, matches) < MIN_ADJUSTED_AGREEMENT:
        return None
    return model


def _trusted(model: SparseModel | None, matches: Matches, *, mapped: bool) -> Solution:
    if model is None:
        return _none("not-mapped: no mapper finds cameras that explain the matches")
    count, total = int(model.registered.sum()), matches.count
    if count < max(2, MIN_REGISTERED * total):
        return _none(f"few-registered: only {count} of {total} frames hang together")
    inside = matches.between(model.registered)
    share = score(model, inside)
    if share < MIN_AGREEMENT:
        return _none(f"poor-fit: the best cameras explain {100 * share:.0f} % of the matches")
    if count == total:
        return Solution(model, mapped, ())
    missing = ", ".join(map(str, (~model.registered).nonzero()[:, 0].tolist()))
    flag = f"not-registered: frames {missing} hang too loosely on the others; their cameras are"
    return Solution(model, mapped, (f"{flag} {'interpolated' if mapped else 'carried along'}",))


def _none(flag: str) -> Solution:
    return Solution(None, False, (flag,))

"""Windows joined one after the other: their similarities, and their frames blended into stores."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from jog3r.alignment.loop_check import Keyframe, keyframe
from jog3r.alignment.off_load import FrameStore
from jog3r.alignment.pose_graph import Edge
from jog3r.alignment.similarities import compose, identity, member, mix_transforms, stacked
from jog3r.alignment.stitching import Stitch, Views, stitch
from jog3r.alignment.window_anchors import anchor
from jog3r.alignment.window_solver import SolvedWindow, Window
from jog3r.geometry import Similarity
from jog3r.results import Scale

CHUNK = 16
"""Frames that are read and written at a time when all are scaled."""
KEYFRAMES = 4
"""Per window, spread evenly over the frames it shares with no other."""
WEAK = 0.5
"""A stitch on which a smaller share of the points agrees is flagged."""

STITCH_WEIGHTS = torch.tensor([300.0] * 3 + [100.0] * 3 + [100.0], dtype=torch.float64)
"""One over the standard deviation of a stitch: 0.2 deg, 1 % of the depth, 1 % of scale. Only the
ratio of turn to shift matters: all stitches are alike."""


@dataclass
class Chain:
    """The windows so far. Depth is stored in the unit of the first window.

    Args:
        depth: of all frames.
        confidence: of all frames.
    """

    depth: FrameStore
    confidence: FrameStore
    windows: list[Window] = field(default_factory=list)
    placed: list[Similarity] = field(default_factory=list)
    lengths: list[float] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    cameras: list[Tensor] = field(default_factory=list)
    intrinsics: list[Tensor] = field(default_factory=list)
    keyframes: list[Keyframe] = field(default_factory=list)
    anchors: list[Edge] = field(default_factory=list)
    scenes_said: list[tuple[Window, Scale, tuple[str, ...]]] = field(default_factory=list)
    weak: list[str] = field(default_factory=list)
    _last: Views | None = None

    def add(self, solved: SolvedWindow) -> None:
        """Join the next window.

        Raises:
            AlignmentError: it has no confident pixels in common with the window before.
            SaveError: its frames cannot be stored.
        """
        window, views = solved.window, solved.views
        placed = identity()
        if self._last is not None:
            joined = self._stitch(self._last, window, views)
            placed = compose(self.placed[-1], joined.a_from_b)
        self._store(solved, float(placed.scale))
        self.windows.append(window)
        self.placed.append(placed)
        self.lengths.append(views.typical_depth())
        self.cameras.append(views.world_from_camera)
        self.intrinsics.append(views.K)
        self.scenes_said.append((window, solved.found.scale, solved.found.flags))
        held = anchor(window.number, views, solved.known)
        self.anchors += [] if held is None else [held]
        self._last = views

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames [px]."""
        _, height, width = self.depth.shape
        return height, width

    @property
    def unit(self) -> Scale:
        """Say what a length is in all windows."""
        metric = all(scale == "metric" for _, scale, _ in self.scenes_said)
        return "metric" if metric else "relative"

    def flags(self) -> list[str]:
        """Return the flags of all windows, and weak stitches.

        A flag of several windows is that of the first one, with the frames of all.
        """
        by_code: dict[str, tuple[str, list[str]]] = {}
        for window, _, flags in self.scenes_said:
            for flag in flags:
                _, where = by_code.setdefault(flag.partition(":")[0], (flag, []))
                where.append(window.frames)
        said = [f"{first} ({', '.join(where)})" for first, where in by_code.values()]
        return [*said, *self.weak]

    def _stitch(self, last: Views, window: Window, views: Views) -> Stitch:
        before = self.windows[-1]
        common = before.stop - window.first
        joined = stitch(last[-common:], views[:common], f"{before} and {window}")
        self.edges.append(
            Edge(before.number, window.number, joined.a_from_b, joined.length, STITCH_WEIGHTS)
        )
        if joined.agreement < WEAK:
            self.weak.append(
                f"weak-stitch: {before} and {window} agree on only {joined.agreement:.0%} of their"
                " common points; what follows may be turned, shifted or scaled"
            )
        return joined

    def _store(self, solved: SolvedWindow, scale: float) -> None:
        window, depth = solved.window, scale * solved.found.depth.cpu()
        confidence = solved.found.confidence.cpu()
        common = self.windows[-1].stop - window.first if self.windows else 0
        if common:
            share = ramp(common)[:, None, None]
            old = self.depth.read(window.first, window.first + common)
            old_confidence = self.confidence.read(window.first, window.first + common)
            # Where only one window has a value, it is taken as it is.
            share = torch.where(old > 0, torch.where(depth[:common] > 0, share, 0.0), 1.0)
            depth[:common] = (1 - share) * old + share * depth[:common]
            confidence = torch.cat(
                [(1 - share) * old_confidence + share * confidence[:common], confidence[common:]]
            )
        self.depth.write(window.first, depth)
        self.confidence.write(window.first, confidence)

    def remember(self, next_first: int | None) -> None:
        """Keep some frames of the last window for the loop check.

        Args:
            next_first: first frame of the next window, None where there is none.
        """
        window = self.windows[-1]
        first = self.windows[-2].stop if len(self.windows) > 1 else window.first
        stop = window.stop if next_first is None else next_first
        if first >= stop:
            first, stop = window.first, window.stop
        chosen = torch.linspace(first, stop - 1, min(KEYFRAMES, stop - first)).round().int()
        for frame in chosen.tolist():
            seen = self.seen(range(frame, frame + 1), window.number)
            self.keyframes.append(keyframe(frame, window.number, seen))

    def seen(self, frames: range, k: int) -> Views:
        """Return some frames of window k in the world of the chain."""
        window = self.windows[k]
        inside = slice(frames.start - window.first, frames.stop - window.first)
        return Views(
            self.placed[k].cameras(self.cameras[k][inside]),
            self.intrinsics[k][inside],
            self.depth.read(frames.start, frames.stop),
            self.confidence.read(frames.start, frames.stop) - 1.0,
        )

    def scale_depth(self, windows: Similarity) -> None:
        """Bring the stored depth to the scale of other similarities of the windows.

        Raises:
            SaveError: the depth cannot be stored.
        """
        factors = (windows.scale / stacked(self.placed).scale).log()
        each = [factor.expand(len(w), 1) for factor, w in zip(factors, self.windows, strict=True)]
        scale = self._blended(each).exp().float()[..., None]
        for first in range(0, len(scale), CHUNK):
            stop = min(first + CHUNK, len(scale))
            self.depth.write(first, scale[first:stop] * self.depth.read(first, stop))

    def blended_cameras(self, windows: Similarity) -> Tensor:
        """Return world_from_camera of all frames (T, 4, 4), for these similarities."""
        each = [member(windows, k).cameras(local) for k, local in enumerate(self.cameras)]
        return self._blended(each)

    def blended_intrinsics(self) -> Tensor:
        """Return K of all frames (T, 3, 3)."""
        return self._blended(self.intrinsics)

    def _blended(self, each: list[Tensor]) -> Tensor:
        """Join what windows say of their frames, fading from one to the next where both speak."""
        made = each[0].new_empty(self.windows[-1].stop, *each[0].shape[1:])
        stop = 0
        for window, values in zip(self.windows, each, strict=True):
            common = max(stop - window.first, 0)
            old, new = made[window.first : window.first + common].clone(), values[:common]
            made[window.first : window.stop] = values
            if common:
                made[window.first : window.first + common] = _faded(old, new, ramp(common))
            stop = window.stop
        return made


def ramp(count: int) -> Tensor:
    """Return shares (count) that grow evenly from above 0 to below 1."""
    return torch.arange(1, count + 1) / (count + 1)


def _faded(old: Tensor, new: Tensor, share: Tensor) -> Tensor:
    if old.shape[1:] == (4, 4):
        return mix_transforms(old, new, share)
    share = share.to(old).reshape(-1, *[1] * (old.ndim - 1))
    return (1 - share) * old + share * new

"""Whether depth and cameras speak of the same unit: the verdict on what `depth_scale` measures.

Depth in millimetres beside cameras in metres trains a model to see nothing move, and no check of
shapes notices. `jog3r data check` and `jog3r data prepare` both ask here.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from jog3r.data.clip import Clip
from jog3r.data.depth_scale import CLEAR, NOISE, SAME, DepthScale, depth_scale
from jog3r.data.given_depth import given_depth
from jog3r.errors import FileError, InputError

FACTORS = (1.0, 10.0, 0.1, 100.0, 0.01, 1000.0, 0.001)
"""What depth is said to be off by, where it comes near to one of these."""
GOOD = 0.04
"""Disagreement of depths that is that of sensors and edges; above, they have no common unit."""
UNITS_APART = 2.2
"""Units differ by more: inches are 2.54 centimetres, feet are 3.28 to the metre."""
Verdict = Literal["right", "wrong", "cannot tell"]


@dataclass(frozen=True, kw_only=True)
class DepthUnit:
    """What reprojection says of the unit of a clip's depth.

    Attributes:
        verdict: `cannot tell` where depths agree, or disagree, alike in any unit: the camera hardly
            moves, little depth is known, or it is too noisy.
        factor: What depth has to be multiplied by to be in the unit of the cameras; 1 where it is
            right, None where nothing can be told.
        error: Median disagreement of depth as it is stored; it counts up to 30 %.
        best_error: The same in the unit that fits best.
    """

    verdict: Verdict
    factor: float | None = None
    error: float = math.inf
    best_error: float = math.inf

    def __str__(self) -> str:
        if self.factor is None:
            return self.verdict
        return (
            f"times {self.factor:g} (depths differ by {self.error:.1%}, at best by"
            f" {self.best_error:.1%})"
        )

    @property
    def expected(self) -> str:
        """What to say of a clip whose depth is in the wrong unit."""
        return f"expected depth in the unit of the cameras, got depth that fits {self}"


def depth_unit(clip: Clip) -> DepthUnit:
    """Compare depth with cameras, in some of the frames.

    Args:
        clip: With depth or pointmaps, K and cameras.

    Raises:
        InputError: A clip without these.
    """
    depth = given_depth(clip)
    if depth is None or clip.K is None or clip.world_from_camera is None:
        raise InputError(
            f"{clip.id}: expected a clip with depth, K and world_from_camera, got one without"
            f" {', '.join(clip.missing)}"
        )
    scale = depth_scale(depth, clip.K, clip.world_from_camera)
    return DepthUnit(verdict="cannot tell") if scale is None else _judged(scale)


def require_depth_unit(clips: Iterable[Clip]) -> list[DepthUnit]:
    """Stop where depth is in the wrong unit, before a training is built on it.

    Args:
        clips: Some of a data set; those without depth or cameras say nothing.

    Returns:
        What each of those with depth and cameras says.

    Raises:
        FileError: More of them are wrong than right.
    """
    units = [depth_unit(clip) for clip in clips if clip.has("depth", "K", "world_from_camera")]
    check_depth_units(units)
    return units


def check_depth_units(units: Iterable[DepthUnit]) -> None:
    """Check what several clips of a data set say.

    Args:
        units: What each says.

    Raises:
        FileError: More of them are wrong than right.
    """
    told = [unit for unit in units if unit.factor is not None]
    wrong = sorted(unit.factor or 1.0 for unit in told if unit.verdict == "wrong")
    if len(wrong) > len(told) - len(wrong):
        factor = wrong[len(wrong) // 2]
        raise FileError(
            f"depth: expected the unit of the cameras, got {len(wrong)} of {len(told)} clips whose"
            f" depth fits when multiplied by {factor:g}; correct the scale of the depth files"
        )


def _judged(scale: DepthScale) -> DepthUnit:
    off = abs(math.log(scale.factor))
    told = {"error": scale.stored, "best_error": scale.error}
    if scale.error < GOOD and off < math.log(SAME):
        return DepthUnit(verdict="right", factor=1.0, **told)
    clear = scale.error + NOISE < CLEAR * scale.stored
    if scale.error < GOOD and off > math.log(UNITS_APART) and clear:
        return DepthUnit(verdict="wrong", factor=_named(scale.factor), **told)
    return DepthUnit(verdict="cannot tell", **told)


def _named(factor: float) -> float:
    nearest = min(FACTORS, key=lambda known: abs(math.log(known / factor)))
    near = abs(math.log(nearest / factor)) < math.log(SAME)
    return nearest if near else float(f"{factor:.2g}")

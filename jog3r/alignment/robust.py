"""Cauchy's function: errors far beyond the noise lose their weight."""

import math

from torch import Tensor

from jog3r.geometry.pointmaps import weighted_median

CUT = 2.5
"""Errors beyond this many standard deviations lose their weight."""
NOISE_FLOOR = 1e-7
"""Smallest noise level assumed, relative: the rounding of float32."""
NOISE_PIXELS = 160
"""About this many pixels of a pointmap are enough to measure its noise level."""
NORMAL, RAYLEIGH = 0.67449, math.sqrt(2 * math.log(2))
"""Median length of errors of standard deviation 1 per axis, in one dimension and in two."""


def cauchy(squared: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return cost and weight of squared errors (F, N), given the noise (F).

    The cost of small errors is their square in units of the noise; the weight is its derivative.
    """
    unit = (CUT * noise[:, None]).square()
    return CUT**2 * (squared / unit).log1p(), CUT**2 / (unit + squared)


def cauchy_weight(squared: Tensor, noise: float) -> Tensor:
    """Return a weight alone, up to a factor, where all have the same noise."""
    return 1.0 / ((CUT * noise) ** 2 + squared)


def noise_level(length: Tensor, weights: Tensor, median: float = RAYLEIGH) -> Tensor:
    """Return the standard deviation per axis (F,) of errors, given their lengths (F, N).

    Args:
        length: of the errors.
        weights: not negative; some of each row positive.
        median: length of errors of standard deviation 1 per axis.
    """
    stride = max(1, length.shape[1] // NOISE_PIXELS)
    thin = weights[:, ::stride]
    if bool((thin.sum(dim=1) <= 0).any()):
        thin, stride = weights, 1
    found = weighted_median(length[:, ::stride].contiguous(), thin.contiguous())
    return (found / median).clamp(min=NOISE_FLOOR)

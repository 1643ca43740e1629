"""Pairwise pointmaps -> one set of cameras, depths and confidences."""

from jog3r.alignment.pairs import Alignment, PairPointmaps
from jog3r.alignment.photometric import refine_photometrically
from jog3r.alignment.regularisers import Regularisers
from jog3r.alignment.star import align

__all__ = ["Alignment", "PairPointmaps", "Regularisers", "align", "refine_photometrically"]

"""Weighted least-squares similarity between two point sets, in closed form."""

from dataclasses import dataclass

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry.checks import check_finite, check_tensor
from jog3r.geometry.precision import full_precision
from jog3r.geometry.transforms import rigid, transform_points

MIN_SPREAD = 1e-6
"""Second-largest standard deviation of the source, relative to the largest, below which the points
count as lying on one line, where the rotation is not determined."""


@dataclass(frozen=True)
class Similarity:
    """target = scale * rotation @ source + translation.

    Args:
        rotation: (*b, 3, 3).
        translation: (*b, 3) in the target's units.
        scale: (*b), 1 where no scale was fitted.
    """

    rotation: Float[Tensor, "*b 3 3"]
    translation: Float[Tensor, "*b 3"]
    scale: Float[Tensor, "*b"]

    def points(self, source: Float[Tensor, "*p 3"]) -> Float[Tensor, "*p 3"]:
        """Move points from the source frame into the target frame."""
        missing = source.ndim - 1 - self.scale.ndim
        scale = self.scale.reshape(*self.scale.shape, *([1] * missing), 1)
        return transform_points(rigid(self.rotation, self.translation), scale * source)

    def cameras(self, world_from_camera: Float[Tensor, "*p 4 4"]) -> Float[Tensor, "*p 4 4"]:
        """Move cameras along: their positions are scaled, their rotations stay rotations."""
        centres = self.points(world_from_camera[..., :3, 3])
        missing = world_from_camera.ndim - self.rotation.ndim
        rotation = self.rotation.reshape(*self.rotation.shape[:-2], *([1] * missing), 3, 3)
        return rigid(rotation @ world_from_camera[..., :3, :3], centres)


@full_precision
def fit_similarity(
    source: Float[Tensor, "*b n 3"],
    target: Float[Tensor, "*b n 3"],
    weights: Float[Tensor, "*b n"] | None = None,
    *,
    with_scale: bool = True,
) -> Similarity:
    """Fit the similarity that moves source points onto target points.

    Minimises sum_n w_n ||scale * R source_n + t - target_n||^2 over proper rotations.

    Args:
        source: at least three points that do not lie on one line.
        target: where they should go.
        weights: not negative; None for equal weights.
        with_scale: False for a rigid fit.

    Raises:
        InputError: wrong shapes, NaN, negative weights, fewer than three weighted points, or points
            on one line (or all equal), where the rotation is not determined.

    Source: Umeyama 1991, through roma.

    Example:
        >>> source = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
        >>> fit = fit_similarity(source, 2 * source + 1)
        >>> round(float(fit.scale), 4), [round(x, 4) for x in fit.translation.tolist()]
        (2.0, [1.0, 1.0, 1.0])
    """
    check_tensor("source", source, ("n", 3))
    check_tensor("target", target, ("n", 3))
    if source.shape != target.shape:
        raise InputError(f"target: expected {tuple(source.shape)}, got {tuple(target.shape)}")
    weights = torch.ones_like(source[..., 0]) if weights is None else weights
    if weights.shape != source.shape[:-1]:
        raise InputError(
            f"weights: expected {tuple(source.shape[:-1])}, got {tuple(weights.shape)}"
        )
    for name, value in (("source", source), ("target", target), ("weights", weights)):
        check_finite(name, value)
    if bool((weights < 0).any()):
        raise InputError("weights: expected values >= 0, got negative ones")
    _check_spread(source, weights)
    rotation, translation, *scale = _register(source, target, weights, with_scale)
    return Similarity(
        rotation, translation, scale[0] if scale else torch.ones_like(weights[..., 0])
    )


def _register(
    source: Tensor, target: Tensor, weights: Tensor, with_scale: bool
) -> tuple[Tensor, ...]:
    fit = roma.rigid_points_registration(source, target, weights, compute_scaling=with_scale)
    return tuple(part for part in fit if isinstance(part, Tensor))


def _check_spread(source: Tensor, weights: Tensor) -> None:
    if bool(((weights > 0).sum(dim=-1) < 3).any()):
        raise InputError("weights: expected at least three points of positive weight")
    share = weights / weights.sum(dim=-1, keepdim=True)
    centred = source - (share[..., None] * source).sum(dim=-2, keepdim=True)
    spread = torch.linalg.svdvals((share.sqrt()[..., None] * centred).double())
    if bool((spread[..., 1] <= MIN_SPREAD * spread[..., 0].clamp(min=1e-300)).any()):
        raise InputError(
            "source: expected points that do not lie on one line, got collinear or equal points;"
            " their rotation is not determined"
        )

"""From pairs (first frame, f) to one set of cameras and depths."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.alignment.anchor import anchor_scales, length
from jog3r.alignment.pairs import Alignment, PairPointmaps, check_pairs
from jog3r.alignment.refinement import FocalMode, PinholeFit, Pinholes
from jog3r.alignment.refinement import refine as refine_cameras
from jog3r.alignment.regularisers import Regularisers, Temporal
from jog3r.alignment.resection import noise_level, resect
from jog3r.errors import InputError
from jog3r.geometry import check_intrinsics, intrinsics_from_focal, invert, pixel_centres, rigid
from jog3r.geometry.pointmaps import check_focal, inverse_focal
from jog3r.geometry.precision import full_precision

SMALLEST_STEP = 1e-4
"""Shortest step length, relative to the scene's median distance, that regularisers divide by."""


@dataclass(frozen=True)
class _Star:
    """The pairs in float64, at one scale, in order of time; the first frame first.

    `points` (T, 3, N) in the first camera's frame, `confidence` (T, N), `offset` (T, 2, N): pixels
    from the principal point, as tangents where the intrinsics are known.
    """

    points: Tensor
    confidence: Tensor
    offset: Tensor

    @property
    def weights(self) -> Tensor:
        """Weight per pixel: confidence - 1.

        The network is trained on confidence * error, so it says itself that an error deserves its
        confidence as weight; one is subtracted so that "nothing known" (1) weighs nothing. DUSt3R's
        logarithm flattens that statement; on noise that follows the confidence it is less accurate.
        """
        return self.confidence - 1.0


@full_precision
def align(
    pairs: PairPointmaps,
    *,
    regularisers: Regularisers | None = None,
    intrinsics: Float[Tensor, "3 3"] | Float[Tensor, "t 3 3"] | None = None,
    shared_focal: bool = True,
    refine: bool = True,
) -> Alignment:
    """Fit cameras and depths to the pointmaps of a star of pairs (0, f).

    1. Scale: the first frame's pointmap comes with every pair; bring all to one scale, average.
    2. Focal length from that pointmap, principal point at the image centre.
    3. Pose of each frame from its pixels and points, in closed form; focal lengths again, the
       median where they are shared.
    4. Refinement of all cameras at once, with the regularisers. It keeps the start if it cannot
       lower the objective.

    All pixels take part, with weight confidence - 1. A camera that does not move, or only turns,
    gets positions near the first one: their directions mean nothing, everything else holds.

    Args:
        pairs: (0, f) once for every frame f = 1 ... T-1, in any order; or the single pair (0, 0) of
            a clip of one frame, whose two pointmaps are then averaged.
        regularisers: their weights; None for the defaults.
        intrinsics: known K in pixels of the pointmaps, one for all frames or one each; kept as is.
        shared_focal: one focal length for all frames; else one each.
        refine: False returns the closed-form start.

    Returns:
        Float32 cameras, depth and confidence. Units are those of the pointmaps, up to the geometric
        mean of the pairs' free scales.

    Raises:
        InputError: pairs that are not such a star, NaN, wrong shapes, confidence below 1, a frame
            with too few confident or only equal points, a pointmap without a positive focal length,
            intrinsics that do not fit the images, or intrinsics together with `shared_focal=False`.

    Source: own derivation; objective and regularisers after DUSt3R (arXiv 2312.14132) 3.4, JOG3R
        (arXiv 2501.01409) appendix A and MonST3R (arXiv 2410.03825).
    """
    check_pairs(pairs)
    order = _order(pairs)
    frames = 1 if order is None else order.shape[0] + 1
    if intrinsics is not None:
        intrinsics = _check_known(intrinsics, frames, pairs.size, shared_focal)
    star = _gather(pairs, order, intrinsics)
    focal: FocalMode = "shared" if shared_focal else "each"
    cameras = _start(star, "known" if intrinsics is not None else focal)
    if refine and frames > 1:
        weights = Regularisers() if regularisers is None else regularisers
        cameras = _refined(star, cameras, weights, "known" if intrinsics is not None else focal)
    return _alignment(star, cameras, pairs.size, intrinsics)


def _order(pairs: PairPointmaps) -> Tensor | None:
    """Return the order of the pairs by time, None for the single pair (0, 0)."""
    first, second = pairs.pairs.unbind(dim=1)
    if pairs.pairs.tolist() == [[0, 0]]:
        return None
    wanted = torch.arange(1, second.numel() + 1, device=second.device)
    if bool((first != 0).any()) or not torch.equal(second.sort().values.to(wanted), wanted):
        raise InputError(
            "pairs: expected (0, f) once for every frame f = 1 ... T-1, or (0, 0) alone, got"
            f" {pairs.pairs.tolist()}"
        )
    return second.argsort()


def _check_known(
    intrinsics: Tensor, frames: int, size: tuple[int, int], shared_focal: bool
) -> Tensor:
    check_intrinsics(intrinsics, size, name="intrinsics")
    if tuple(intrinsics.shape) not in ((3, 3), (frames, 3, 3)):
        got = tuple(intrinsics.shape)
        raise InputError(f"intrinsics: expected (3, 3) or ({frames}, 3, 3), got {got}")
    if not shared_focal:
        raise InputError(
            "shared_focal: expected True with known intrinsics, got False; nothing is left to"
            " estimate"
        )
    return intrinsics.double().expand(frames, 3, 3)


def _gather(pairs: PairPointmaps, order: Tensor | None, intrinsics: Tensor | None) -> _Star:
    points_i, points_j = (_columns(p) for p in (pairs.points_i, pairs.points_j))
    confidence_i = pairs.confidence_i.double().flatten(1)
    confidence_j = pairs.confidence_j.double().flatten(1)
    if order is None:
        confidence = torch.cat([confidence_i, confidence_j])
        _, anchor = anchor_scales(torch.cat([points_i, points_j]), confidence - 1.0)
        points, confidence = anchor[None], confidence.mean(dim=0, keepdim=True)
    else:
        points_i, points_j = points_i[order], points_j[order]
        confidence_i, confidence_j = confidence_i[order], confidence_j[order]
        scales, anchor = anchor_scales(points_i, confidence_i - 1.0)
        points = torch.cat([anchor[None], scales[:, None, None] * points_j])
        confidence = torch.cat([confidence_i.mean(dim=0, keepdim=True), confidence_j])
    return _Star(points, confidence, _offsets(pairs.size, points, intrinsics))


def _columns(points: Tensor) -> Tensor:
    return points.double().flatten(1, 2).transpose(1, 2).contiguous()


def _offsets(size: tuple[int, int], points: Tensor, intrinsics: Tensor | None) -> Tensor:
    height, width = size
    pixels = pixel_centres(size, dtype=points.dtype, device=points.device).reshape(-1, 2).T
    if intrinsics is None:
        centred = pixels - pixels.new_tensor([[width / 2], [height / 2]])
        return centred.expand(points.shape[0], 2, -1)
    homogeneous = torch.cat([pixels, torch.ones_like(pixels[:1])])
    return torch.linalg.solve(intrinsics.to(points), homogeneous.expand(points.shape[0], 3, -1))[
        :, :2
    ]


def _start(star: _Star, focal: FocalMode) -> Pinholes:
    """Closed-form cameras: focal length of the first frame, poses of the others, focal lengths."""
    frames = star.points.shape[0]
    one = torch.ones(frames, dtype=star.points.dtype, device=star.points.device)
    inverse = one if focal == "known" else one * _inverse_focal(star, star.points[:1])
    rays = torch.cat([inverse[:, None, None] * star.offset, torch.ones_like(star.offset[:, :1])], 1)
    rays = torch.nn.functional.normalize(rays, dim=1)
    world_from_camera = torch.eye(4, dtype=one.dtype, device=one.device)[None]
    if frames > 1:
        rest = invert(resect(star.points[1:], rays[1:], star.weights[1:]))
        world_from_camera = torch.cat([world_from_camera, rest])
    cameras = Pinholes(world_from_camera[:, :3, :3], world_from_camera[:, :3, 3], inverse)
    if focal == "known":
        return cameras
    inverse = _inverse_focal(star, _in_cameras(star.points, cameras))
    if focal == "shared":
        inverse = inverse.median().expand(frames)
    return Pinholes(cameras.rotation, cameras.position, inverse)


def _inverse_focal(star: _Star, points: Tensor) -> Tensor:
    """Return one inverse focal length per frame; the first frame has to determine its own."""
    frames = points.shape[0]
    front = points[:, 2] > 0
    weights = torch.where(front, star.weights[:frames], 0.0)
    tangent = points[:, :2] / torch.where(front, points[:, 2], 1.0)[:, None]
    found = inverse_focal(tangent.transpose(1, 2), star.offset[0].T, weights)
    check_focal(found[:1], weights[:1])
    # A frame whose points are too wild to tell starts from the first one's.
    return torch.where(found > 0, found, found[:1])


def _in_cameras(points: Tensor, cameras: Pinholes) -> Tensor:
    return cameras.rotation.transpose(1, 2) @ (points - cameras.position[..., None])


def _refined(
    star: _Star, cameras: Pinholes, regularisers: Regularisers, focal: FocalMode
) -> Pinholes:
    points = _in_cameras(star.points, cameras)
    distance = length(points)
    typical = distance.median()
    radius = length(star.offset)
    along_x = torch.stack([torch.ones_like(radius), torch.zeros_like(radius)], dim=1)
    direction = torch.where(radius[:, None] > 0, star.offset / radius[:, None], along_x)
    weights = torch.where(points[:, 2] > 0, star.weights, 0.0)
    fit = PinholeFit(
        points=star.points,
        direction=direction,
        radius=radius,
        inverse_distance=1.0 / distance.clamp(min=1e-6 * float(typical)),
        weights=weights / weights.sum(dim=1, keepdim=True),
        noise=torch.ones_like(radius[:, 0]),
    )
    radial, around = fit.errors(cameras)
    noise = noise_level((radial.square() + around.square()).sqrt(), weights)
    steps = cameras.position.diff(dim=0).norm(dim=1).mean()
    temporal = Temporal(regularisers, max(float(steps), SMALLEST_STEP * float(typical)))
    return refine_cameras(replace(fit, noise=noise), temporal, cameras, focal)


def _alignment(
    star: _Star, cameras: Pinholes, size: tuple[int, int], intrinsics: Tensor | None
) -> Alignment:
    K = (
        intrinsics_from_focal(1.0 / cameras.inverse_focal, size)
        if intrinsics is None
        else intrinsics
    )
    depth = _in_cameras(star.points, cameras)[:, 2].clamp(min=0).unflatten(1, size)
    return Alignment(
        world_from_camera=rigid(cameras.rotation, cameras.position).float(),
        K=K.float(),
        depth=depth.float(),
        confidence=star.confidence.unflatten(1, size).float(),
    )

"""From pairwise pointmaps on any connected graph to one set of cameras and depths."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.alignment.arguments import check_options, check_video
from jog3r.alignment.fusion import fuse
from jog3r.alignment.graphs import PairGraph
from jog3r.alignment.inference import without_gradients
from jog3r.alignment.objective import objective
from jog3r.alignment.observations import Observations, observe
from jog3r.alignment.pairs import Alignment, PairPointmaps, check_pairs
from jog3r.alignment.priors import KnownCameras, check_masks, known_cameras, known_intrinsics
from jog3r.alignment.quality import (
    cameras_flag,
    fit_flags,
    intrinsics_flag,
    parallax_flag,
    position_std,
)
from jog3r.alignment.refinement import refine as refine_cameras
from jog3r.alignment.regularisers import Regularisers, Temporal
from jog3r.alignment.start import closed_form
from jog3r.alignment.threads import one_thread_if_small
from jog3r.alignment.unknowns import Cameras, FocalMode, Layout, layout
from jog3r.alignment.usable import count_frames, subgraph, usable_pairs
from jog3r.geometry import intrinsics_from_focal, rigid
from jog3r.geometry.precision import full_precision
from jog3r.results import Cameras as SeenFrom
from jog3r.results import Reconstruction, Video
from jog3r.results.reconstruction import Scale

SMALLEST_STEP = 1e-4
"""Shortest step length, relative to the scene's median depth, that regularisers divide by."""
GREY, GREY_FPS = 128, 8.0


@one_thread_if_small
@without_gradients
@full_precision
def solve(
    pairs: PairPointmaps,
    *,
    graph: str | PairGraph | None = None,
    intrinsics: Float[Tensor, "3 3"] | Float[Tensor, "t 3 3"] | None = None,
    cameras: Float[Tensor, "t 4 4"] | Mapping[int, Tensor] | None = None,
    masks: Bool[Tensor, "t h w"] | None = None,
    regularisers: Regularisers | None = None,
    shared_focal: bool = True,
    refine: bool = True,
) -> Alignment:
    """Fit cameras and depths to the pointmaps of any connected graph of pairs.

    1. Start in closed form: focal length from the pointmaps; along the spanning tree of the most
       confident pairs, pose of each camera from its pixels and points, scale of each pair from the
       depths of a frame it shares.
    2. Refinement of all cameras, focal lengths and pair scales at once, with the regularisers: the
       points on their pixels' rays, the depths of all pairs in agreement. It keeps the start if it
       cannot lower the objective.
    3. One depth map per frame from all its pointmaps.

    A pixel weighs confidence - 1. A pair with fewer than 6 confident pixels on either side takes no
    part. Steps 1 and 2 look at about 450 pixels per frame, and 64 per pointmap at least.

    Args:
        pairs: of the frames 0 to T-1, which they have to connect; or the single pair (0, 0) of a
            clip of one frame.
        graph: which of the pairs to use, by name (`pair_graph`) or as a list; None for all.
        intrinsics: known K in pixels of the pointmaps, one for all frames or one each; kept as is.
        cameras: known world_from_camera of all frames, or of some by frame number; held as they
            are. Without any, the first camera is the world.
        masks: True = use; what is masked has no say in the cameras.
        regularisers: their weights; None for the defaults where the pairs tell of an order of time,
            and for none where every frame is paired with every other (more than two frames), as
            is done with unordered photos.
        shared_focal: one focal length for all frames; else one each.
        refine: False returns the closed-form start.

    Returns:
        Float32 cameras, depth and confidence. The unit of length is that of `cameras` where two of
        these are apart ("given-poses"). Else it is that of the pointmaps, the geometric mean of the
        pairs' free scales being one: metres if they are `metric`, arbitrary if not.

    Raises:
        InputError: NaN, wrong kinds, shapes or values, a pair twice, equal points, own pointmaps
            without a positive focal length, pairs of the graph that are not given, intrinsics or
            cameras that do not fit, or intrinsics together with `shared_focal=False`.
        AlignmentError: frames that the pairs do not connect, or with too few confident pixels.

    Source: own derivation; objective and regularisers after DUSt3R (arXiv 2312.14132) 3.3 and 3.4,
        JOG3R (arXiv 2501.01409) appendix A and MonST3R (arXiv 2410.03825).
    """
    check_pairs(pairs)
    check_options(graph=graph, regularisers=regularisers, shared_focal=shared_focal, refine=refine)
    frames = count_frames(pairs)
    if graph is not None:
        pairs = subgraph(pairs, graph, frames)
    if masks is not None:
        check_masks(masks, frames, pairs.size)
    K = (
        None
        if intrinsics is None
        else known_intrinsics(intrinsics, frames, pairs.size, shared_focal)
    )
    known = None if cameras is None else known_cameras(cameras, frames, pairs.pairs.device)
    pairs = usable_pairs(pairs, frames, masks)
    observed = observe(pairs, frames, K, masks)
    focal: FocalMode = "known" if K is not None else "shared" if shared_focal else "each"
    found = closed_form(observed, focal)
    contradicted = []
    if known is not None:
        contradicted = cameras_flag(found, known, _median_depth(observed, found))
        found = known.world_of(found)
    at = _layout(known, focal, observed)
    temporal = _temporal(_chosen(regularisers, observed), found, observed)
    terms = objective(observed, found, temporal, focal_known=K is not None)
    std = None
    if refine:
        refined = refine_cameras(terms, found, at)
        found, std = refined.cameras, position_std(refined.system.data_hessian, at)
    if known is None or not known.fix_scale:
        factor = (-found.log_scale.mean()).exp()
        centre = found.position[0] if known is None else known.world_from_camera[0, :3, 3]
        found, std = found.scaled(factor, centre), None if std is None else factor * std
    depth, confidence = fuse(pairs, found, masks, float(terms.agreement.noise[0]))
    return Alignment(
        world_from_camera=rigid(found.rotation, found.position).float(),
        K=(
            intrinsics_from_focal(1.0 / found.inverse_focal, pairs.size) if K is None else K
        ).float(),
        depth=depth,
        confidence=confidence,
        scale=_scale(pairs, known),
        flags=(*_flags(observed, found, std, known, focal), *contradicted),
        position_std=None if std is None else std.float(),
    )


def align(
    pairs: PairPointmaps,
    *,
    video: Video | None = None,
    graph: str | PairGraph | None = None,
    intrinsics: Float[Tensor, "3 3"] | Float[Tensor, "t 3 3"] | None = None,
    cameras: Float[Tensor, "t 4 4"] | Mapping[int, Tensor] | None = None,
    masks: Bool[Tensor, "t h w"] | None = None,
    regularisers: Regularisers | None = None,
    shared_focal: bool = True,
    refine: bool = True,
) -> Reconstruction:
    """Fit cameras, depths and a point cloud to pairwise pointmaps; `solve` explains how.

    Args:
        pairs: as in `solve`, like all arguments but one.
        video: its frames, in the size of the pointmaps, for the colours; None for grey ones.
        graph: as in `solve`.
        intrinsics: as in `solve`.
        cameras: as in `solve`.
        masks: as in `solve`; the result keeps them.
        regularisers: as in `solve`.
        shared_focal: as in `solve`.
        refine: as in `solve`.

    Raises:
        InputError: as in `solve`, or a video of another length or size.
        AlignmentError: as in `solve`.

    """
    found = solve(
        pairs,
        graph=graph,
        intrinsics=intrinsics,
        cameras=cameras,
        masks=masks,
        regularisers=regularisers,
        shared_focal=shared_focal,
        refine=refine,
    )
    if video is None:
        grey = torch.full((*found.depth.shape, 3), GREY, dtype=torch.uint8)
        video = Video(grey, fps=GREY_FPS)
    check_video(video, len(found.depth), pairs.size)
    device = video.frames.device
    return Reconstruction(
        video=video,
        cameras=SeenFrom(found.world_from_camera.to(device), found.K.to(device), pairs.size),
        depth=found.depth.to(device),
        confidence=found.confidence.to(device),
        scale=found.scale,
        mask=None if masks is None else masks.to(device),
        flags=found.flags,
    )


def _chosen(regularisers: Regularisers | None, observed: Observations) -> Regularisers:
    """Return the given regularisers, or the defaults where the pairs tell of an order of time."""
    if regularisers is not None:
        return regularisers
    frames = observed.frames
    undirected = {frozenset(pair) for pair in observed.pairs.tolist()}
    everything = len(undirected) == frames * (frames - 1) // 2
    return Regularisers.off() if frames > 2 and everything else Regularisers()


def _temporal(
    regularisers: Regularisers, cameras: Cameras, observed: Observations
) -> Temporal | None:
    if observed.frames < 2 or regularisers == Regularisers.off():
        return None
    steps = float(cameras.position.diff(dim=0).norm(dim=1).mean())
    least = SMALLEST_STEP * _median_depth(observed, cameras)
    return Temporal(regularisers, max(steps, least))


def _layout(known: KnownCameras | None, focal: FocalMode, observed: Observations) -> Layout:
    held = torch.zeros(observed.frames, dtype=torch.bool, device=observed.pairs.device)
    held[0 if known is None else known.frames] = True
    fixed = known is not None and known.fix_scale
    return layout(focal, held, len(observed.pairs), hold_scale=not fixed)


def _scale(pairs: PairPointmaps, known: KnownCameras | None) -> Scale:
    if known is not None and known.fix_scale:
        return "given-poses"
    return "metric" if pairs.metric else "relative"


def _flags(
    observed: Observations,
    cameras: Cameras,
    std: Tensor | None,
    known: KnownCameras | None,
    focal: FocalMode,
) -> tuple[str, ...]:
    flags = fit_flags(observed, cameras)
    flags += intrinsics_flag(observed) if focal == "known" else []
    if observed.frames > 1 and (known is None or not known.fix_scale):
        flags += parallax_flag(cameras, std, _median_depth(observed, cameras))
    return tuple(flags)


def _median_depth(observed: Observations, cameras: Cameras) -> float:
    """Return the median depth of what lies in front of its camera."""
    depth = cameras.log_scale.exp()[:, None] * observed.points_own[:, 2]
    ahead = depth[depth > 0]
    return float(ahead.median()) if len(ahead) else float(depth.abs().median())

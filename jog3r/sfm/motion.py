"""Plain structure from motion: what COLMAP makes of a video without any network."""

import logging

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.errors import AlignmentError, InputError
from jog3r.geometry import check_intrinsics
from jog3r.result_checks import check_tensor
from jog3r.results import Cameras, Reconstruction, Video
from jog3r.sfm import gauge
from jog3r.sfm.depths import sparse_depth
from jog3r.sfm.refine import check_no_skew, check_video, orthonormal

logger = logging.getLogger(__name__)


def structure_from_motion(
    video: Video,
    *,
    K: Float[Tensor, "3 3"] | Float[Tensor, "t 3 3"] | None = None,
    masks: Bool[Tensor, "t h w"] | None = None,
    seed: int = 0,
    threads: int = 2,
) -> Reconstruction:
    """Reconstruct a video with COLMAP alone: SIFT, matching, global mapping, bundle adjustment.

    Depth is sparse: the pixels that see a triangulated point have one, all others 0. The world is
    the first camera's, the unit of length the median depth (`scale` is `relative`).

    Args:
        video: at least two frames.
        K: known intrinsics [px], of all frames or each; None finds one focal length for all, with
            square pixels and a centred principal point.
        masks: True = use; no feature is taken outside.
        seed: of every random choice; the same gives the same result, whatever `threads`.
        threads: CPU threads for features and matches.

    Returns:
        `not-registered` among the flags names frames whose camera is only interpolated.

    Raises:
        AlignmentError: too few matches, no parallax, or no solution for at least half the frames.
        InputError: fewer than two frames, K or masks of another shape or size, K with skew, or no
            thread.
    """
    from jog3r.sfm.solve import solve

    check_video(video, threads)
    size = (video.height, video.width)
    lenses = None if K is None else _per_frame(K, len(video), size)
    if masks is not None:
        check_tensor("masks", masks, (len(video), *size), torch.bool)
    found = solve(
        video, masks, lenses, K_known=K is not None, start=None, seed=seed, threads=threads
    )
    model = found.model
    if model is None:
        raise AlignmentError(f"video: expected frames that share features, got {found.flags[-1]}")
    for flag in found.flags:
        logger.warning("structure_from_motion: %s", flag)
    depth, confidence = sparse_depth(model, size)
    unit = float(1 / depth[depth > 0].median())
    cameras = gauge.move(gauge.interpolate(model.world_from_camera, model.registered), unit)
    cameras = gauge.in_world_of_first(cameras, torch.eye(4, dtype=torch.float64))
    return Reconstruction(
        video,
        Cameras(orthonormal(cameras), model.K.float(), size),
        unit * depth,
        confidence,
        "relative",
        mask=masks,
        flags=found.flags,
    )


def _per_frame(K: Tensor, frames: int, size: tuple[int, int]) -> Tensor:
    check_intrinsics(K, size)
    if K.shape not in ((3, 3), (frames, 3, 3)):
        raise InputError(f"K: expected (3, 3) or ({frames}, 3, 3), got {tuple(K.shape)}")
    K = K.expand(frames, 3, 3)
    check_no_skew(K)
    return K

"""Real bundle adjustment of a reconstruction, from its own cameras or from scratch."""

import logging
from dataclasses import replace

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry import rigid
from jog3r.geometry.similarity import Similarity
from jog3r.results import Cameras, Reconstruction, Video
from jog3r.sfm import gauge
from jog3r.sfm.depths import depth_factors
from jog3r.sfm.sparse import SparseModel

logger = logging.getLogger(__name__)

OF_CAMERAS = {"no-parallax", "weak-stitch", "loop-drift", "loop-closed", "poor-fit"}
"""What was said of cameras that are no longer there once others have been found."""


def refine_bundle(
    scene: Reconstruction, *, K_known: bool = False, seed: int = 0, threads: int = 2
) -> Reconstruction:
    """Adjust all cameras to the features that the frames share.

    SIFT features are matched between frames, triangulated from the scene's cameras, and cameras,
    points and (unless known) one focal length are adjusted until the points project where they are
    seen. Where the scene's cameras are too far off for that, others are mapped from scratch and the
    flags say so ("mapped"). Where no solution can be trusted the scene comes back as it was, with a
    flag that says why.

    Depth maps follow their cameras, each by one factor. The first camera and the unit of length
    stay; those of `scale="given-poses"` follow the given cameras instead.

    Args:
        scene: at least two frames; its mask keeps features out.
        K_known: hold K fixed, per frame. Otherwise one focal length is found for all frames, with
            fx = fy if the scene has it so; principal points stay.
        seed: of every random choice; the same gives the same result, whatever `threads`.
        threads: CPU threads for features and matches.

    Returns:
        With the scene's flags and those of this step: `mapped`, `not-registered`; where the scene
        comes back as it was, `not-refined`, and `no-matches`, `no-parallax`, `not-mapped`,
        `few-registered` or `poor-fit`.

    Raises:
        InputError: fewer than two frames, K with skew, or no thread.
    """
    from jog3r.sfm.solve import solve

    check_video(scene.video, threads)
    K, start = scene.cameras.K, scene.cameras.world_from_camera
    check_no_skew(K)
    found = solve(
        scene.video, scene.mask, K, K_known=K_known, start=start, seed=seed, threads=threads
    )
    flags = list(found.flags)
    if found.model is None:
        flags.append("not-refined: bundle adjustment failed; cameras and depth are as before it")
    elif found.mapped:
        flags.insert(0, "mapped: the cameras were too far off to refine; mapped from scratch")
    for flag in flags:
        logger.warning("refine_bundle: %s", flag)
    before = list(scene.flags)
    if found.model is not None:
        scene = _placed(scene, found.model, mapped=found.mapped)
        before = [flag for flag in before if _code(flag) not in OF_CAMERAS]
    said = {_code(flag) for flag in before}
    new = [flag for flag in flags if _code(flag) not in said]
    return replace(scene, flags=(*before, *new))


def _code(flag: str) -> str:
    return flag.partition(":")[0]


def _placed(scene: Reconstruction, model: SparseModel, *, mapped: bool) -> Reconstruction:
    """Return the scene with the cameras of a model, and its depth brought to them."""
    before = scene.cameras.world_from_camera.double()
    cameras = model.world_from_camera
    if mapped:
        cameras = gauge.interpolate(cameras, model.registered)
    else:
        cameras = gauge.carry(cameras, model.registered, before)
    factors = depth_factors(model, scene.depth)
    fit = gauge.fit_cameras(cameras[model.registered], before[model.registered])
    if scene.scale == "given-poses" and fit is not None:
        cameras, scale = fit.cameras(cameras), float(fit.scale)
    else:
        scale = _unit(factors, fit)
        cameras = gauge.in_world_of_first(gauge.move(cameras, scale), before[0])
    if factors is None:
        factors = torch.full((len(cameras),), 1 / scale, dtype=torch.float64)
    depth = scene.depth * (scale * factors).float()[:, None, None]
    size = scene.cameras.image_size
    return replace(scene, cameras=Cameras(orthonormal(cameras), model.K.float(), size), depth=depth)


def _unit(factors: Tensor | None, fit: Similarity | None) -> float:
    """Return the scale that keeps the unit of the depth maps or, without any, of the positions."""
    if factors is not None:
        return float(1 / factors.median())
    return 1.0 if fit is None else float(fit.scale)


def orthonormal(cameras: Float[Tensor, "t 4 4"]) -> Float[Tensor, "t 4 4"]:
    """Return cameras in float32 whose rotations are orthonormal to its last digit."""
    rotation: Tensor = roma.special_procrustes(cameras[:, :3, :3])  # type: ignore[assignment]
    return rigid(rotation, cameras[:, :3, 3]).float()


def check_video(video: Video, threads: int) -> None:
    """Check that a video can show motion.

    Raises:
        InputError: a single frame, or no thread.
    """
    if len(video) < 2:
        raise InputError("video: expected at least two frames, got 1; give more of the scene")
    if threads < 1:
        raise InputError(f"threads: expected at least 1, got {threads}")


def check_no_skew(K: Float[Tensor, "t 3 3"]) -> None:
    """Check that the axes of the pixels are perpendicular.

    Raises:
        InputError: K with skew, which COLMAP's pinhole cameras do not have.
    """
    if float(K[:, 0, 1].abs().max()) > 0:
        raise InputError(f"K: expected no skew, got {float(K[:, 0, 1].abs().max()):g}; set it to 0")

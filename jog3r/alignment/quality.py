"""How far the result can be trusted: uncertainty of the positions, and what is flagged."""

import math

import roma
import torch
from torch import Tensor

from jog3r.alignment.objective import moved_points
from jog3r.alignment.observations import Observations
from jog3r.alignment.priors import KnownCameras
from jog3r.alignment.start import focals
from jog3r.alignment.unknowns import Cameras, Layout

INDEPENDENT = 16.0
"""A frame's pixels are worth this many independent ones: a network's errors vary slowly."""
LEAST_BASELINE = 1e-3
"""Cameras closer than this many median depths have not moved, whatever the noise."""
SURE = 3.0
"""A movement counts if it is this many standard deviations long."""
TURNED_DEG, TURNED_SHARE, ASTRAY_DEG = 15.0, 1.2, 45.0
"""Known cameras may differ from those of the pointmaps by so much, in the median over pairs: in
their rotation, that or that share of it, and in the direction of their way."""
NEAR_DEG, LEAST_SHARE = 10.0, 0.5
"""So much of the weight of a frame's pointmaps, own or other, has to lie so near to its pixels'
rays. What a network says of clips foreign to it keeps 0.93, points with noise of a tenth of their
distance 0.97; mirrored or random ones fall to 0.22 and less."""
FOCAL_RATIO = 1.5
"""Known focal lengths may differ from those of the pointmaps by this factor."""


def position_std(hessian: Tensor, at: Layout) -> Tensor:
    """Return the standard deviation of each position along its least certain direction, (T).

    Args:
        hessian: half the data's, in units of the noise.
        at: places of its unknowns.
    """
    frames = at.of_frame.shape[0]
    place = at.of_frame[:, 3:6]
    found = hessian.new_zeros(at.free + 1, at.free + 1)
    # Jacobi scaling; the ridge stands for what the data do not tell at all.
    root = hessian.diagonal().clamp(min=1e-300).rsqrt()
    scaled = hessian * root[:, None] * root
    scaled = scaled + 1e-9 * torch.eye(at.free).to(scaled)
    factor, failed = torch.linalg.cholesky_ex(scaled)
    if bool(failed):
        return hessian.new_full((frames,), torch.inf)
    found[:-1, :-1] = torch.cholesky_inverse(factor) * root[:, None] * root
    covariance = found[place[:, :, None], place[:, None]]
    # Of a frame of which the data tell nothing it is beyond all numbers.
    told = covariance.isfinite().flatten(1).all(dim=1)
    largest = torch.linalg.eigvalsh(torch.where(told[:, None, None], covariance, 0.0))[:, -1]
    return torch.where(told, (largest.clamp(min=0) / INDEPENDENT).sqrt(), torch.inf)


def parallax_flag(cameras: Cameras, std: Tensor | None, depth: float) -> list[str]:
    """Say so if the cameras have not moved, or no further than they are uncertain.

    Args:
        cameras: found.
        std: of their positions.
        depth: the median one.
    """
    way = (cameras.position - cameras.position[:1]).norm(dim=1)
    longest = float(way.max()) / depth
    doubt = 0.0 if std is None else float(std.max()) / depth
    if longest > max(LEAST_BASELINE, SURE * doubt):
        return []
    return [
        "no-parallax: as far as can be told the camera stays where it is or only turns (it moves by"
        f" {longest:.2g} median depths, uncertain by {doubt:.2g}); positions mean nothing,"
        " rotations and depths hold"
    ]


def fit_flags(observed: Observations, cameras: Cameras) -> list[str]:
    """Say so if the pointmaps of a frame do not fit its camera, or are too few points.

    Args:
        observed: the pointmaps.
        cameras: found.
    """
    pixels, share = _fit(observed, cameras)
    flags = []
    if bool((pixels < INDEPENDENT).any()):
        flags.append(
            f"few-pixels: frame {int(pixels.argmin())} rests on {int(pixels.min())} pixels, as"
            " masks or confidence leave no more; its camera is a guess"
        )
    poor = share < LEAST_SHARE
    if bool(poor.any()):
        worst = int(share.argmin())
        flags.append(
            f"poor-fit: no camera explains the pointmaps of {int(poor.sum())} of"
            f" {observed.frames} frames; of frame {worst} only {100 * float(share[worst]):.0f} %"
            f" lie within {NEAR_DEG:.0f} degrees of their pixels' rays. Such cameras mean nothing"
        )
    return flags


def _fit(observed: Observations, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Return of each frame how many pixels count, and the share of them near their rays."""
    frame = observed.pairs.T.flatten()
    weights = torch.cat([observed.weights_own, observed.weights_other])
    x, y, z = torch.cat([observed.points_own, moved_points(observed, cameras)]).unbind(dim=1)
    u, v = (observed.offset * cameras.inverse_focal[:, None, None])[frame].unbind(dim=1)
    # cos(angle) > cos(NEAR_DEG), without roots
    along, lengths2 = u * x + v * y + z, (x * x + y * y + z * z) * (1 + u * u + v * v)
    near = (along > 0) & (along * along > math.cos(math.radians(NEAR_DEG)) ** 2 * lengths2)
    # Own pointmaps fit the focal length that was made from them, so each kind counts alone.
    other = torch.arange(len(frame), device=frame.device) >= len(observed.pairs)
    none = weights.new_zeros(2 * observed.frames)
    counts = (weights > 0).double(), weights, weights * near
    pixels, total, fitting = (
        none.index_add(0, frame + observed.frames * other, c.sum(dim=1)).view(2, -1) for c in counts
    )
    share = torch.where(total > 0, fitting / total.clamp(min=1e-300), 1.0)
    return pixels.sum(dim=0), share.amin(dim=0)


def intrinsics_flag(observed: Observations) -> list[str]:
    """Say so if known intrinsics contradict the pointmaps by a factor of focal length."""
    first = observed.pairs[:, 0]
    found, trust = focals(observed.points_own, observed.offset[first], observed.weights_own)
    ratio = found[trust > 0].log().abs().exp()  # known intrinsics make tangents: 1 is right
    worst = float(ratio.median()) if ratio.numel() else 1.0
    if worst < FOCAL_RATIO:
        return []
    return [
        "intrinsics-mismatch: the pointmaps call for a focal length that differs from the known one"
        f" by a factor of {worst:.2f}; is K in the pixels of these images?"
    ]


def cameras_flag(cameras: Cameras, known: KnownCameras, depth: float) -> list[str]:
    """Say so if known cameras move in quite another way than the pointmaps do.

    Args:
        cameras: found without knowing any.
        known: some of them.
        depth: the median one, of the cameras that were found.
    """
    count = len(known.frames)
    i, j = torch.triu_indices(count, count, offset=1, device=known.frames.device)
    if not len(i):
        return []
    ways, turns = [], []
    for rotation, position in (
        (cameras.rotation[known.frames], cameras.position[known.frames]),
        (known.world_from_camera[:, :3, :3], known.world_from_camera[:, :3, 3]),
    ):
        turns.append(rotation[i].mT @ rotation[j])
        ways.append((rotation[i].mT @ (position[j] - position[i])[..., None])[..., 0])
    turned = roma.rotmat_geodesic_distance(*turns).rad2deg()
    moved = ways[0].norm(dim=1) > LEAST_BASELINE * depth
    moved &= ways[1].norm(dim=1) > LEAST_BASELINE * ways[1].norm(dim=1).max()
    astray = torch.nn.functional.cosine_similarity(*ways, dim=1).clamp(-1, 1).acos().rad2deg()
    worst_turn = float(turned.median())
    worst_way = float(astray[moved].median()) if bool(moved.any()) else 0.0
    usual_turn = float(roma.rotmat_to_rotvec(turns[1]).norm(dim=1).rad2deg().median())
    may_turn = max(TURNED_DEG, TURNED_SHARE * usual_turn)
    if worst_turn < may_turn and worst_way < ASTRAY_DEG:
        return []
    return [
        "cameras-mismatch: the known cameras turn and move in another way than the pointmaps say"
        f" (by {worst_turn:.0f} and {worst_way:.0f} degrees, medians over pairs); are they"
        " world_from_camera with OpenCV axes, in the order of the frames?"
    ]

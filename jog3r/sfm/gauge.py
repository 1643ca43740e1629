"""The world and the unit of length of new cameras, and cameras for frames that have none."""

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.geometry import invert, rigid
from jog3r.geometry.similarity import Similarity


def move(cameras: Float[Tensor, "t 4 4"], scale: float) -> Float[Tensor, "t 4 4"]:
    """Return cameras in another unit of length."""
    return rigid(cameras[:, :3, :3], scale * cameras[:, :3, 3])


def in_world_of_first(
    cameras: Float[Tensor, "t 4 4"], first: Float[Tensor, "4 4"]
) -> Float[Tensor, "t 4 4"]:
    """Return cameras in the world where the first one stands at `first`."""
    return first @ invert(cameras[0]) @ cameras


def fit_cameras(
    source: Float[Tensor, "t 4 4"], target: Float[Tensor, "t 4 4"]
) -> Similarity | None:
    """Fit the similarity that moves cameras onto others, by their rotations and positions.

    Rotations give the rotation, also of cameras on one line; the scale is the median ratio of
    the distances between cameras, which one wrong camera does not move.

    Returns:
        None where one side does not move, so that nothing tells the scale.
    """
    rotation: Tensor = roma.special_procrustes(
        (target[:, :3, :3] @ source[:, :3, :3].transpose(1, 2)).sum(dim=0)
    )  # type: ignore[assignment]
    centres = [cameras[:, :3, 3] for cameras in (source, target)]
    steps, new_steps = (torch.nn.functional.pdist(centre) for centre in centres)
    if min(float(steps.max()), float(new_steps.max())) < 1e-9:
        return None
    used = steps > 1e-3 * steps.max()
    scale = (new_steps[used] / steps[used]).median()
    shift = (centres[1] - scale * centres[0] @ rotation.T).median(dim=0).values
    return Similarity(rotation, shift, scale)


def carry(
    cameras: Float[Tensor, "t 4 4"],
    registered: Bool[Tensor, " t"],
    guide: Float[Tensor, "t 4 4"],
) -> Float[Tensor, "t 4 4"]:
    """Give frames without a camera the one that `guide` has, seen from the nearest frame with one.

    Args:
        cameras: of registered frames.
        registered: which those are.
        guide: cameras of all frames in a world and at a scale of their own.
    """
    fit = fit_cameras(guide[registered], cameras[registered])
    near = nearest(registered)
    # Where nothing tells the scale, the camera turns as the guide does and stays in place.
    step = move(invert(guide)[near] @ guide, 0.0 if fit is None else float(fit.scale))
    return torch.where(registered[:, None, None], cameras, cameras[near] @ step)


def interpolate(
    cameras: Float[Tensor, "t 4 4"], registered: Bool[Tensor, " t"]
) -> Float[Tensor, "t 4 4"]:
    """Give frames without a camera one between their neighbours; before and after all, the nearest.

    Rotations follow the shortest arc, positions the straight line, both at constant speed.
    """
    known = registered.nonzero()[:, 0]
    time = torch.arange(len(cameras))
    after = torch.searchsorted(known, time).clamp(max=len(known) - 1)
    before = (after - (known[after] > time).long()).clamp(min=0)
    a, b = known[before], known[after]
    share = ((time - a).double() / (b - a).clamp(min=1)).clamp(0, 1).to(cameras)
    a, b = cameras[a], cameras[b]
    turn = roma.rotmat_to_rotvec(a[:, :3, :3].transpose(1, 2) @ b[:, :3, :3])
    rotation = a[:, :3, :3] @ roma.rotvec_to_rotmat(share[:, None] * turn)
    position = torch.lerp(a[:, :3, 3], b[:, :3, 3], share[:, None])
    return torch.where(registered[:, None, None], cameras, rigid(rotation, position))


def nearest(registered: Bool[Tensor, " t"]) -> Tensor:
    """Return, for every frame, the registered one nearest in time."""
    known = registered.nonzero()[:, 0]
    time = torch.arange(len(registered))
    return known[(time[:, None] - known).abs().argmin(dim=1)]

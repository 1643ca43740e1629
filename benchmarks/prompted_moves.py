"""Does a camera path do what a prompt says?"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.poses import angle_deg, mean_and_error
from jog3r.data.world.camera_paths import MOVES

NEAR_DEG = 45.0
MOVE_RULE = (
    f"obeyed: the mean step, in the axes of the camera that takes it, lies within {NEAR_DEG:g} deg"
    " of the named direction; for turns: the last camera looks to the named side of the first;"
    " shuffled: the same prompts, judged on the paths of all other prompts; a clip that cannot be"
    " aligned obeys nothing"
)


def group_of(move: str) -> str:
    """Return what kind of move a caption names.

    Example:
        >>> group_of("orbits left"), group_of("moves right"), group_of("rises")
        ('orbits', 'sideways', 'vertical')
    """
    if move in ("moves left", "moves right"):
        return "sideways"
    if move in ("rises", "descends"):
        return "vertical"
    return move.removeprefix("moves ").split()[0]


def mean_direction(world_from_camera: Tensor) -> Tensor:
    """Return the mean step of a path in the axes of the camera that takes it."""
    steps = world_from_camera[1:, :3, 3] - world_from_camera[:-1, :3, 3]
    return (world_from_camera[:-1, :3, :3].transpose(1, 2) @ steps[..., None])[..., 0].mean(dim=0)


def obeys(path: Tensor | None, move: str) -> bool:
    """Whether a path goes where a move says, or for a turn looks to the named side in the end."""
    if path is None:
        return False
    _, direction, side = MOVES[move]
    if group_of(move) == "turns":
        return float(path[0, :3, 0] @ path[-1, :3, 2]) * side > 0
    return bool(angle_deg(mean_direction(path), torch.tensor(direction)) <= NEAR_DEG)


def move_rows(
    name: str, paths: Sequence[Tensor | None], moves: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the share of prompts obeyed by their own path, and by the paths of all others.

    Args:
        name: of the method.
        paths: one per prompt; None counts as disobeying.
        moves: that the prompts name.
    """
    obeyed = torch.tensor([[obeys(path, move) for path in paths] for move in moves]).double()
    own, count = obeyed.diagonal(), len(moves)
    others = (obeyed.sum(dim=1) - own) / max(count - 1, 1)
    kinds = [group_of(move) for move in moves]
    rows = []
    for group in ("all", "all but forward", *sorted(set(kinds))):
        out = {"all": set(), "all but forward": {"forward"}}.get(group, set(kinds) - {group})
        chosen = [i for i, kind in enumerate(kinds) if kind not in out]
        if chosen:
            mean, se = mean_and_error([float(own[i]) for i in chosen])
            row = {"method": name, "moves": group, "prompts": len(chosen), "obeyed_%": 100 * mean}
            rows.append(row | {"se": 100 * se, "shuffled_%": 100 * float(others[chosen].mean())})
    return rows

"""The cameras and pair scales being sought, and where each stands in the linear system."""

from dataclasses import dataclass
from typing import Literal

import roma
import torch
from torch import Tensor

FocalMode = Literal["known", "shared", "each"]
TURN, SHIFT, FOCAL = slice(0, 3), slice(3, 6), 6


@dataclass(frozen=True)
class Cameras:
    """world_from_camera as rotation (T, 3, 3) and position (T, 3), and what goes with them.

    `inverse_focal` (T) is in 1/px, or 1 where the intrinsics are known and pixels are given as
    tangents. `log_scale` (E) is the logarithm of the factor that brings a pair to the common scale.
    """

    rotation: Tensor
    position: Tensor
    inverse_focal: Tensor
    log_scale: Tensor

    def moved(self, step: Tensor, log_scale_step: Tensor) -> "Cameras":
        """Apply a step (T, 7): turn, shift in the world, logarithm of the focal length."""
        return Cameras(
            self.rotation @ roma.rotvec_to_rotmat(step[:, TURN]),
            self.position + step[:, SHIFT],
            self.inverse_focal * torch.exp(-step[:, FOCAL]),
            self.log_scale + log_scale_step,
        )

    def scaled(self, factor: Tensor, centre: Tensor | float = 0.0) -> "Cameras":
        """Change the unit of length; the centre (3) stays. Nothing that can be seen changes."""
        return Cameras(
            self.rotation,
            centre + (self.position - centre) * factor,
            self.inverse_focal,
            self.log_scale + factor.log(),
        )

    def other_from_own(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Return camera_j_from_i of every pair at its own scale: rotation and translation."""
        i, j = pairs.unbind(dim=1)
        turned = self.rotation[j].transpose(1, 2)
        shift = turned @ (self.position[i] - self.position[j])[..., None]
        return turned @ self.rotation[i], shift[..., 0] / self.log_scale.exp()[:, None]


@dataclass(frozen=True)
class Layout:
    """Place of every unknown in the linear system; those that are held share the place `free`.

    Args:
        of_frame: (T, 7).
        of_pair: (E).
        free: how many unknowns there are.
    """

    of_frame: Tensor
    of_pair: Tensor
    free: int

    def zeros(self, *rows: int) -> Tensor:
        """Return room for rows of the system; the last column takes what is held."""
        return torch.zeros(*rows, self.free + 1, dtype=torch.float64, device=self.of_pair.device)

    def square(self) -> Tensor:
        """Return room for the system's matrix."""
        return self.zeros(self.free + 1)

    def add_entries(self, matrix: Tensor, row: Tensor, column: Tensor, values: Tensor) -> None:
        """Add values at rows and columns, whose shapes are broadcast to that of the values."""
        place = (row * matrix.shape[1] + column).expand_as(values)
        matrix.view(-1).index_add_(0, place.flatten(), values.flatten())

    def add_blocks(self, matrix: Tensor, place: Tensor, blocks: Tensor) -> None:
        """Add square blocks (E, k, k) whose unknowns stand at places (E, k)."""
        self.add_entries(matrix, place[:, :, None], place[:, None], blocks)

    def add_diagonal(self, matrix: Tensor, place: Tensor, values: Tensor) -> None:
        """Add values on the diagonal."""
        self.add_entries(matrix, place, place, values)

    def split(self, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return the steps of the frames (T, 7) and of the pairs (E); 0 for what is held."""
        padded = torch.cat([step, step.new_zeros(1)])
        return padded[self.of_frame], padded[self.of_pair]


def layout(focal: FocalMode, held: Tensor, pairs: int, *, hold_scale: bool) -> Layout:
    """Number the unknowns.

    Args:
        focal: "known" (kept), "shared" by all frames, or "each" frame its own.
        held: (T) True where the camera is kept where it is.
        pairs: how many there are.
        hold_scale: keep the first pair's scale, as nothing else fixes the unit of length.
    """
    frames, device = held.numel(), held.device
    moving = torch.zeros(frames, 7, dtype=torch.bool, device=device)
    moving[:, :6] = ~held[:, None]
    moving[:, FOCAL] = focal == "each"
    poses = int(moving.sum())
    shared = int(focal == "shared")
    free = poses + shared + pairs - int(hold_scale)
    of_frame = torch.full((frames, 7), free, device=device)
    of_frame[moving] = torch.arange(poses, device=device)
    if shared:
        of_frame[:, FOCAL] = poses
    of_pair = torch.arange(pairs, device=device) + poses + shared - int(hold_scale)
    if hold_scale:
        of_pair[0] = free
    return Layout(of_frame, of_pair, free)

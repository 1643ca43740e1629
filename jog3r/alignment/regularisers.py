"""Temporal regularisers of the cameras: residuals and their derivatives, each with its weight."""

from dataclasses import dataclass, fields

import roma
import torch
from torch import Tensor

from jog3r.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Regularisers:
    """Weights of the temporal regularisers; 0 switches one off.

    Frames are taken in order of time. Positions are divided by the mean length of a step of the
    closed-form start, so a weight means the same whatever the scale of the points. A weight is
    relative to the fit's own term: the mean over a frame's pixels of the squared error in units of
    its noise, summed over the frames. So the cleaner the points, the less a regulariser can do.

    The defaults suit a camera that moves like those of RealEstate10K, by hand or smoothly, see
    `benchmarks/regularisers.py`: `constant_turn` lessens rotation errors most, `constant_velocity`
    those of position. `rotation_smoothness` shortens true rotations too, so it is weak. Use
    `Regularisers.off()` for unordered photos and smaller weights for a camera that shakes.

    Args:
        focal_smoothness: sum (log l_f - log l_{f+1})^2 of the focal lengths; without effect where
            the focal length is shared or known.
        static_camera: sum ||t_f - t_{f+1}||^2 of the positions; shortens the path.
        constant_velocity: sum ||v_f - v_{f+1}||^2, v_f = t_f - t_{f+1}; straightens the path.
        rotation_smoothness: sum ||R_f^T R_{f+1} - I||_F^2; lessens the rotation.
        constant_turn: sum of the squared change of that relative rotation from one step to the
            next; evens the rotation as constant_velocity evens the path.

    Source: JOG3R (arXiv 2501.01409) appendix A for the first three, with the logarithm and the step
        length added; MonST3R (arXiv 2410.03825) for the fourth, squared; own for the last.
    """

    focal_smoothness: float = 10.0
    static_camera: float = 0.03
    constant_velocity: float = 3.0
    rotation_smoothness: float = 1.0
    constant_turn: float = 300.0

    def __post_init__(self) -> None:
        for field in fields(self):
            weight = getattr(self, field.name)
            number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not number or not 0 <= weight < float("inf"):
                raise InputError(f"{field.name}: expected a finite weight >= 0, got {weight!r}")

    @classmethod
    def off(cls) -> "Regularisers":
        """Return none at all, as for unordered photos."""
        return cls(**{field.name: 0.0 for field in fields(cls)})


@dataclass(frozen=True)
class Temporal:
    """The regularisers of one clip as weighted residuals with their derivatives.

    The unknowns of a frame are seven: a turn w (rotation R exp(w), R being world_from_camera), a
    shift of the position in the world, and a change of the logarithm of the focal length.
    """

    weights: Regularisers
    step_length: float

    def terms(self, rotation: Tensor, position: Tensor, log_focal: Tensor) -> tuple[Tensor, Tensor]:
        """Return residuals (n) whose squares sum to the cost, and their derivatives (n, 7 T).

        Args:
            rotation: (T, 3, 3) world_from_camera.
            position: (T, 3).
            log_focal: (T).
        """
        frames = position.shape[0]
        step = torch.eye(frames, dtype=position.dtype, device=position.device).diff(dim=0)
        path = position / self.step_length
        turn, turn_by = _relative_turn(rotation)
        parts = [
            _scaled(self.weights.static_camera, *self._path(path, step)),
            _scaled(self.weights.constant_velocity, *self._path(path, step.diff(dim=0))),
            _scaled(self.weights.focal_smoothness, *_focal(log_focal, step)),
            _scaled(self.weights.rotation_smoothness, turn, turn_by),
            _scaled(self.weights.constant_turn, turn.diff(dim=0), turn_by.diff(dim=0)),
        ]
        return torch.cat([r for r, _ in parts]), torch.cat([j for _, j in parts])

    def _path(self, path: Tensor, stencil: Tensor) -> tuple[Tensor, Tensor]:
        rows, frames = stencil.shape
        jacobian = path.new_zeros(rows, 3, frames, 7)
        for axis in range(3):
            jacobian[:, axis, :, 3 + axis] = stencil / self.step_length
        return stencil @ path, jacobian.flatten(2)


def _focal(log_focal: Tensor, stencil: Tensor) -> tuple[Tensor, Tensor]:
    jacobian = log_focal.new_zeros(*stencil.shape, 7)
    jacobian[..., 6] = stencil
    return stencil @ log_focal, jacobian.flatten(1)


def _relative_turn(rotation: Tensor) -> tuple[Tensor, Tensor]:
    """Return (T-1, 3) vectors of length ||R_f^T R_{f+1} - I||_F and derivatives (T-1, 3, 7 T).

    That norm is 2 sqrt(2) |sin(angle / 2)|: the vector part of the quaternion, scaled.
    """
    frames = rotation.shape[0]
    quaternion = roma.rotmat_to_unitquat(rotation[:-1].transpose(-1, -2) @ rotation[1:])
    quaternion = torch.where(quaternion[:, 3:] < 0, -quaternion, quaternion)
    vector, real = quaternion[:, :3], quaternion[:, 3, None, None]
    eye = torch.eye(3, dtype=rotation.dtype, device=rotation.device).expand(frames - 1, 3, 3)
    cross = torch.linalg.cross(vector[:, :, None].expand(-1, 3, 3), eye, dim=1)
    jacobian = rotation.new_zeros(frames - 1, 3, frames, 7)
    first = torch.arange(frames - 1, device=rotation.device)
    jacobian[first, :, first, :3] = (cross - real * eye) / 2
    jacobian[first, :, first + 1, :3] = (cross + real * eye) / 2
    return 8**0.5 * vector, 8**0.5 * jacobian.flatten(2)


def _scaled(weight: float, residual: Tensor, jacobian: Tensor) -> tuple[Tensor, Tensor]:
    unknowns = jacobian.shape[-1]
    return weight**0.5 * residual.flatten(), weight**0.5 * jacobian.reshape(-1, unknowns)

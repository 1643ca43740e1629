"""The mean of a loss over each sample's frames, or over those that count."""

from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.errors import InputError


def frame_mean(
    values: Float[Tensor, "b c t h w"], frame_mask: Bool[Tensor, "b t"] | None
) -> Float[Tensor, " b"]:
    """Average over everything but the samples.

    Args:
        values: Of the loss.
        frame_mask: Frames that count; None for all.

    Raises:
        InputError: A mask of another size, or a sample of which no frame counts.
    """
    if frame_mask is None:
        return values.flatten(1).mean(dim=1)
    size = (values.shape[0], values.shape[2])
    if tuple(frame_mask.shape) != size or not bool(frame_mask.any(dim=1).all()):
        raise InputError(
            f"frame_mask: expected {size} with at least one noised frame per sample, got"
            f" {tuple(frame_mask.shape)} with {frame_mask.sum().item()} noised frames in all"
        )
    per_frame = values.mean(dim=(1, 3, 4))
    return (per_frame * frame_mask).sum(dim=1) / frame_mask.sum(dim=1)

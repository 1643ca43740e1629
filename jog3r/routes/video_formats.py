"""What backbones are told of the video they work on."""

from typing import TYPE_CHECKING

from torch import Tensor

from jog3r.backbones.interface import VideoFormat

if TYPE_CHECKING:
    from jog3r.model import JOG3R


def video_format(
    model: "JOG3R",
    samples: int,
    frames: int,
    *,
    fps: float | None = None,
    latents: Tensor | None = None,
) -> VideoFormat:
    """Describe videos of the model's own size, or of the size of some latents.

    Args:
        model: The model.
        samples: How many.
        frames: Their length.
        fps: Their rate; None for the model's own.
        latents: Whose rows and columns they have; None for the model's own size.
    """
    height, width = model.config.image_size if latents is None else _pixels(model, latents)
    return VideoFormat.of(
        samples,
        num_frames=frames,
        height=height,
        width=width,
        fps=model.config.fps if fps is None else fps,
        device=model.device,
    )


def _pixels(model: "JOG3R", latents: Tensor) -> tuple[int, int]:
    network = model.stitched
    _, *per_token = network.backbone.config.patch_size
    rows, columns = (
        size * network.config.patch // step
        for size, step in zip(latents.shape[-2:], per_token, strict=True)
    )
    return rows, columns

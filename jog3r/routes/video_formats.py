"""What backbones are told of the video they work on."""

from typing import TYPE_CHECKING

from jog3r.backbones.interface import VideoFormat

if TYPE_CHECKING:
    from jog3r.model import JOG3R


def video_format(
    model: "JOG3R", samples: int, frames: int, *, fps: float | None = None
) -> VideoFormat:
    """Describe videos of the model's own size.

    Args:
        model: The model.
        samples: How many.
        frames: Their length.
        fps: Their rate; None for the model's own.
    """
    height, width = model.config.image_size
    return VideoFormat.of(
        samples,
        num_frames=frames,
        height=height,
        width=width,
        fps=model.config.fps if fps is None else fps,
        device=model.device,
    )

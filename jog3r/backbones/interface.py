"""What every backbone takes and gives, whatever its architecture."""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from numbers import Real
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from jog3r.errors import InputError


@dataclass(frozen=True, kw_only=True)
class VideoFormat:
    """What a video looks like once decoded, for backbones that are told; one number per sample.

    Attributes:
        num_frames: Of the video, not of its latents.
        height: [px].
        width: [px].
        fps: Frames per second.
    """

    num_frames: Float[Tensor, " b"]
    height: Float[Tensor, " b"]
    width: Float[Tensor, " b"]
    fps: Float[Tensor, " b"]

    @classmethod
    def of(
        cls,
        batch: int,
        *,
        num_frames: float,
        height: float,
        width: float,
        fps: float,
        device: torch.device | str = "cpu",
    ) -> "VideoFormat":
        """Describe a batch of videos that look alike.

        Args:
            batch: Number of samples.
            num_frames: Of every video.
            height: [px].
            width: [px].
            fps: Frames per second.
            device: Where the latents are.

        Raises:
            InputError: A number that is not finite and above 0.

        Example:
            >>> VideoFormat.of(2, num_frames=16, height=144, width=256, fps=8).aspect_ratio
            tensor([0.5625, 0.5625])
        """
        numbers = {"num_frames": num_frames, "height": height, "width": width, "fps": fps}
        for name, number in numbers.items():
            if not isinstance(number, Real) or not 0 < number < math.inf:
                raise InputError(
                    f"video_format.{name}: expected a finite number above 0, got {number!r}"
                )
        return cls(
            **{
                name: torch.full((batch,), float(number), device=device)
                for name, number in numbers.items()
            }
        )

    @property
    def aspect_ratio(self) -> Float[Tensor, " b"]:
        """Height over width."""
        return self.height / self.width


@dataclass(frozen=True, kw_only=True)
class BackboneOutput:
    """What one pass through a backbone gives.

    Attributes:
        prediction: `(B, C_out, T, H, W)`, or None when the pass was stopped by `until`.
        taps: tokens `(B, T, S, D)` at the output of the blocks asked for; the first block is 1.
            S runs over the token grid row by row.
    """

    prediction: Tensor | None
    taps: dict[int, Tensor] = field(default_factory=dict)


@runtime_checkable
class BackboneConfig(Protocol):
    """What the rest of the model has to know of a backbone, whatever else its Config holds."""

    @property
    def in_channels(self) -> int:
        """Channels of the latents."""
        ...

    @property
    def patch_size(self) -> tuple[int, int, int]:
        """Latent frames, rows and columns per token."""
        ...

    @property
    def hidden_size(self) -> int:
        """Channels of a token."""
        ...

    @property
    def depth(self) -> int:
        """Number of blocks."""
        ...

    @property
    def caption_channels(self) -> int:
        """Channels of the text features."""
        ...

    @property
    def max_text_tokens(self) -> int:
        """Length of the stored null text."""
        ...


@runtime_checkable
class Backbone(Protocol):
    """A video diffusion transformer whose blocks can be tapped and which can be left early.

    Attributes:
        gradient_checkpointing: Whether blocks are computed again in the backward pass, which saves
            what they would have to keep.
    """

    gradient_checkpointing: bool

    @property
    def config(self) -> BackboneConfig:
        """What it was built from."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Give its parameters, as every module of torch does."""
        ...

    def null_text(self, batch: int) -> Float[Tensor, "b l e"]:
        """Give the stored features that stand for "no text"."""
        ...

    def __call__(
        self,
        latents: Float[Tensor, "b c t h w"],
        timestep: Float[Tensor, " b"],
        text: Float[Tensor, "b l e"] | None,
        text_mask: Bool[Tensor, "b l"] | None = None,
        *,
        video_format: VideoFormat | None = None,
        x_mask: Bool[Tensor, "b t"] | None = None,
        taps: Collection[int] = (),
        until: int | None = None,
        early: tuple[int, int] | None = None,
    ) -> BackboneOutput:
        """Predict the noise (or what the checkpoint was trained for) and hand out features.

        `x_mask` is True for latent frames that are noised, False for clean conditioning frames;
        None means that all are noised.
        """
        ...

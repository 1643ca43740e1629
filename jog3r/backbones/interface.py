"""What every backbone takes and gives, whatever its architecture."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor, nn


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


@runtime_checkable
class Backbone(Protocol):
    """A video diffusion transformer whose blocks can be tapped and which can be left early."""

    @property
    def config(self) -> BackboneConfig:
        """What it was built from."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Give its parameters, as every module of torch does."""
        ...

    def __call__(
        self,
        latents: Float[Tensor, "b c t h w"],
        timestep: Float[Tensor, " b"],
        text: Float[Tensor, "b l e"] | None,
        text_mask: Bool[Tensor, "b l"] | None = None,
        *,
        taps: Collection[int] = (),
        until: int | None = None,
        early: tuple[int, int] | None = None,
    ) -> BackboneOutput:
        """Predict the noise (or what the checkpoint was trained for) and hand out features."""
        ...

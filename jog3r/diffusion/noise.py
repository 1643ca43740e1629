"""Unit noise, drawn on the CPU: there a seed gives the same numbers on every machine."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.errors import InputError


def seeded(seeds: Sequence[int]) -> list[torch.Generator]:
    """Make one generator per sample, so that what is drawn depends on its own seed alone."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


class MixedNoise:
    """Draws of a schedule whose frames may have part of their noise in common.

    Attributes:
        shared_noise: Share of the variance that is common to all frames of a clip; 0 is
            independent noise.

    Source: the mixed noise of PYoCo (Ge et al. 2023, arXiv 2305.10474).
    """

    shared_noise: float

    def check_shared_noise(self) -> None:
        """Check the share.

        Raises:
            InputError: It lies outside [0, 1].
        """
        if not 0.0 <= self.shared_noise <= 1.0:
            raise InputError(
                f"schedule: expected a shared_noise from 0 to 1, got {self.shared_noise}"
            )

    def draw_noise(
        self, shape: Sequence[int], generator: torch.Generator
    ) -> Float[Tensor, "*b c t h w"]:
        """Draw unit noise, part of it common to all frames.

        Args:
            shape: `(..., C, T, h, w)`.
            generator: On the CPU.
        """
        own = torch.randn(*shape, generator=generator)
        if self.shared_noise == 0.0:
            return own
        common = torch.randn(*shape[:-3], 1, *shape[-2:], generator=generator)
        return (1.0 - self.shared_noise) ** 0.5 * own + self.shared_noise**0.5 * common

    def draw_each(
        self, shape: Sequence[int], generators: Sequence[torch.Generator]
    ) -> Float[Tensor, "b c t h w"]:
        """Draw unit noise for each sample from its own generator.

        Args:
            shape: Of one sample, `(C, T, h, w)`.
            generators: One per sample, on the CPU.
        """
        return torch.stack([self.draw_noise(shape, generator) for generator in generators])

    def unit_noise(self, shape: Sequence[int], seeds: Sequence[int]) -> Float[Tensor, "b c t h w"]:
        """Draw unit noise; each sample's depends on its own seed alone.

        Args:
            shape: Of one sample, `(C, T, h, w)`.
            seeds: One per sample.
        """
        return self.draw_each(shape, seeded(seeds))

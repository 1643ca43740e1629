"""What is random in a step of training, drawn for each clip from its place in the stream alone.

So neither the batch a clip falls into, nor the process, nor a restart changes what it meets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jog3r.diffusion.interface import Schedule
from jog3r.errors import InputError


def check_seed(seed: int) -> None:
    """Check a seed of training.

    Raises:
        InputError: A negative one.
    """
    if seed < 0:
        raise InputError(f"seed: expected 0 or more, got {seed}")


def clip_generators(seed: int, batch: dict[str, Any]) -> list[torch.Generator]:
    """Give one source of randomness for each clip of a batch, on the CPU.

    Args:
        seed: Of the run; all its bits count.
        batch: With `number`, the places of its clips in the stream.

    Raises:
        InputError: A batch without numbers.
    """
    if "number" not in batch:
        raise InputError(
            f"batch: expected number, the place of each clip in the stream, got {[*batch]}; give"
            " batches as jog3r.training.streams.BatchStream describes them"
        )
    return [
        torch.Generator().manual_seed(_mixed(seed, number)) for number in batch["number"].tolist()
    ]


def seed_step(seed: int, batch: dict[str, Any]) -> None:
    """Seed torch's global randomness, which dropout uses, by the first clip of this process."""
    torch.manual_seed(_mixed(seed, int(batch["number"][0])))


def _mixed(seed: int, number: int) -> int:
    # torch looks at 32 bits of a seed only, so both numbers are mixed into as many.
    return int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1)[0])


@dataclass(frozen=True)
class Draws:
    """What is random in a step of joint training.

    Attributes:
        noise: `(2, B, C, T, h, w)`, of generation and of reconstruction.
        uniform: `(3, B)` in [0, 1), on the CPU: for the timesteps of generation and of
            reconstruction, and for whether a prompt is dropped.
        partners: `(B, P)`, the second frames of each clip's pairs.
    """

    noise: Tensor
    uniform: Tensor
    partners: Tensor


def draw(
    generators: Sequence[torch.Generator], schedule: Schedule, latents: Tensor, *, pairs: int
) -> Draws:
    """Draw for a batch. A change of order here changes every later training.

    Args:
        generators: One per clip.
        schedule: Of the model, which knows its noise.
        latents: `(B, C, T, h, w)`.
        pairs: At most so many per clip.
    """
    shape = latents.shape[1:]
    noise = torch.stack([schedule.draw_noise((2, *shape), each) for each in generators], dim=1)
    uniform = torch.stack([torch.rand(3, generator=each) for each in generators], dim=1)
    partners = torch.stack([sample_partners(shape[1], pairs, each) for each in generators])
    device = latents.device
    return Draws(noise.to(device), uniform, partners.to(device))


def sample_partners(frames: int, pairs: int, generator: torch.Generator) -> Tensor:
    """Draw the second frames of a clip's pairs, without repeats.

    Returns:
        `(min(pairs, frames - 1),)`, from 1 to frames - 1.
    """
    return 1 + torch.randperm(frames - 1, generator=generator)[:pairs]

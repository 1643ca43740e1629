"""What the backbone is told by text, and what it is told where there is none."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.errors import InputError


def with_null_text(
    text: Float[Tensor, "b l e"],
    mask: Bool[Tensor, "b l"],
    kept: Sequence[bool],
    null: Float[Tensor, "n e"],
    *,
    extra: int = 0,
) -> tuple[Float[Tensor, "c n e"], Bool[Tensor, "c n"]]:
    """Put the stored null text in the place of dropped prompts, and append it `extra` times.

    A dropped prompt keeps its mask: the public checkpoints were trained so, and the length of the
    prompt is all that is left of it. Appended null texts are attended to in full.

    Args:
        text: Features of the prompts.
        mask: True at their tokens.
        kept: Which of them stay.
        null: The backbone's null text.
        extra: How many null texts follow, for reconstruction.

    Returns:
        Features and mask of B + extra texts, as long as the null text.

    Raises:
        InputError: Prompts longer than the null text, or features of another width.

    Source: classifier-free guidance as in Open-Sora 1.0.
    """
    missing = len(null) - text.shape[1]
    if missing < 0 or text.shape[2] != null.shape[1]:
        raise InputError(
            f"text: expected features of at most {len(null)} tokens and {null.shape[1]} channels,"
            f" got {tuple(text.shape)}; encode the captions with the checkpoint's text encoder"
        )
    stays = torch.tensor(kept, device=text.device)[:, None, None]
    null = null.to(text)
    texts = torch.where(stays, F.pad(text, (0, 0, 0, missing)), null)
    full = mask.new_ones(extra, len(null))
    return (
        torch.cat([texts, null.expand(extra, -1, -1)]),
        torch.cat([F.pad(mask, (0, missing)), full]),
    )

"""Text features made beforehand, and batches of them together with prompts.

A large text encoder need not be there when a model runs: its features fit in a small file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.errors import FileError, InputError


@dataclass(frozen=True, eq=False)
class TextFeatures:
    """What a text encoder makes of one prompt.

    Attributes:
        features: One row per token.
        mask: True at the tokens of the prompt, False at padding.

    Raises:
        InputError: Shapes or dtypes that do not fit, no token, NaN or infinity.

    Example:
        >>> made = TextFeatures(torch.ones(4, 16), torch.tensor([True, True, False, False]))
        >>> made.save("prompt.safetensors")
        >>> TextFeatures.load("prompt.safetensors").features.shape
        torch.Size([4, 16])
    """

    features: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        for name in ("features", "mask"):
            if not isinstance(getattr(self, name), Tensor):
                got = type(getattr(self, name)).__name__
                raise InputError(f"{name}: expected a tensor, got {got}; use torch.as_tensor")
        features, mask = self.features, self.mask
        if features.ndim != 2 or not features.numel() or not features.is_floating_point():
            raise InputError(
                "features: expected floating numbers of shape (tokens, channels), got"
                f" {features.dtype} of {tuple(features.shape)}; give those of one prompt"
            )
        if mask.shape != features.shape[:1] or mask.dtype != torch.bool or not mask.any():
            raise InputError(
                f"mask: expected {len(features)} of True and False with a True among them, got"
                f" {mask.dtype} of {tuple(mask.shape)}; True marks the tokens of the prompt"
            )
        if not features.isfinite().all():
            raise InputError(
                "features: expected finite numbers, got NaN or infinity; encode the prompt again,"
                " in bfloat16 or float32"
            )

    @classmethod
    def load(cls, file: str | Path) -> "TextFeatures":
        """Read features from a safetensors file.

        Raises:
            FileError: Missing, truncated or not safetensors, or not what `save` writes.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors = load_file(file)
        except (SafetensorError, OSError, ValueError) as error:
            raise FileError(
                f"{file}: expected a safetensors file of text features, got a missing, truncated or"
                f" foreign one ({error}); make it again with TextFeatures.save"
            ) from error
        if set(tensors) != {"features", "mask"}:
            raise FileError(
                f"{file}: expected the tensors 'features' and 'mask', got {sorted(tensors)[:4]};"
                " give a file made by TextFeatures.save"
            )
        try:
            return cls(**tensors)
        except InputError as error:
            raise FileError(f"{file}: {error}") from error

    def save(self, file: str | Path) -> None:
        """Write one safetensors file, whole or not at all.

        Raises:
            SaveError: It cannot be written.
        """
        from safetensors.torch import save

        from jog3r.export.atomic import atomic_file

        tensors = {"features": self.features, "mask": self.mask}
        with atomic_file(file) as target:
            target.write(save({name: each.contiguous().cpu() for name, each in tensors.items()}))


@runtime_checkable
class PromptEncoder(Protocol):
    """What `text_batch` needs of a text encoder."""

    def __call__(
        self, prompts: Sequence[str]
    ) -> tuple[Float[Tensor, "b l e"], Bool[Tensor, "b l"]]:
        """Encode prompts."""
        ...


def text_batch(
    texts: Sequence[str | TextFeatures],
    encoder: PromptEncoder | None = None,
    *,
    device: str | torch.device = "cpu",
) -> tuple[Float[Tensor, "b l e"], Bool[Tensor, "b l"]]:
    """Encode prompts, and put them and ready features into one batch.

    Args:
        texts: Prompts and features, in any order.
        encoder: Encodes the prompts; without one, there may be none.
        device: Of the result.

    Returns:
        Float32 features, zeros after the shorter ones, and a mask that is False there.

    Raises:
        InputError: No text, neither text nor features, a prompt but no encoder, or features of
            several widths.

    Example:
        >>> made = TextFeatures(torch.ones(3, 16), torch.ones(3, dtype=torch.bool))
        >>> features, mask = text_batch([made, made])
        >>> features.shape
        torch.Size([2, 3, 16])
    """
    _check_texts(texts, encoder)
    prompts = [text for text in texts if isinstance(text, str)]
    encoded = iter(zip(*encoder(prompts), strict=True) if encoder and prompts else ())
    rows = [
        (text.features, text.mask) if isinstance(text, TextFeatures) else next(encoded)
        for text in texts
    ]
    widths = sorted({features.shape[-1] for features, _ in rows})
    if len(widths) > 1:
        raise InputError(
            f"prompt: expected features of one width, got {widths}; make all with the text encoder"
            " of this model"
        )
    length = max(len(mask) for _, mask in rows)
    features = [F.pad(each.to(device).float(), (0, 0, 0, length - len(each))) for each, _ in rows]
    masks = [F.pad(mask.to(device), (0, length - len(mask))) for _, mask in rows]
    return torch.stack(features), torch.stack(masks)


def _check_texts(texts: Sequence[str | TextFeatures], encoder: PromptEncoder | None) -> None:
    wrong = [each for each in texts if not isinstance(each, str | TextFeatures)]
    if wrong or not texts:
        got = type(wrong[0]).__name__ if wrong else "none"
        raise InputError(f"prompt: expected text or TextFeatures, got {got}; give at least one")
    if encoder is None and any(isinstance(each, str) for each in texts):
        raise InputError(
            "prompt: expected TextFeatures, as this model has no text encoder, got text; encode it"
            " elsewhere, or load the model with a text encoder"
        )

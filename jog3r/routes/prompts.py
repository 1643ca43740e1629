"""What the backbone is told by text, and what it is told where there is none."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from jog3r.codecs.features import TextFeatures, text_batch
from jog3r.codecs.text import TextEncoder
from jog3r.errors import InputError
from jog3r.routes.arguments import Prompt

if TYPE_CHECKING:
    from jog3r.model import JOG3R


def check_prompts(model: "JOG3R", prompts: Sequence[Prompt]) -> None:
    """Refuse prompts that the model's text encoder does not understand.

    Raises:
        InputError: A prompt that is too long or without a known word, any where there is no text
            encoder, or a network that takes none.
    """
    # Both raise; where there is no backbone, asking for a text encoder would help nobody.
    _ = model.network, model.stitched
    for text in dict.fromkeys(prompt for prompt in prompts if isinstance(prompt, str) and prompt):
        model.text_encoder.check_prompt(text)


def encodes_empty(model: "JOG3R") -> bool:
    """Whether the empty prompt is encoded like any other, by a text encoder of the model's own."""
    return hasattr(model, "text_encoder") and isinstance(model.text_encoder, TextEncoder)


def encode_texts(
    model: "JOG3R", texts: Sequence[Prompt]
) -> tuple[Float[Tensor, "b l e"], Bool[Tensor, "b l"]]:
    """Encode prompts; the empty one as the model was trained to take it.

    A text encoder of the model's own encodes it like any other. With an encoder from elsewhere, and
    without one, it is the null text that the backbone stores.

    Raises:
        InputError: A prompt that is too long, one where there is no text encoder, or features that
            the backbone does not take.
    """
    _check_features(model, texts)
    encoder = model.text_encoder if hasattr(model, "text_encoder") else None
    if not encodes_empty(model):
        texts = [null_text(model) if text == "" else text for text in texts]
    return text_batch(texts, encoder, device=model.device)


def _check_features(model: "JOG3R", texts: Sequence[Prompt]) -> None:
    made = [text.features for text in texts if isinstance(text, TextFeatures)]
    if not made or not hasattr(model, "network"):  # what only encodes needs no backbone
        return
    backbone = model.stitched.backbone.config
    for features in made:
        if features.shape[1] != backbone.caption_channels:
            raise InputError(
                f"prompt: expected features of width {backbone.caption_channels}, which the"
                f" backbone takes, got {features.shape[1]}; encode it with the checkpoint's text"
                " encoder"
            )
        if not encodes_empty(model):
            _check_length(len(features), backbone.max_text_tokens)


def _check_length(tokens: int, longest: int) -> None:
    if tokens > longest:
        raise InputError(
            f"prompt: expected features of at most {longest} tokens, as the backbone's null text"
            f" has, got {tokens}; encode it with the checkpoint's text encoder"
        )


def guided_texts(
    model: "JOG3R", negative_prompt: Prompt, prompts: Sequence[Prompt]
) -> tuple[Float[Tensor, "b l e"], Bool[Tensor, "b l"]]:
    """Encode what guidance leads away from, once per prompt, and then the prompts.

    Raises:
        InputError: As `encode_texts`; and a prompt that is longer than the null text.

    Source: as in Open-Sora's sampling, the null text keeps the mask of the prompt.
    """
    if encodes_empty(model) or negative_prompt != "":
        return encode_texts(model, [*[negative_prompt] * len(prompts), *prompts])
    features, masks = encode_texts(model, prompts)
    rows = [TextFeatures(*row) for row in zip(features, masks, strict=True)]
    nulls = [null_text(model, mask) for mask in masks]
    return text_batch([*nulls, *rows], device=model.device)


def null_text(model: "JOG3R", mask: Bool[Tensor, " l"] | None = None) -> TextFeatures:
    """Give the backbone's stored features that stand for "no text".

    Args:
        model: The model.
        mask: Of the prompt in whose place it comes; None to attend to all of it.

    Raises:
        InputError: The mask is longer than the null text.
    """
    features = model.stitched.backbone.null_text(1)[0]
    if mask is None:
        return TextFeatures(features, features.new_ones(len(features)).bool())
    _check_length(len(mask), len(features))
    return TextFeatures(features, F.pad(mask, (0, len(features) - len(mask))))

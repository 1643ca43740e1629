"""Prompts -> text features: a word tokenizer and a T5 encoder (transformers' class) of any size."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from jog3r.config import check_positive
from jog3r.errors import FileError, InputError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from transformers import T5EncoderModel

logger = logging.getLogger(__name__)

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"


class TextEncoder(nn.Module):
    """Text features for cross-attention. The empty prompt is the end token alone.

    Attributes:
        tokenizer: Lower-cases, splits at spaces and punctuation, and knows whole words.
        t5: transformers' T5EncoderModel.
    """

    @dataclass(kw_only=True, frozen=True)
    class Config:
        """Plain values.

        Args:
            kind: Tells the text encoders apart in `config.json`.
            width: Channels of the features.
            layers: Transformer layers.
            heads: Attention heads.
            max_tokens: Longest prompt in tokens, the end token counted.
        """

        kind: Literal["words"] = "words"
        width: int = 128
        layers: int = 2
        heads: int = 4
        max_tokens: int = 48

        def __post_init__(self) -> None:
            check_positive("text_encoder", self, "width", "layers", "heads", "max_tokens")
            if self.heads > self.width:
                raise InputError(
                    "text_encoder.heads: expected at most as many as the width of"
                    f" {self.width}, got {self.heads}; each head needs a channel"
                )

    def __init__(self, config: Config, tokenizer: "Tokenizer") -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        self.t5 = _t5_encoder(config, tokenizer.get_vocab_size())

    def forward(self, prompts: Sequence[str]) -> tuple[Float[Tensor, "b l e"], Bool[Tensor, "b l"]]:
        """Encode a batch of prompts.

        Returns:
            Features, and a mask that is True at the tokens of each prompt.

        Raises:
            InputError: A prompt is not text or is too long, or there is no list of them.
        """
        check_batch(prompts)
        rows = [self.token_ids(prompt) for prompt in prompts]
        length = max(len(row) for row in rows)
        pad = self.tokenizer.token_to_id(PAD)
        device = self.t5.device
        ids = torch.tensor([row + [pad] * (length - len(row)) for row in rows], device=device)
        mask = torch.tensor([[i < len(row) for i in range(length)] for row in rows], device=device)
        return self.t5(input_ids=ids, attention_mask=mask.long()).last_hidden_state, mask

    def token_ids(self, prompt: str) -> list[int]:
        """Number the tokens of a prompt, the end token last.

        Raises:
            InputError: The prompt is not text or is too long.
        """
        ids = [*self._encoding(prompt).ids, self.tokenizer.token_to_id(END)]
        if len(ids) > self.config.max_tokens:
            raise InputError(
                f"prompt: expected at most {self.config.max_tokens - 1} words and punctuation"
                f" marks, got {len(ids) - 1}; shorten it"
            )
        return ids

    def check_prompt(self, prompt: str) -> None:
        """Refuse a prompt of which nothing is understood; name words that are not in a warning.

        The empty prompt stands for "anything" and passes.

        Raises:
            InputError: The prompt is not text, is too long, or has no known word.
        """
        self.token_ids(prompt)
        unknown = self.unknown_words(prompt)
        if prompt.strip() and not any(known for _, known in self._words(prompt)):
            raise InputError(
                f"prompt: expected words that the model knows, got none in {prompt!r};"
                " model.text_encoder.vocabulary() lists them"
            )
        if unknown:
            kind = "word" if len(unknown) == 1 else "words"
            logger.warning("prompt: %s unknown to this model: %s", kind, ", ".join(unknown))

    def unknown_words(self, prompt: str) -> list[str]:
        """List the words that the tokenizer does not know, in order and without repeats.

        Raises:
            InputError: The prompt is not text.
        """
        return list(dict.fromkeys(word for word, known in self._words(prompt) if not known))

    def vocabulary(self) -> list[str]:
        """List every word that the model knows, sorted."""
        return sorted(word for word in self.tokenizer.get_vocab() if word[0].isalnum())

    def _words(self, prompt: str) -> list[tuple[str, bool]]:
        """Split a prompt into words, and say which are known; punctuation is left out."""
        encoding = self._encoding(prompt)
        unknown = self.tokenizer.token_to_id(UNKNOWN)
        pieces = [
            (prompt[start:end].lower(), number != unknown)
            for number, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
        ]
        return [(word, known) for word, known in pieces if any(map(str.isalnum, word))]

    def _encoding(self, prompt: str) -> "Encoding":
        check_text(prompt)
        return self.tokenizer.encode(prompt)


def check_batch(prompts: Sequence[str]) -> None:
    """Check that there are prompts, in something else than one text.

    Raises:
        InputError: There are none, or it is one text, whose letters are no prompts.
    """
    if isinstance(prompts, str) or not len(prompts):
        got = "one text" if isinstance(prompts, str) else "none"
        raise InputError(f"prompts: expected a list of them, got {got}; as in ['a red cube']")


def check_text(prompt: str) -> None:
    """Check that a prompt is text that can be encoded.

    Raises:
        InputError: It is not.
    """
    if not isinstance(prompt, str):
        raise InputError(f"prompt: expected a string, got {type(prompt).__name__}; pass text")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:  # a shell's bytes that are not UTF-8 end up so, too
        raise InputError(
            f"prompt: expected Unicode text, got {prompt!r} ({error.reason}); pass UTF-8"
        ) from error


def word_tokenizer(words: Sequence[str]) -> "Tokenizer":
    """Make a tokenizer that knows exactly these words, each a word or a punctuation mark.

    Example:
        >>> word_tokenizer(["red", "sphere", ","]).encode("Red, blue sphere").tokens
        ['red', ',', '<unk>', 'sphere']
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    vocabulary = {word: i for i, word in enumerate([PAD, END, UNKNOWN, *sorted(set(words))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    # The stubs of tokenizers know these two properties as read-only.
    tokenizer.normalizer = normalizers.Lowercase()  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    return tokenizer


def load_tokenizer(file: Path) -> "Tokenizer":
    """Read a `tokenizer.json`.

    Raises:
        FileError: Missing, not a tokenizer, or without the special tokens we need.
    """
    from tokenizers import Tokenizer

    if not file.is_file():
        raise FileError(
            f"{file}: expected a tokenizer file, got nothing; the model folder is incomplete,"
            " copy it again"
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises bare Exception
        raise FileError(
            f"{file}: expected a tokenizer file, got something else ({error}); copy the model"
            " folder again"
        ) from error
    missing = [token for token in (PAD, END, UNKNOWN) if tokenizer.token_to_id(token) is None]
    if missing:
        raise FileError(
            f"{file}: expected the tokens {PAD} {END} {UNKNOWN}, got none of {missing}; it belongs"
            " to another model"
        )
    return tokenizer


def _t5_encoder(config: TextEncoder.Config, vocabulary: int) -> "T5EncoderModel":
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=vocabulary,
            d_model=config.width,
            d_kv=config.width // config.heads,
            d_ff=2 * config.width,
            num_layers=config.layers,
            num_heads=config.heads,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            pad_token_id=0,
            eos_token_id=1,
        )
    )

"""Prompts -> text features, with a T5 or CLIP of any size from a folder or the Hugging Face Hub."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from jog3r.codecs.text import check_batch, check_text
from jog3r.config import check_positive
from jog3r.errors import FileError, InputError, MissingPackageError

logger = logging.getLogger(__name__)

T = TypeVar("T")
# What the config.json of a model may call itself.
MODEL_TYPES = {"t5": ("t5",), "clip": ("clip", "clip_text_model")}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# What transformers reads the tokenizers of older T5 checkpoints with (spiece.model).
SENTENCEPIECE = ("sentencepiece", "protobuf")
VOCABULARY_STEP = 128
"""Embedding tables are rounded up to a multiple of this at most."""


class PretrainedTextEncoder(nn.Module):
    """Text features for cross-attention from a public text encoder, padded to a fixed length.

    Nothing is loaded before it is needed: the tokenizer with the first prompt, the weights with the
    first features. The weights are none of this module's own: they are not in its state dict and
    stay where they are when a model moves; `place` moves them.

    Attributes:
        device: Where prompts are encoded.
    """

    @dataclass(kw_only=True, frozen=True)
    class Config:
        """The defaults are those of Open-Sora 1.0; its version 1.2 takes 300 tokens.

        Args:
            kind: Tells the text encoders apart in `config.json`.
            source: Folder or hub id of the text encoder.
            family: Its architecture.
            width: Channels of the features.
            max_tokens: Length of every prompt in tokens, the end token counted; at most 77 in CLIP.
            dtype: What the weights are loaded in. T5 overflows in float16.
            lowercase: Whether prompts are put in lower case first, as the captions were that
                Open-Sora was trained on.

        Raises:
            InputError: A number that is not above 0, or another family or dtype.
        """

        kind: Literal["pretrained"] = "pretrained"
        source: str = "DeepFloyd/t5-v1_1-xxl"
        family: Literal["t5", "clip"] = "t5"
        width: int = 4096
        max_tokens: int = 120
        dtype: Literal["float32", "bfloat16", "float16"] = "float32"
        lowercase: bool = True

        def __post_init__(self) -> None:
            check_positive("text_encoder", self, "width", "max_tokens")
            for name, known in {"family": MODEL_TYPES, "dtype": DTYPES}.items():
                if getattr(self, name) not in known:
                    raise InputError(
                        f"text_encoder.{name}: expected one of {[*known]}, got"
                        f" {getattr(self, name)!r}; correct the config"
                    )

        def build(self) -> "PretrainedTextEncoder":
            """Make the text encoder; nothing is loaded yet."""
            return PretrainedTextEncoder(self)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.device = torch.device("cpu")

    def forward(self, prompts: Sequence[str]) -> tuple[Float[Tensor, "b l e"], Bool[Tensor, "b l"]]:
        """Encode a batch of prompts.

        Returns:
            Float32 features of `max_tokens` tokens, and a mask that is True at those of each
            prompt.

        Raises:
            InputError: A prompt is not text or is too long, or there is no list of them.
            FileError: The source cannot be reached or does not fit the config.
            MissingPackageError: Its tokenizer needs a package that is not installed.
        """
        check_batch(prompts)
        rows = [self.token_ids(prompt) for prompt in prompts]
        length, pad = self.config.max_tokens, self.tokenizer.pad_token_id
        ids = torch.tensor([row + [pad] * (length - len(row)) for row in rows], device=self.device)
        ends = torch.tensor([[len(row)] for row in rows], device=self.device)
        mask = torch.arange(length, device=self.device) < ends
        made = self.encoder(input_ids=ids, attention_mask=mask.long())
        return made.last_hidden_state.float(), mask

    def token_ids(self, prompt: str) -> list[int]:
        """Number the tokens of a prompt, with the special ones and without padding.

        Raises:
            InputError: The prompt is not text or is too long.
            FileError: The source cannot be reached or does not fit the config.
            MissingPackageError: Its tokenizer needs a package that is not installed.
        """
        check_text(prompt)
        text = prompt.lower().strip() if self.config.lowercase else prompt
        ids = self.tokenizer(text, verbose=False)["input_ids"]
        if len(ids) > self.config.max_tokens:
            raise InputError(
                f"prompt: expected at most {self.config.max_tokens} tokens, got {len(ids)};"
                " shorten it"
            )
        return ids

    def check_prompt(self, prompt: str) -> None:
        """Refuse a prompt of which nothing is understood; warn of characters that are not.

        The empty prompt stands for "anything" and passes.

        Raises:
            InputError: The prompt is not text, is too long, or has no known token.
            FileError: The source cannot be reached or does not fit the config.
            MissingPackageError: Its tokenizer needs a package that is not installed.
        """
        ids = self.token_ids(prompt)
        if prompt.strip() and not self.tokenizer.decode(ids, skip_special_tokens=True).strip():
            raise InputError(
                f"prompt: expected text that the text encoder knows, got none in {prompt!r};"
                " describe it in English"
            )
        # CLIP has no token for what is unknown, and its tokenizer gives the end token instead.
        if self.config.family == "t5" and self.tokenizer.unk_token_id in ids:
            logger.warning("prompt: characters unknown to the text encoder in %r", prompt)

    def place(self, device: str | torch.device) -> "PretrainedTextEncoder":
        """Encode on another device from now on, and give features there."""
        self.device = torch.device(device)
        if "encoder" in self.__dict__:
            self.encoder.to(self.device)
        return self

    # A cached property lies in the instance's dictionary, past the registration of submodules.
    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, loaded at the first call."""
        from transformers import AutoTokenizer

        vocabulary = self._source_config.vocab_size
        tokenizer = self._load(AutoTokenizer.from_pretrained, trust_remote_code=False)
        # transformers makes an almost empty tokenizer where the file is missing.
        if not vocabulary - VOCABULARY_STEP < len(tokenizer) <= vocabulary:
            raise FileError(
                f"text_encoder.source: expected a tokenizer of about {vocabulary} tokens in"
                f" {self.config.source}, got {len(tokenizer)}; its file is missing or belongs to"
                " another model"
            )
        return tokenizer

    @cached_property
    def encoder(self) -> Any:
        """The model of transformers, loaded at the first call."""
        import transformers

        dtype = DTYPES[self.config.dtype]
        kind = {"t5": transformers.T5EncoderModel, "clip": transformers.CLIPTextModel}
        model, report = self._load(
            kind[self.config.family].from_pretrained,
            config=self._source_config,
            torch_dtype=dtype,
            weights_only=True,
            output_loading_info=True,
        )
        if report["missing_keys"]:
            raise FileError(
                f"text_encoder.source: expected all weights in {self.config.source}, got none for"
                f" {sorted(report['missing_keys'])[:3]}; copy it again"
            )
        return model.to(self.device).eval().requires_grad_(False)

    @cached_property
    def _source_config(self) -> Any:
        """The config of the text part in transformers, checked against ours."""
        from transformers import AutoConfig

        config, wanted = self._load(AutoConfig.from_pretrained), self.config
        if config.model_type not in MODEL_TYPES[wanted.family]:
            raise FileError(
                f"text_encoder.source: expected a model of the family {wanted.family} in"
                f" {wanted.source}, got {config.model_type}; correct the config"
            )
        config = getattr(config, "text_config", config)
        if config.hidden_size != wanted.width:
            raise FileError(
                f"text_encoder.source: expected features of width {wanted.width} from"
                f" {wanted.source}, got {config.hidden_size}; the backbone was trained with another"
                " text encoder"
            )
        longest = getattr(config, "max_position_embeddings", wanted.max_tokens)
        if wanted.max_tokens > longest:
            raise FileError(
                f"text_encoder.source: expected {wanted.max_tokens} tokens as in max_tokens, got"
                f" at most {longest} in {wanted.source}; correct the config"
            )
        return config

    def _load(self, from_pretrained: Callable[..., T], **options: Any) -> T:
        source = self.config.source
        try:
            return from_pretrained(source, **options)
        except Exception as error:  # of files, network, hub, pickle, each library: many kinds
            missing = [name for name in SENTENCEPIECE if not _installed(name)]
            if missing and _needs_sentencepiece(source, error):
                raise MissingPackageError(
                    f"text_encoder: expected the packages {' and '.join(SENTENCEPIECE)}, which read"
                    f" the tokenizer of {source}, got no {' and no '.join(missing)}; run `pip"
                    f" install {' '.join(missing)}`"
                ) from error
            raise FileError(
                "text_encoder.source: expected a folder or a reachable hub id of a"
                f" {self.config.family} text encoder, got {source} ({_reason(source, error)});"
                " check the name, the connection and the files"
            ) from error


def is_hub_id(source: str) -> bool:
    """Whether text is formed as names on the Hugging Face Hub are.

    Example:
        >>> is_hub_id("owner/name"), is_hub_id("/nowhere")
        (True, False)
    """
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(source)
    except HFValidationError:
        return False
    return True


def _reason(source: str, error: Exception) -> str:
    """Say in one line what is wrong, without advice that does not hold here."""
    text = str(error).strip() or type(error).__name__
    if "weights_only" in text:  # torch tells how to run what the file holds
        return "a pickle that holds code, or a damaged one; nothing of it was run"
    if not source or not (Path(source).is_dir() or is_hub_id(source)):
        return "no such folder"
    return text.splitlines()[0]


def _needs_sentencepiece(source: str, error: Exception) -> bool:
    # tiktoken is what transformers tries next.
    named = any(name in str(error) for name in ("sentencepiece", "tiktoken"))
    folder = Path(source)
    return named and ((folder / "spiece.model").is_file() or not folder.is_dir())


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True

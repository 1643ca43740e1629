"""T5 and CLIP from folders: the real classes at tiny size, with tokenizers trained on the spot."""

import dataclasses
import json
import logging
import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoTokenizer,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
)

from jog3r.codecs.features import PromptEncoder, text_batch
from jog3r.codecs.pretrained_text import PretrainedTextEncoder
from jog3r.config import from_plain, to_plain
from jog3r.errors import FileError, InputError, MissingPackageError

CORPUS = ["a red sphere in a brick room, the camera moves forward", "a blue cube turns left"] * 9
PROMPTS = ["a red sphere", "", "the camera turns left"]


def t5_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.Unigram())
    # The stubs of tokenizers know these properties as read-only.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # type: ignore[assignment]
    tokenizer.decoder = decoders.Metaspace()  # type: ignore[assignment]
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator(CORPUS, trainer)
    end = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.post_processor = end  # type: ignore[assignment]
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def clip_tokenizer() -> PreTrainedTokenizerFast:
    start, end = "<|startoftext|>", "<|endoftext|>"
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=80, special_tokens=[start, end], end_of_word_suffix="</w>"
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")  # type: ignore[assignment]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single=f"{start} $A {end}", special_tokens=[(start, 0), (end, 1)]
    )
    names = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


T5 = T5Config(
    vocab_size=64,
    d_model=16,
    d_kv=8,
    d_ff=32,
    num_layers=2,
    num_heads=2,
    feed_forward_proj="gated-gelu",
)
CLIP = CLIPTextConfig(
    vocab_size=80,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=20,
    bos_token_id=0,
    eos_token_id=1,
    pad_token_id=1,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Save an encoder of each family as its publishers do."""
    root = tmp_path_factory.mktemp("text")
    torch.manual_seed(0)
    parts = {
        "t5": (T5EncoderModel(T5), t5_tokenizer()),
        "t5 with decoder": (T5ForConditionalGeneration(T5), t5_tokenizer()),
        "clip": (CLIPTextModel(CLIP), clip_tokenizer()),
        "clip with vision": (CLIPModel(whole_clip()), clip_tokenizer()),
    }
    for name, (model, tokenizer) in parts.items():
        model.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return {name: root / name for name in parts}


def whole_clip() -> CLIPConfig:
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "image_size": 32}
    vision |= {"num_attention_heads": 1}
    return CLIPConfig(text_config=CLIP.to_dict(), vision_config=vision, projection_dim=8)


def encoder_of(folder: Path, **changes: Any) -> PretrainedTextEncoder:
    family = "t5" if "t5" in folder.name else "clip"
    options: dict[str, Any] = {"family": family, "width": 16, "max_tokens": 20} | changes
    return PretrainedTextEncoder.Config(source=str(folder), **options).build()


@pytest.fixture
def copy(folders: dict[str, Path], tmp_path: Path) -> Path:
    """Return a copy of the T5 folder, to spoil."""
    return Path(shutil.copytree(folders["t5"], tmp_path / "t5"))


class TestFeatures:
    @pytest.mark.parametrize("name", ["t5", "t5 with decoder", "clip", "clip with vision"])
    def test_they_are_those_of_transformers(self, folders: dict[str, Path], name: str) -> None:
        features, mask = encoder_of(folders[name])(PROMPTS)
        tokenizer = AutoTokenizer.from_pretrained(folders[name])
        rows = tokenizer(PROMPTS, padding="max_length", max_length=20, return_tensors="pt")
        kind: Any = T5EncoderModel if "t5" in name else CLIPTextModel
        with torch.no_grad():
            expected = kind.from_pretrained(folders[name]).eval()(**rows).last_hidden_state
        assert torch.equal(mask, rows.attention_mask.bool())
        torch.testing.assert_close(features, expected)
        assert features.shape == (3, 20, 16)

    def test_the_empty_prompt_is_its_special_tokens(self, folders: dict[str, Path]) -> None:
        assert encoder_of(folders["t5"]).token_ids("") == [1]
        assert encoder_of(folders["clip"]).token_ids("") == [0, 1]

    def test_case(self, folders: dict[str, Path]) -> None:
        lower = encoder_of(folders["t5"])
        assert lower.token_ids("  A Red sphere ") == lower.token_ids("a red sphere")
        upper = encoder_of(folders["t5"], lowercase=False)
        assert upper.token_ids("A Red sphere") != upper.token_ids("a red sphere")

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_dtypes(self, folders: dict[str, Path], dtype: str) -> None:
        half = encoder_of(folders["t5"], dtype=dtype)
        features, _ = half(PROMPTS)
        assert half.encoder.dtype == getattr(torch, dtype)
        assert features.dtype == torch.float32
        whole, _ = encoder_of(folders["t5"])(PROMPTS)
        torch.testing.assert_close(features, whole, atol=0.1, rtol=0.1)

    def test_pickled_weights_are_read_without_code(self, copy: Path) -> None:
        expected, _ = encoder_of(copy)(PROMPTS)
        torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
        (copy / "model.safetensors").unlink()
        assert torch.equal(encoder_of(copy)(PROMPTS)[0], expected)

    def test_in_a_batch_with_features(self, folders: dict[str, Path]) -> None:
        encoder = encoder_of(folders["t5"])
        assert isinstance(encoder, PromptEncoder)
        features, mask = text_batch(PROMPTS, encoder)
        assert torch.equal(features, encoder(PROMPTS)[0])
        assert mask.shape == (3, 20)


class TestItsPlace:
    def test_nothing_is_loaded_before_it_is_needed(self, folders: dict[str, Path]) -> None:
        encoder = encoder_of(folders["t5"])
        assert not {"tokenizer", "encoder"} & set(encoder.__dict__)
        encoder.check_prompt("a red sphere")
        assert "encoder" not in encoder.__dict__
        assert encoder_of(Path("/nowhere/t5")).config.width == 16

    def test_weights_stay_outside(self, folders: dict[str, Path]) -> None:
        encoder = encoder_of(folders["t5"])
        encoder(PROMPTS)
        assert not encoder.state_dict()
        assert not [*encoder.parameters(), *encoder.children()]
        weight = encoder.encoder.shared.weight
        encoder.to(torch.float64).to("meta").train()
        assert encoder.encoder.shared.weight is weight
        assert weight.dtype == torch.float32
        assert not encoder.encoder.training
        assert not weight.requires_grad

    def test_place(self, folders: dict[str, Path]) -> None:
        before = encoder_of(folders["t5"]).place("meta")
        assert before.encoder.shared.weight.is_meta
        after = encoder_of(folders["t5"])
        after(PROMPTS)
        assert after.place("meta").encoder.shared.weight.is_meta

    def test_plain_values(self) -> None:
        config = PretrainedTextEncoder.Config(source="there", max_tokens=300)
        plain = json.loads(json.dumps(to_plain(config)))
        assert plain["kind"] == "pretrained"
        assert from_plain(PretrainedTextEncoder.Config, plain) == config


class TestWrongPrompts:
    @pytest.mark.parametrize("name", ["t5", "clip"])
    def test_too_long(self, folders: dict[str, Path], name: str) -> None:
        encoder = encoder_of(folders[name], max_tokens=6)
        for call in (encoder.token_ids, encoder.check_prompt, lambda prompt: encoder([prompt])):
            with pytest.raises(InputError, match="prompt: expected at most 6 tokens, got"):
                call("a red sphere in a brick room")

    @pytest.mark.parametrize("name", ["t5", "clip"])
    @pytest.mark.parametrize(
        ("prompt", "message"), [("\ud800", "expected Unicode text"), (7, "expected a string")]
    )
    def test_no_text(
        self, folders: dict[str, Path], name: str, prompt: Any, message: str, as_a_user: None
    ) -> None:
        with pytest.raises(InputError, match=message):
            encoder_of(folders[name]).check_prompt(prompt)

    @pytest.mark.parametrize(("prompts", "got"), [([], "none"), ("a red sphere", "one text")])
    def test_no_list_of_them(
        self, folders: dict[str, Path], prompts: Any, got: str, as_a_user: None
    ) -> None:
        with pytest.raises(InputError, match=f"prompts: expected a list of them, got {got}"):
            encoder_of(folders["t5"])(prompts)

    @pytest.mark.parametrize("name", ["t5", "clip"])
    def test_nothing_understood(self, folders: dict[str, Path], name: str) -> None:
        encoder = encoder_of(folders[name])
        with pytest.raises(InputError, match="expected text that the text encoder knows"):
            encoder.check_prompt("犬")
        encoder.check_prompt(" ")

    def test_unknown_characters_are_reported(
        self, folders: dict[str, Path], caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            encoder_of(folders["t5"]).check_prompt("a red sphere")
        assert not caplog.text
        with caplog.at_level(logging.WARNING):
            encoder_of(folders["t5"]).check_prompt("a red 犬")
        assert "characters unknown to the text encoder" in caplog.text


class TestWrongSources:
    @pytest.mark.parametrize("source", ["", "/nowhere/t5", "no such name"])
    def test_missing(self, source: str) -> None:
        says = r"text_encoder\.source: expected a folder or a reach.* \(no such folder\); check the"
        with pytest.raises(FileError, match=says):
            PretrainedTextEncoder.Config(source=source).build()([""])

    def test_an_unreachable_hub(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        config = PretrainedTextEncoder.Config(source="nobody/no-such-model")
        with pytest.raises(FileError, match=r"reachable hub id .* got nobody/no-such-model"):
            config.build()([""])

    @pytest.mark.parametrize(("family", "name"), [("t5", "clip"), ("clip", "t5")])
    def test_another_family(self, folders: dict[str, Path], family: str, name: str) -> None:
        with pytest.raises(FileError, match=f"a model of the family {family} .* got"):
            encoder_of(folders[name], family=family)([""])

    @pytest.mark.parametrize("name", ["t5", "clip", "clip with vision"])
    def test_another_width(self, folders: dict[str, Path], name: str) -> None:
        encoder = encoder_of(folders[name], width=4096)
        with pytest.raises(FileError, match=r"expected features of width 4096 from .* got 16"):
            encoder([""])

    def test_longer_than_it_can(self, folders: dict[str, Path]) -> None:
        with pytest.raises(FileError, match="expected 120 tokens as in max_tokens, got at most 20"):
            encoder_of(folders["clip"], max_tokens=120)([""])

    @pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
    @pytest.mark.parametrize("content", [None, b"", b"<html></html>"])
    def test_files_missing_or_foreign(self, copy: Path, file: str, content: bytes | None) -> None:
        (copy / file).unlink()
        if content is not None:
            (copy / file).write_bytes(content)
        with pytest.raises(FileError, match=r"text_encoder\.source: expected"):
            encoder_of(copy)([""])

    def test_truncated_weights(self, copy: Path) -> None:
        weights = copy / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        with pytest.raises(FileError, match=r"text_encoder\.source: expected"):
            encoder_of(copy)([""])

    @pytest.mark.parametrize("change", ["missing", "shape"])
    def test_weights_of_another_model(self, copy: Path, change: str) -> None:
        weights = load_file(copy / "model.safetensors")
        name = "encoder.block.1.layer.1.DenseReluDense.wo.weight"
        if change == "missing":
            del weights[name]
        else:
            weights[name] = torch.ones(3, 3)
        save_file(weights, copy / "model.safetensors", {"format": "pt"})
        with pytest.raises(FileError, match=r"text_encoder\.source: expected"):
            encoder_of(copy)([""])

    def test_a_pickle_with_code(self, copy: Path, tmp_path: Path) -> None:
        class Code:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.mkdir, (str(tmp_path / "executed"),)

        (copy / "model.safetensors").unlink()
        torch.save({"shared.weight": Code()}, copy / "pytorch_model.bin")
        with pytest.raises(FileError, match=r"text_encoder\.source: expected") as caught:
            encoder_of(copy)([""])
        assert not (tmp_path / "executed").exists()
        assert "weights_only" not in str(caught.value)
        assert "a pickle that holds code" in str(caught.value)

    def test_the_tokenizer_of_another_model(self, copy: Path, folders: dict[str, Path]) -> None:
        tokenizer = t5_tokenizer()
        tokenizer.add_tokens([f"<extra_{i}>" for i in range(64)])
        tokenizer.save_pretrained(copy)
        with pytest.raises(FileError, match="expected a tokenizer of about 64 tokens"):
            encoder_of(copy)([""])

    @pytest.mark.parametrize("named", [True, False])
    def test_a_sentencepiece_tokenizer(self, copy: Path, named: bool) -> None:
        try:
            metadata.version("sentencepiece")
        except metadata.PackageNotFoundError:
            pass
        else:
            pytest.skip("sentencepiece: expected it missing, got it installed")
        (copy / "tokenizer.json").unlink()
        (copy / "spiece.model").write_bytes(b"\x0a\x0e\x0a\x05<pad>")
        if named:
            file = copy / "tokenizer_config.json"
            file.write_text(json.dumps({"tokenizer_class": "T5Tokenizer"}))
        with pytest.raises(MissingPackageError, match="pip install sentencepiece"):
            encoder_of(copy)([""])


@pytest.mark.parametrize(
    "change", [{"width": 0}, {"max_tokens": 0}, {"family": "bert"}, {"dtype": "int8"}]
)
def test_configs_that_cannot_be(change: dict[str, Any], as_a_user: None) -> None:
    with pytest.raises(InputError, match=rf"text_encoder\.{next(iter(change))}: expected"):
        dataclasses.replace(PretrainedTextEncoder.Config(), **change)

"""Prompts to features; what is not understood is said."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from jog3r.codecs.text import END, PAD, TextEncoder, load_tokenizer, word_tokenizer
from jog3r.errors import FileError, InputError


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    torch.manual_seed(0)
    config = TextEncoder.Config(width=16, layers=1, heads=2, max_tokens=6)
    words = word_tokenizer(["a", "red", "sphere", ","])
    return TextEncoder(config, words).eval().requires_grad_(False)


def test_features_and_mask(encoder: TextEncoder) -> None:
    features, mask = encoder(["a red sphere", ""])
    assert features.shape == (2, 4, 16)
    assert mask.tolist() == [[True] * 4, [True, False, False, False]]


def test_padding_does_not_change_a_prompt(encoder: TextEncoder) -> None:
    alone, _ = encoder(["red"])
    together, _ = encoder(["red", "a red sphere"])
    torch.testing.assert_close(together[:1, :2], alone, atol=1e-5, rtol=1e-5)


def test_case_and_punctuation(encoder: TextEncoder) -> None:
    assert encoder.token_ids("A Red, sphere") == encoder.token_ids("a red , sphere")
    assert encoder.vocabulary() == ["a", "red", "sphere"]


def test_unknown_words_are_reported(encoder: TextEncoder, caplog: pytest.LogCaptureFixture) -> None:
    assert encoder.unknown_words("a Mauve sphere, mauve!") == ["mauve"]
    with caplog.at_level(logging.WARNING):
        encoder.check_prompt("a mauve sphere")
    assert "mauve" in caplog.text


def test_the_empty_prompt_passes(encoder: TextEncoder, caplog: pytest.LogCaptureFixture) -> None:
    encoder.check_prompt("")
    assert not caplog.text


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("mauve zeppelin", "got none in"),
        ("?!", "got none in"),
        (",", "got none in"),
        ("red red red red red red", "at most 5 words"),
        ("\ud800 red sphere", "expected Unicode text"),
        (b"red \xff".decode("utf-8", "surrogateescape"), "expected Unicode text"),
    ],
)
def test_prompts_that_cannot_be(encoder: TextEncoder, prompt: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        encoder.check_prompt(prompt)


def test_every_entrance_refuses_what_is_no_text(encoder: TextEncoder) -> None:
    for entrance in (encoder.token_ids, encoder.unknown_words, lambda prompt: encoder([prompt])):
        with pytest.raises(InputError, match=r"prompt: expected Unicode text, got '\\ud800'"):
            entrance("\ud800")


def test_special_tokens_cannot_be_written(encoder: TextEncoder) -> None:
    special = {encoder.tokenizer.token_to_id(token) for token in (PAD, END)}
    assert not special & set(encoder.token_ids("a </s>")[:-1])


@pytest.mark.parametrize(("prompts", "got"), [([], "none"), ("a red sphere", "one text")])
def test_no_list_of_prompts(encoder: TextEncoder, prompts: Any, got: str, as_a_user: None) -> None:
    with pytest.raises(InputError, match=f"prompts: expected a list of them, got {got}"):
        encoder(prompts)


def test_something_else_than_text(encoder: TextEncoder, as_a_user: None) -> None:
    wrong: Any = 7
    with pytest.raises(InputError, match="prompt: expected a string, got int"):
        encoder.check_prompt(wrong)


class TestTokenizerFile:
    def test_round_trip(self, encoder: TextEncoder, tmp_path: Path) -> None:
        file = tmp_path / "tokenizer.json"
        encoder.tokenizer.save(str(file))
        again = load_tokenizer(file)
        assert again.encode("a red cube").ids == encoder.tokenizer.encode("a red cube").ids

    @pytest.mark.parametrize("content", [None, "<html>", "{}"])
    def test_missing_or_foreign(self, tmp_path: Path, content: str | None) -> None:
        file = tmp_path / "tokenizer.json"
        if content is not None:
            file.write_text(content)
        with pytest.raises(FileError, match=r"tokenizer\.json: expected a tokenizer file"):
            load_tokenizer(file)

    def test_of_another_model(self, tmp_path: Path) -> None:
        from tokenizers import Tokenizer, models

        file = tmp_path / "tokenizer.json"
        Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")).save(str(file))
        with pytest.raises(FileError, match="belongs to another model"):
            load_tokenizer(file)

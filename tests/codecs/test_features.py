"""Text features in files, and batches of prompts and features."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from jog3r.codecs.features import PromptEncoder, TextFeatures, text_batch
from jog3r.codecs.text import TextEncoder, word_tokenizer
from jog3r.errors import FileError, InputError, SaveError


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    torch.manual_seed(0)
    config = TextEncoder.Config(width=16, layers=1, heads=2, max_tokens=6)
    words = word_tokenizer(["a", "red", "sphere"])
    return TextEncoder(config, words).eval().requires_grad_(False)


@pytest.fixture
def made(generator: torch.Generator) -> TextFeatures:
    features = torch.randn(5, 16, generator=generator)
    return TextFeatures(features, torch.tensor([True, True, True, False, False]))


class TestFile:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_round_trip(self, made: TextFeatures, tmp_path: Path, dtype: torch.dtype) -> None:
        file = tmp_path / "new" / "prompt.safetensors"
        TextFeatures(made.features.to(dtype), made.mask).save(file)
        again = TextFeatures.load(file)
        assert torch.equal(again.features, made.features.to(dtype))
        assert torch.equal(again.mask, made.mask)

    def test_views_are_saved(self, made: TextFeatures, tmp_path: Path) -> None:
        file = tmp_path / "prompt.safetensors"
        view = made.features.T.contiguous().T
        TextFeatures(view, made.mask).save(file)
        assert torch.equal(TextFeatures.load(str(file)).features, made.features)

    @pytest.mark.parametrize("content", [None, b"", b"<html></html>", b"\x80\x04K\x01."])
    def test_missing_or_foreign(self, tmp_path: Path, content: bytes | None) -> None:
        file = tmp_path / "prompt.safetensors"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(FileError, match=r"prompt\.safetensors: expected a safetensors file"):
            TextFeatures.load(file)

    def test_truncated(self, made: TextFeatures, tmp_path: Path) -> None:
        file = tmp_path / "prompt.safetensors"
        made.save(file)
        file.write_bytes(file.read_bytes()[:-8])
        with pytest.raises(FileError, match="truncated"):
            TextFeatures.load(file)

    @pytest.mark.parametrize(
        ("tensors", "message"),
        [
            ({"weight": torch.ones(2)}, r"expected the tensors 'features' and 'mask', got \['wei"),
            ({"features": torch.ones(2, 3)}, "expected the tensors"),
            ({"features": torch.full((2, 3), torch.nan)}, "features: expected finite"),
            ({"features": torch.ones(1, 2, 3)}, "features: expected floating numbers of shape"),
            ({"features": torch.ones(3, 3)}, "mask: expected 3 of True and False"),
        ],
    )
    def test_other_tensors(
        self, tmp_path: Path, tensors: dict[str, torch.Tensor], message: str
    ) -> None:
        file = tmp_path / "prompt.safetensors"
        if "tensors" not in message:
            tensors = tensors | {"mask": torch.ones(2, dtype=torch.bool)}
        save_file(tensors, file)
        with pytest.raises(FileError, match=rf"prompt\.safetensors: .*{message}"):
            TextFeatures.load(file)

    def test_a_place_that_cannot_be_written(self, made: TextFeatures, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(SaveError):
            made.save(tmp_path / "file" / "prompt.safetensors")


MASK = torch.ones(2, dtype=torch.bool)


@pytest.mark.parametrize(
    ("features", "mask", "message"),
    [
        ([[1.0]], MASK, "features: expected a tensor, got list"),
        (torch.ones(2, 3), [True, True], "mask: expected a tensor, got list"),
        (torch.ones(2, 3, dtype=torch.long), MASK, "features: expected floating numbers"),
        (torch.ones(2, 0), MASK, "features: expected floating numbers"),
        (torch.ones(2), MASK, "features: expected floating numbers"),
        (torch.tensor([[1.0], [torch.inf]]), MASK, "features: expected finite numbers"),
        (torch.ones(2, 3), torch.ones(2), "mask: expected 2 of True and False"),
        (torch.ones(2, 3), torch.zeros(2, dtype=torch.bool), "with a True among them"),
        (torch.ones(2, 3), torch.ones(3, dtype=torch.bool), "mask: expected 2"),
    ],
)
def test_features_that_cannot_be(features: Any, mask: Any, message: str, as_a_user: None) -> None:
    with pytest.raises(InputError, match=message):
        TextFeatures(features, mask)


class TestBatch:
    def test_prompts_alone(self, encoder: TextEncoder) -> None:
        assert isinstance(encoder, PromptEncoder)
        features, mask = text_batch(["a red sphere", ""], encoder)
        expected, expected_mask = encoder(["a red sphere", ""])
        assert torch.equal(features, expected)
        assert torch.equal(mask, expected_mask)

    def test_features_alone(self, made: TextFeatures) -> None:
        short = TextFeatures(made.features[:2].half(), made.mask[:2])
        features, mask = text_batch([short, made])
        assert torch.equal(features[1], made.features)
        assert torch.equal(features[0, :2], short.features.float())
        assert not features[0, 2:].any()
        assert mask.tolist() == [[True, True, False, False, False], made.mask.tolist()]

    def test_both_in_any_order(self, encoder: TextEncoder, made: TextFeatures) -> None:
        features, mask = text_batch(["red", made, "a sphere", made], encoder)
        alone, alone_mask = encoder(["red", "a sphere"])
        assert features.shape == (4, 5, 16)
        assert torch.equal(features[[0, 2], :3], alone)
        assert torch.equal(mask[[0, 2], :3], alone_mask)
        assert not mask[[0, 2], 3:].any()
        assert torch.equal(features[3], made.features)

    @pytest.mark.parametrize("texts", [["red"], ["red", "features"], ["features", ""]])
    def test_a_prompt_needs_an_encoder(self, made: TextFeatures, texts: list[str]) -> None:
        mixed: Sequence[Any] = [made if text == "features" else text for text in texts]
        with pytest.raises(InputError, match="this model has no text encoder"):
            text_batch(mixed)

    @pytest.mark.parametrize(("texts", "got"), [([], "none"), ([7], "int"), ([None], "NoneType")])
    def test_what_is_neither(
        self, encoder: TextEncoder, texts: Any, got: str, as_a_user: None
    ) -> None:
        with pytest.raises(InputError, match=f"prompt: expected text or TextFeatures, got {got}"):
            text_batch(texts, encoder)

    def test_several_widths(self, encoder: TextEncoder) -> None:
        wide = TextFeatures(torch.ones(2, 24), MASK)
        with pytest.raises(InputError, match=r"features of one width, got \[16, 24\]"):
            text_batch(["red", wide], encoder)

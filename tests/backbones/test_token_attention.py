import pytest
import torch

from jog3r.backbones.token_attention import KEYS_MULTIPLE, without_padding


def masked(lengths: list[int], tokens: int = 50) -> torch.Tensor:
    return torch.arange(tokens) < torch.tensor(lengths)[:, None]


@pytest.mark.parametrize(
    ("lengths", "kept"), [([3, 5], 16), ([16, 2], 16), ([17, 2], 32), ([0, 0], 16), ([49, 1], 50)]
)
def test_text_ends_behind_the_longest_prompt(lengths: list[int], kept: int) -> None:
    text, mask = torch.randn(2, 50, 3), masked(lengths)
    shorter, shorter_mask = without_padding(text, mask)
    assert torch.equal(shorter, text[:, :kept])
    assert shorter_mask is not None
    assert torch.equal(shorter_mask, mask[:, :kept])


def test_mask_goes_where_nothing_is_left_to_hide() -> None:
    text = torch.randn(2, 50, 3)
    shorter, mask = without_padding(text, masked([KEYS_MULTIPLE, KEYS_MULTIPLE]))
    assert shorter.shape[1] == KEYS_MULTIPLE
    assert mask is None
    same, mask = without_padding(text, None)
    assert same is text
    assert mask is None

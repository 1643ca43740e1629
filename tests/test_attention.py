import pytest
import torch
import torch.nn.functional as F

from jog3r.attention import SHORT, _explicit, attention


@pytest.mark.parametrize("masked", [False, True])
def test_explicit_product_equals_torch(generator: torch.Generator, masked: bool) -> None:
    q = torch.randn(2, 3, 7, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    k = torch.randn(2, 3, 5, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    v = torch.randn(2, 3, 5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    mask = None
    if masked:
        mask = torch.rand(2, 1, 1, 5, generator=generator) > 0.5
        mask[0], mask[1, ..., 0] = False, True  # the first sample sees nothing
    ours = _explicit(q, k, v, mask)
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    got = torch.autograd.grad((ours * weight).sum(), (q, k, v))
    expected = torch.autograd.grad((theirs * weight).sum(), (q, k, v))
    torch.testing.assert_close(got, expected)
    if masked:
        assert not ours[0].any()


@pytest.mark.parametrize("keys", [SHORT, SHORT + 1])
@pytest.mark.parametrize("trained", [False, True])
def test_every_way_gives_the_same(generator: torch.Generator, keys: int, trained: bool) -> None:
    q, k, v = torch.randn(3, 1, 2, keys, 4, generator=generator).unbind()
    out = attention(q.requires_grad_(trained), k, v)
    torch.testing.assert_close(out, F.scaled_dot_product_attention(q, k, v))

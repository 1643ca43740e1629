import pytest
import torch
import torch.nn.functional as F

from jog3r import attention as module
from jog3r.attention import SHORT, SHORT_BFLOAT16, attention


def test_explicit_product_equals_torch(generator: torch.Generator) -> None:
    """With gradients ours takes the explicit way, here with some keys masked."""
    q, k, v = torch.randn(3, 2, 3, 7, 8, generator=generator, dtype=torch.float64).unbind()
    leaves = tuple(x.requires_grad_() for x in (q, k, v))
    for mask in (None, torch.rand(2, 1, 1, 7, generator=generator) > 0.5):
        ours = attention(q, k, v, mask)
        theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        assert "ScaledDotProduct" not in type(ours.grad_fn).__name__
        torch.testing.assert_close(ours, theirs)
        weight = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
        got = torch.autograd.grad((ours * weight).sum(), leaves)
        expected = torch.autograd.grad((theirs * weight).sum(), leaves)
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("trained", [False, True])
def test_without_any_key_the_result_is_zero(generator: torch.Generator, trained: bool) -> None:
    leaves = torch.randn(3, 2, 3, 7, 8, generator=generator).unbind()
    q, k, v = (x.requires_grad_(trained) for x in leaves)
    mask = torch.tensor([False, True])[:, None, None, None].expand(2, 1, 1, 7)
    out = attention(q, k, v, mask)
    assert not out[0].any()
    torch.testing.assert_close(out[1], attention(q, k, v)[1])
    if trained:
        for gradient in torch.autograd.grad(out.sum(), (q, k, v)):
            assert not gradient[0].any()
            assert gradient.isfinite().all()


def test_half_precision_is_kept_and_close(generator: torch.Generator) -> None:
    q, k, v = torch.randn(3, 2, 7, 16, generator=generator).unbind()
    rough = attention(*(x.bfloat16().requires_grad_() for x in (q, k, v)))
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), attention(q, k, v), atol=0.03, rtol=0.03)


@pytest.mark.parametrize("most", [0, module.MOST_BFLOAT16])
@pytest.mark.parametrize("keys", [7, SHORT_BFLOAT16 + 1])
@pytest.mark.parametrize("trained", [False, True])
def test_bfloat16_stays_close_on_every_way(
    generator: torch.Generator,
    monkeypatch: pytest.MonkeyPatch,
    keys: int,
    trained: bool,
    most: int,
) -> None:
    monkeypatch.setattr(module, "MOST_BFLOAT16", most)
    q, k, v = torch.randn(3, 2, 3, keys, 16, generator=generator).unbind()
    mask = torch.arange(keys) < torch.tensor([keys, 3])[:, None, None, None]
    leaves = [x.bfloat16().requires_grad_(trained) for x in (q, k, v)]
    out = attention(leaves[0], leaves[1], leaves[2], mask)
    assert out.dtype == torch.bfloat16
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert (out.float() - expected).detach().norm() < 1e-2 * expected.norm()


@pytest.mark.parametrize("keys", [SHORT, SHORT + 1])
@pytest.mark.parametrize("trained", [False, True])
def test_every_way_gives_the_same(generator: torch.Generator, keys: int, trained: bool) -> None:
    q, k, v = torch.randn(3, 1, 2, keys, 4, generator=generator).unbind()
    out = attention(q.requires_grad_(trained), k, v)
    torch.testing.assert_close(out, F.scaled_dot_product_attention(q, k, v))

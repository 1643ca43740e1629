import torch

from jog3r.heads.linear_head import LinearHead


def test_pixels_lie_where_their_token_does(generator: torch.Generator) -> None:
    """A token changes its own patch only, and every pixel of it."""
    head = LinearHead.Config(width=5, patch=4).build()
    tokens = torch.randn(2, 6, 5, generator=generator)
    other = tokens.clone()
    other[1, 4] += 1.0  # row 1, column 1 of 2 x 3
    before, after = head(tokens, (2, 3)), head(other, (2, 3))
    assert before.points.shape == (2, 8, 12, 3)
    assert before.confidence.shape == (2, 8, 12)
    changed = torch.zeros(2, 8, 12, dtype=torch.bool)
    changed[1, 4:8, 4:8] = True
    assert torch.equal((before.points != after.points).any(dim=-1), changed)
    assert torch.equal(before.confidence != after.confidence, changed)


def test_result_is_float32_under_autocast(generator: torch.Generator) -> None:
    head = LinearHead.Config(width=8, patch=2).build()
    with torch.autocast("cpu", torch.bfloat16):
        out = head(torch.randn(1, 4, 8, generator=generator), (2, 2))
    assert out.points.dtype == torch.float32
    assert out.confidence.dtype == torch.float32

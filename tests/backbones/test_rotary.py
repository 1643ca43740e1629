import pytest
import torch

from jog3r.backbones.rotary import RotaryTime, rotate


def test_rotation_keeps_lengths_and_sees_differences_of_time_only(
    generator: torch.Generator,
) -> None:
    q, k = torch.randn(2, 1, 16, generator=generator, dtype=torch.float64)
    rotation = RotaryTime(16)(9)
    turned_q, turned_k = (rotate(x.expand(9, 1, 16), rotation)[:, 0] for x in (q, k))
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm().expand(9))
    scores = turned_q @ turned_k.T
    for offset in range(-8, 9):
        along = scores.diagonal(offset)
        torch.testing.assert_close(along, along[:1].expand_as(along), atol=1e-6, rtol=1e-6)


def test_first_frame_stays(generator: torch.Generator) -> None:
    x = torch.randn(3, 2, 8, generator=generator)
    assert torch.equal(rotate(x, RotaryTime(8)(3))[0], x[0])


def test_frequencies_are_saved() -> None:
    assert list(RotaryTime(8).state_dict()) == ["freqs"]
    expected = torch.tensor([1.0, 0.1, 0.01, 0.001])
    torch.testing.assert_close(RotaryTime(8).freqs, expected)


def test_what_is_compiled_gives_the_same(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(4, 3, 2, 8, generator=generator, dtype=torch.float64)
    rotation = RotaryTime(8)(4)
    expected = rotate(x, rotation)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(rotate(x, rotation), expected)


def test_gradient(generator: torch.Generator) -> None:
    x = torch.randn(3, 2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    rotation = RotaryTime(4)(3)
    assert torch.autograd.gradcheck(lambda x: rotate(x, rotation), x)

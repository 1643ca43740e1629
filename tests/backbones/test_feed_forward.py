import pytest
import torch
import torch.nn.functional as F

from jog3r.backbones.feed_forward import GELUTanh, feed_forward
from jog3r.errors import InputError


def test_tanh_form_in_float32() -> None:
    x = torch.linspace(-6, 6, 999)
    assert torch.equal(GELUTanh()(x), F.gelu(x, approximate="tanh"))


def test_stand_in_in_bfloat16_is_as_close_as_promised() -> None:
    x = torch.linspace(-6, 6, 9999)
    assert (F.gelu(x) - F.gelu(x, approximate="tanh")).abs().max() < 5e-4
    rounded = x.bfloat16()
    got, expected = GELUTanh()(rounded).float(), F.gelu(rounded.float(), approximate="tanh")
    torch.testing.assert_close(got, expected, atol=5e-4, rtol=2**-8)


@pytest.mark.usefixtures("as_a_user")
def test_unknown_form_raises() -> None:
    with pytest.raises(InputError, match="gelu: expected one of"):
        feed_forward(4, 4.0, "relu")  # type: ignore[arg-type]

import math

import pytest
import torch

from jog3r.errors import InputError
from jog3r.heads.pointmap import decode_pointmap, read_output_modes


def test_closed_form(generator: torch.Generator) -> None:
    raw = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    points, confidence = decode_pointmap(raw)
    norm = raw[..., :3].norm(dim=-1, keepdim=True)
    torch.testing.assert_close(points, raw[..., :3] / norm * (norm.exp() - 1))
    torch.testing.assert_close(confidence, 1 + raw[..., 3].exp())


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-11, 1e-9, 1e-4])
def test_smooth_at_the_zero_vector(size: float) -> None:
    raw = torch.tensor([size, 0.0, -size, 0.0], requires_grad=True)
    points, _ = decode_pointmap(raw)
    torch.testing.assert_close(points, raw[:3], rtol=1e-3, atol=0.0)
    jacobian = torch.autograd.functional.jacobian(lambda x: decode_pointmap(x).points, raw)
    torch.testing.assert_close(jacobian[:, :3], torch.eye(3), rtol=0.0, atol=1e-3)  # type: ignore[index]


def test_gradient(generator: torch.Generator) -> None:
    raw = torch.randn(4, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(decode_pointmap, (raw,))


@pytest.mark.parametrize("value", [-1e4, 39.0, 1e2, 1e4, 1e18])
def test_huge_raw_values_stay_finite(value: float) -> None:
    raw = torch.full((1, 4), value, requires_grad=True)
    points, confidence = decode_pointmap(raw)
    (points.square().sum() + confidence.square().sum()).backward()
    assert points.isfinite().all()
    assert confidence.isfinite().all()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()


def test_bfloat16_is_widened_first() -> None:
    raw = torch.tensor([0.0, 0.0, 2.0, 1.0], dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        points, confidence = decode_pointmap(raw)
    assert points.dtype == confidence.dtype == torch.float32
    torch.testing.assert_close(points[2].item(), math.expm1(2.0), rtol=1e-6, atol=0.0)
    torch.testing.assert_close(confidence.item(), 1 + math.e, rtol=1e-6, atol=0.0)


def test_other_depth_modes(generator: torch.Generator) -> None:
    raw = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    vector = raw[..., :3]
    norm = vector.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(decode_pointmap(raw, "linear").points, vector)
    torch.testing.assert_close(decode_pointmap(raw, "square").points, vector / norm * norm**2)
    assert torch.autograd.gradcheck(lambda x: decode_pointmap(x, "square"), (raw,))
    zero = torch.zeros(4, requires_grad=True)
    decode_pointmap(zero, "square").points.sum().backward()
    assert zero.grad is not None
    assert not zero.grad.any()


INF = math.inf


@pytest.mark.parametrize("mode", ["exp", "linear", "square"])
def test_output_modes_of_checkpoints_are_read(mode: str) -> None:
    assert read_output_modes((mode, -INF, INF), ("exp", 1, INF)) == mode


@pytest.mark.parametrize(
    ("depth", "confidence", "message"),
    [
        (("sigmoid", -INF, INF), ("exp", 1, INF), "depth_mode: expected one of"),
        (("exp", 0, INF), ("exp", 1, INF), r"depth_mode: .*got \('exp', 0, inf\)"),
        (("exp",), ("exp", 1, INF), "depth_mode: expected one of"),
        (("exp", -INF, INF), ("sigmoid", 0, 1), "conf_mode: expected"),
        (("exp", -INF, INF), ("exp", 0, INF), r"conf_mode: expected \('exp', 1, inf\), got"),
    ],
)
def test_other_output_modes_raise(
    depth: tuple[str | float, ...], confidence: tuple[str | float, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_output_modes(depth, confidence)

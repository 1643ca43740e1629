from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from jog3r.geometry.transforms import invert, transform_points
from jog3r.losses.pointmap_regression import pointmap_regression


def pairs(seed: int = 0, P: int = 3, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(P, 4, 5, *shape, generator=generator, dtype=dtype)

    return {
        "points_1": random(3),
        "points_2": random(3),
        "confidence_1": 1 + random().exp(),
        "confidence_2": 1 + random().exp(),
        "target_points_1": random(3),
        "target_points_2": random(3),
        "valid_1": random() > -0.5,
        "valid_2": random() > 0.5,
    }


PREDICTED = ("points_1", "points_2", "confidence_1", "confidence_2")


def gradients(arguments: dict[str, Any]) -> dict[str, Tensor]:
    leaves = {name: arguments[name].clone().requires_grad_() for name in PREDICTED}
    loss, _ = pointmap_regression(**{**arguments, **leaves})
    found = torch.autograd.grad(loss, list(leaves.values()))
    return dict(zip(leaves, found, strict=True))


@pytest.mark.parity
def test_stored_values_and_gradients(shared: Path) -> None:
    io = load_file(shared / "parity/dust3r_loss/io.safetensors")
    camera_1_from_world = invert(io["gt1.camera_pose"])
    arguments: dict[str, Any] = {
        "points_1": io["pred1.pts3d"],
        "points_2": io["pred2.pts3d_in_view1"],
        "confidence_1": io["pred1.conf"],
        "confidence_2": io["pred2.conf"],
        "target_points_1": transform_points(camera_1_from_world, io["gt1.pts3d"]),
        "target_points_2": transform_points(camera_1_from_world, io["gt2.pts3d"]),
        "valid_1": io["gt1.valid"],
        "valid_2": io["gt2.valid"],
    }
    loss, details = pointmap_regression(**arguments)
    torch.testing.assert_close(loss, io["conf.loss"], atol=1e-6, rtol=1e-5)
    other, _ = pointmap_regression(**arguments, alpha=1.0)
    torch.testing.assert_close(other, io["value.conf_alpha1"], atol=1e-6, rtol=1e-5)
    got = gradients(arguments)
    stored = ("pred1.pts3d", "pred2.pts3d_in_view1", "pred1.conf", "pred2.conf")
    for mine, theirs in zip(PREDICTED, stored, strict=True):
        expected = io[f"conf.grad.{theirs}"]
        torch.testing.assert_close(got[mine], expected, atol=1e-7, rtol=1e-4)

    count = torch.stack([io["gt1.valid"].sum(), io["gt2.valid"].sum()])
    sides = torch.stack([io["conf.detail.Regr3D_pts3d_1"], io["conf.detail.Regr3D_pts3d_2"]])
    torch.testing.assert_close(details["distance"], (sides * count).sum() / count.sum())
    scale = (io["norm.factor_pred"] / io["norm.factor_gt"]).mean()
    torch.testing.assert_close(details["scale"], scale)


positive = st.floats(0.01, 100.0)


@given(positive, positive)
def test_scales_of_prediction_and_target_do_not_matter(a: float, b: float) -> None:
    arguments = pairs()
    expected, before = pointmap_regression(**arguments)
    for name in ("points_1", "points_2"):
        arguments[name] = a * arguments[name]
        arguments[f"target_{name}"] = b * arguments[f"target_{name}"]
    loss, after = pointmap_regression(**arguments)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(after["scale"], before["scale"] * a / b)


def test_perfect_prediction_leaves_the_confidence_term() -> None:
    arguments = pairs()
    for view in ("points_1", "points_2"):
        arguments[f"target_{view}"] = 3.0 * arguments[view]
    loss, details = pointmap_regression(**arguments)
    sides = [arguments[f"confidence_{i}"][arguments[f"valid_{i}"]] for i in (1, 2)]
    torch.testing.assert_close(loss, -0.2 * (sides[0].log().mean() + sides[1].log().mean()))
    torch.testing.assert_close(details["distance"], torch.zeros_like(details["distance"]))
    torch.testing.assert_close(details["confidence"], torch.cat(sides).mean())
    for gradient in gradients(arguments).values():
        assert gradient.isfinite().all()


def test_gradient() -> None:
    arguments = pairs(P=2)

    def loss(*predicted: Tensor) -> Tensor:
        named = dict(zip(PREDICTED, predicted, strict=True))
        return pointmap_regression(**{**arguments, **named})[0]

    leaves = tuple(arguments[name].requires_grad_() for name in PREDICTED)
    assert torch.autograd.gradcheck(loss, leaves)


def test_what_is_not_valid_does_not_count() -> None:
    arguments = pairs()
    expected, details = pointmap_regression(**arguments)
    before = gradients(arguments)
    for view in (1, 2):
        hidden = ~arguments[f"valid_{view}"]
        arguments[f"target_points_{view}"][hidden] = torch.nan
        arguments[f"points_{view}"][hidden] = torch.inf
        arguments[f"confidence_{view}"][hidden] = 77.0
    loss, after = pointmap_regression(**arguments)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(after, details)
    torch.testing.assert_close(gradients(arguments), before)


def test_pairs_without_valid_pixels_are_left_out() -> None:
    three = pairs()
    three["valid_1"][1] = three["valid_2"][1] = False
    two = {name: value[[0, 2]] for name, value in three.items()}
    (loss, details), (expected, expected_details) = (
        pointmap_regression(**three),
        pointmap_regression(**two),
    )
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(details.pop("valid") * 1.5, expected_details.pop("valid"))
    torch.testing.assert_close(details, expected_details)
    for name, gradient in gradients(three).items():
        assert not gradient[1].any()
        torch.testing.assert_close(gradient[[0, 2]], gradients(two)[name])


@pytest.mark.parametrize("views", [(1,), (2,), (1, 2)])
def test_view_without_any_valid_pixel_gives_no_nan(views: tuple[int, ...]) -> None:
    arguments = pairs()
    for view in views:
        arguments[f"valid_{view}"][:] = False
    loss, details = pointmap_regression(**arguments)
    assert (loss == 0) == (len(views) == 2)
    assert all(value.isfinite() for value in details.values())
    for gradient in gradients(arguments).values():
        assert gradient.isfinite().all()
    for view in views:
        assert not gradients(arguments)[f"points_{view}"].any()


def test_points_all_at_the_origin_give_no_nan() -> None:
    arguments = pairs()
    for view in (1, 2):
        arguments[f"points_{view}"] = torch.zeros_like(arguments[f"points_{view}"])
    for gradient in gradients(arguments).values():
        assert gradient.isfinite().all()


def test_half_precision_is_widened_first() -> None:
    arguments = pairs(dtype=torch.float32)
    exact, _ = pointmap_regression(**arguments)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = pointmap_regression(**arguments)
    assert torch.equal(loss, exact)
    narrow = {n: v.bfloat16() if v.is_floating_point() else v for n, v in arguments.items()}
    loss, details = pointmap_regression(**narrow)
    assert loss.dtype == details["distance"].dtype == torch.float32

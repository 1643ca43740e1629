from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from jog3r.errors import InputError
from jog3r.geometry.transforms import invert, transform_points
from jog3r.losses.pointmap_regression import pointmap_regression, scale_of_pairs


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


TOLERANCE: dict[str, Any] = {"atol": 1e-6, "rtol": 1e-5}


@pytest.fixture
def stored(parity: Callable[[str], Path]) -> dict[str, Tensor]:
    return load_file(parity("dust3r_loss") / "io.safetensors")


def arguments_of(stored: dict[str, Tensor]) -> dict[str, Any]:
    camera_1_from_world = invert(stored["gt1.camera_pose"])
    return {
        "points_1": stored["pred1.pts3d"],
        "points_2": stored["pred2.pts3d_in_view1"],
        "confidence_1": stored["pred1.conf"],
        "confidence_2": stored["pred2.conf"],
        "target_points_1": transform_points(camera_1_from_world, stored["gt1.pts3d"]),
        "target_points_2": transform_points(camera_1_from_world, stored["gt2.pts3d"]),
        "valid_1": stored["gt1.valid"],
        "valid_2": stored["gt2.valid"],
    }


@pytest.mark.parity
def test_stored_loss_parts_and_gradients(stored: dict[str, Tensor]) -> None:
    arguments = arguments_of(stored)
    loss, details = pointmap_regression(**arguments)
    torch.testing.assert_close(loss, stored["conf.loss"], **TOLERANCE)
    for mine, theirs in {
        "loss_1": "conf_loss_1",
        "loss_2": "conf_loss2",
        "distance_1": "Regr3D_pts3d_1",
        "distance_2": "Regr3D_pts3d_2",
    }.items():
        torch.testing.assert_close(details[mine], stored[f"conf.detail.{theirs}"], **TOLERANCE)
    got = gradients(arguments)
    names = ("pred1.pts3d", "pred2.pts3d_in_view1", "pred1.conf", "pred2.conf")
    assert {f"conf.grad.{n}" for n in names} == {n for n in stored if n.startswith("conf.grad.")}
    for mine, theirs in zip(PREDICTED, names, strict=True):
        expected = stored[f"conf.grad.{theirs}"]
        torch.testing.assert_close(got[mine], expected, atol=1e-7, rtol=1e-4)

    count = torch.stack([stored["gt1.valid"].sum(), stored["gt2.valid"].sum()])
    sides = torch.stack([details["distance_1"], details["distance_2"]])
    torch.testing.assert_close(details["distance"], (sides * count).sum() / count.sum())
    scale = (stored["norm.factor_pred"] / stored["norm.factor_gt"]).mean()
    torch.testing.assert_close(details["scale"], scale)


@pytest.mark.parity
def test_stored_normalised_points(stored: dict[str, Tensor]) -> None:
    arguments = arguments_of(stored)
    valid = torch.stack([arguments["valid_1"], arguments["valid_2"]])
    for kind, prefix in (("pred", ""), ("gt", "target_")):
        points = torch.stack([arguments[f"{prefix}points_{view}"] for view in (1, 2)])
        factor = scale_of_pairs(points * valid[..., None], valid)
        torch.testing.assert_close(factor, stored[f"norm.factor_{kind}"], **TOLERANCE)
        expected = torch.stack([stored[f"norm.{kind}{view}"] for view in (1, 2)])
        torch.testing.assert_close(points / factor[:, None, None, None], expected, **TOLERANCE)


PLAIN: dict[str, dict[str, Any]] = {
    "regr_avg_dis": {},
    "regr_avg_log1p": {"norm_mode": "avg_log1p"},
    "regr_median_dis": {"norm_mode": "median_dis"},
    "regr_none": {"norm_mode": "none"},
    "regr_gt_scale": {"gt_scale": True},
    "shiftinv": {"invariance": "shift"},
    "scaleinv": {"invariance": "scale"},
    "scaleshiftinv": {"invariance": "scale-shift", "gt_scale": True},
}


@pytest.mark.parity
@pytest.mark.parametrize("name", PLAIN)
def test_stored_values_without_confidences(stored: dict[str, Tensor], name: str) -> None:
    arguments = arguments_of(stored)
    for view in (1, 2):
        arguments[f"confidence_{view}"] = torch.ones_like(arguments[f"confidence_{view}"])
    loss, _ = pointmap_regression(**arguments, alpha=0.0, **PLAIN[name])
    torch.testing.assert_close(loss, stored[f"value.{name}"], **TOLERANCE)


@pytest.mark.parity
def test_stored_value_of_another_alpha(stored: dict[str, Tensor]) -> None:
    loss, _ = pointmap_regression(**arguments_of(stored), alpha=1.0)
    torch.testing.assert_close(loss, stored["value.conf_alpha1"], **TOLERANCE)
    values = {name.removeprefix("value.") for name in stored if name.startswith("value.")}
    assert values == {*PLAIN, "conf_alpha1"}  # none is left out


VARIANTS: list[dict[str, Any]] = [
    *({"norm_mode": mode} for mode in ("avg_dis", "avg_log1p", "median_dis", "none")),
    *({"invariance": each} for each in ("shift", "scale", "scale-shift")),
    {"invariance": "scale-shift", "gt_scale": True},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_gradient_of_every_variant(variant: dict[str, Any]) -> None:
    arguments = pairs(P=2)

    def loss(*predicted: Tensor) -> Tensor:
        named = dict(zip(PREDICTED, predicted, strict=True))
        return pointmap_regression(**{**arguments, **named}, **variant)[0]

    leaves = tuple(arguments[name].requires_grad_() for name in PREDICTED)
    assert torch.autograd.gradcheck(loss, leaves)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_no_variant_counts_what_is_not_valid(variant: dict[str, Any]) -> None:
    arguments = pairs()
    arguments["valid_1"][1] = arguments["valid_2"][1] = False
    expected, _ = pointmap_regression(**arguments, **variant)
    for view in (1, 2):
        hidden = ~arguments[f"valid_{view}"]
        arguments[f"target_points_{view}"][hidden] = torch.nan
        arguments[f"points_{view}"][hidden] = torch.inf
    leaves = [arguments[name].requires_grad_() for name in PREDICTED]
    loss, details = pointmap_regression(**arguments, **variant)
    torch.testing.assert_close(loss, expected)
    assert all(value.isfinite() for value in details.values())
    for gradient in torch.autograd.grad(loss, leaves):
        assert gradient.isfinite().all()
        assert not gradient[1].any()


@pytest.mark.parametrize(
    ("invariance", "scale", "shift"),
    [("shift", 1.0, 3.0), ("scale", 0.2, 0.0), ("scale-shift", 0.2, 3.0)],
)
@pytest.mark.parametrize("gt_scale", [False, True])
def test_what_is_forgiven_costs_nothing(
    invariance: str, scale: float, shift: float, gt_scale: bool
) -> None:
    arguments = pairs()
    norm_mode = "avg_dis"
    if invariance == "shift":  # on its own it is relative to a common scale
        norm_mode, gt_scale = "none", False
    for view in (1, 2):
        points = scale * arguments[f"target_points_{view}"]
        points[..., 2] += shift
        arguments[f"points_{view}"] = points
    _, details = pointmap_regression(
        **arguments,
        norm_mode=norm_mode,  # type: ignore[arg-type]
        gt_scale=gt_scale,
        invariance=invariance,  # type: ignore[arg-type]
    )
    assert float(details["distance"]) < 1e-12


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"norm_mode": "mean"}, "norm_mode: expected one of .*, got 'mean'"),
        ({"invariance": "rotation"}, "invariance: expected None or one of .*, got 'rotation'"),
        ({"norm_mode": "none", "gt_scale": True}, "gt_scale: expected False"),
    ],
)
def test_unknown_modes_raise(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pointmap_regression(**pairs(), **wrong)


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


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    """Processes that divide a batch get its loss and gradients, however the pixels fall."""
    whole = pairs(P=4)
    whole["valid_1"][:2] = False  # the first half has far fewer pixels
    whole["valid_1"][0, 0] = True
    halves = [{name: x[part] for name, x in whole.items()} for part in (slice(2), slice(2, 4))]
    counts = torch.stack([whole[f"valid_{view}"].sum() for view in (1, 2)]).double()
    found = [pointmap_regression(**half, pixels=counts / 2) for half in halves]
    loss, details = pointmap_regression(**whole)
    torch.testing.assert_close((found[0][0] + found[1][0]) / 2, loss)
    for name in ("distance", "confidence", "loss_1", "distance_2"):
        torch.testing.assert_close((found[0][1][name] + found[1][1][name]) / 2, details[name])
    assert abs(sum(pointmap_regression(**half)[0] for half in halves) / 2 - loss) > 0.01
    expected = gradients(whole)
    of_halves = [gradients({**half, "pixels": counts / 2}) for half in halves]
    for name in PREDICTED:
        torch.testing.assert_close(torch.cat([of[name] for of in of_halves]) / 2, expected[name])

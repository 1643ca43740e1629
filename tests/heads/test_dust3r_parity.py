"""Every number that is stored of the public networks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from jog3r.heads.doubled_convolution import doubled
from jog3r.heads.orientation import layout_of
from jog3r.heads.pointmap import Pointmap
from jog3r.heads.rope2d import rotation_at

CASES = [
    ("dust3r", "a"),
    ("dust3r", "b"),
    ("dust3r", "sym"),
    ("dust3r_manyar", "a"),
    ("dust3r_dpt", "a"),
    ("dust3r_dpt", "b"),
]
INPUTS = {"img1", "img2", "true_shape1", "true_shape2"}
OUTPUTS = ("pts3d1", "conf1", "pts3d2_in_view1", "conf2")

pytestmark = pytest.mark.parity


def stored_names(
    seen: dict[str, list[Tensor]], maps: tuple[Pointmap, Pointmap]
) -> dict[str, Tensor]:
    """Call what a network gave by the names of the stored numbers."""
    found: dict[str, Tensor] = dict(zip(OUTPUTS, (*maps[0], *maps[1]), strict=True))
    for view in (1, 2):
        found[f"enc{view}"] = seen["enc_norm"][view - 1]
        blocks = "dec_blocks" if view == 1 else "dec_blocks2"
        depth = sum(name.startswith(f"{blocks}.") and name.count(".") == 1 for name in seen)
        for number in range(1, depth):
            found[f"dec{view}.{number}"] = seen[f"{blocks}.{number - 1}"][0]
        found[f"dec{view}.{depth}"] = seen["dec_norm"][view - 1]
    prefix = "downstream_head1.dpt."
    for name, outs in seen.items():
        if name.startswith(prefix):
            found[f"dpt1.{name.removeprefix(prefix).removeprefix('scratch.')}"] = outs[0]
    for number in range(4):
        fused = found.get(f"dpt1.refinenet{number + 1}")
        if fused is not None:  # the stored ones are doubled already
            found[f"dpt1.refinenet{number + 1}"] = doubled(fused)
        twice = found.get(f"dpt1.layer{number + 1}_rn")
        if twice is not None:
            found[f"dpt1.layer_rn.{number}"] = twice
    return found


@pytest.mark.parametrize(("fixture", "case"), CASES)
def test_every_stored_activation(reference: Callable[[str], Any], fixture: str, case: str) -> None:
    stored = reference(fixture)
    found = stored_names(*stored.record(case))
    expected = {
        name.removeprefix(f"{case}."): value
        for name, value in stored.io.items()
        if name.startswith(f"{case}.") and ".grad." not in name
    }
    for name in (*INPUTS, "pos1", "pos2", "loss"):  # these have tests of their own
        expected.pop(name, None)
    assert set(OUTPUTS) <= set(expected)
    assert set(expected) <= set(found)
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, **stored.tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("fixture", ["dust3r", "dust3r_manyar", "dust3r_dpt"])
def test_stored_places_of_tokens(reference: Callable[[str], Any], fixture: str) -> None:
    stored = reference(fixture)
    for view in (1, 2):
        size = tuple(stored.io[f"a.img{view}"].shape[2:])
        layout = layout_of(size, 16, stored.io.get(f"a.true_shape{view}"))
        got = layout.rotation(16, 100.0, torch.device("cpu"))
        places = stored.io[f"a.pos{view}"]
        expected = rotation_at(places, 16)
        for mine, theirs in zip(got, expected, strict=True):
            mine = mine[:, 0] if mine.ndim == 5 else mine.expand(len(places), -1, -1, -1)
            torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_every_stored_gradient(reference: Callable[[str], Any], checkpointing: bool) -> None:
    stored = reference("dust3r")
    stored.network.gradient_checkpointing = checkpointing
    first, second = stored.run("a")
    loss = first.points.square().mean() + second.points.abs().mean()
    loss = loss + first.confidence.mean() + second.confidence.log().mean()
    loss.backward()
    torch.testing.assert_close(loss, stored.io["a.loss"], **stored.tolerance)
    gradients = {name: p.grad for name, p in stored.network.named_parameters()}
    names = [name for name in stored.io if name.startswith("a.grad.")]
    assert len(names) == 5
    for name in names:
        got = gradients[name.removeprefix("a.grad.")]
        torch.testing.assert_close(got, stored.io[name], atol=1e-7, rtol=1e-4)
    unused = [name for name, gradient in gradients.items() if gradient is None]
    assert unused == ["mask_token"]


@pytest.mark.parametrize("fixture", ["dust3r", "dust3r_manyar", "dust3r_dpt"])
def test_stored_sizes(reference: Callable[[str], Any], fixture: str) -> None:
    stored = reference(fixture)
    sizes = {name: list(value.shape) for name, value in stored.network.state_dict().items()}
    assert sizes == {name: each["shape"] for name, each in stored.meta["weights"].items()}
    assert sum(p.numel() for p in stored.network.state_dict().values()) == stored.meta["n_params"]

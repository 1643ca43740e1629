"""Every stored number of Open-Sora 1.0, 1.1 and 1.2, from the weights loaded strictly."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from jog3r.backbones.interface import VideoFormat
from jog3r.backbones.positions import sincos_pixels
from jog3r.backbones.registry import build_backbone
from jog3r.backbones.rotary import RotaryTime, rotate

pytestmark = pytest.mark.parity

# Half of what meta.json allows: ours are the same operations.
TOLERANCE: dict[str, Any] = {"atol": 1e-5, "rtol": 5e-5}
GRADIENT_TOLERANCE: dict[str, Any] = {"atol": 1e-7, "rtol": 1e-4}
CASES = ["stdit a", "stdit b", "stdit2 a", "stdit2 b"]
CASES += ["stdit3 a", "stdit3 b", "stdit3 c", "stdit3 d"]
# Cases that only leave something out of another case's inputs.
INPUTS_OF = {"stdit b": "stdit a", "stdit2 b": "stdit2 a"}
WITHOUT = {"stdit b": {"mask"}, "stdit2 b": {"x_mask"}}
INPUTS = {"x", "timestep", "y", "mask", "x_mask", "num_frames", "height", "width", "ar", "fps"}
RENAMED = {"model_max_length": "max_text_tokens", "pred_sigma": "learn_sigma"}
SAME = ["in_channels", "patch_size", "hidden_size", "depth", "num_heads", "mlp_ratio"]
SAME += ["caption_channels", "qk_norm", "input_sq_size", "space_scale", "time_scale"]


def plain_config(stored: dict[str, Any]) -> dict[str, Any]:
    """Translate the originals' configuration into ours."""
    config = {key: stored[key] for key in SAME if key in stored}
    config |= {ours: stored[theirs] for theirs, ours in RENAMED.items()}
    return config | (
        {"input_size": stored["input_size"]} if None not in stored["input_size"] else {}
    )


@pytest.fixture
def reference(parity: Callable[[str], Path]) -> Callable[[str], tuple[Any, dict[str, Tensor]]]:
    """Return a function that loads a network and the numbers that belong to it."""

    def load(name: str) -> tuple[Any, dict[str, Tensor]]:
        folder = parity(name)
        meta = json.loads((folder / "meta.json").read_text("utf-8"))
        allowed = meta["tolerance"]["float32"]
        assert all(TOLERANCE[key] <= allowed[key] for key in allowed)
        model = build_backbone(name, plain_config(meta["config"]))
        assert isinstance(model, nn.Module)
        weights = load_file(folder / "weights.safetensors")
        assert set(weights) == set(meta["weights"]) == set(model.state_dict())
        # Tables and frequencies that we compute are the stored ones, to the last bit.
        for key in {"pos_embed", "pos_embed_temporal", "rope.freqs"} & set(weights):
            assert torch.equal(model.state_dict()[key], weights[key])
        model.load_state_dict(weights, strict=True)
        return model, load_file(folder / "io.safetensors")

    return load


def stored_inputs(case: str, io: dict[str, Tensor]) -> dict[str, Tensor]:
    letter = INPUTS_OF.get(case, case)[-1]
    found = {key: io[f"{letter}.{key}"] for key in INPUTS if f"{letter}.{key}" in io}
    return {key: value for key, value in found.items() if key not in WITHOUT.get(case, set())}


def call(model: Any, given: dict[str, Tensor], **more: Any) -> Any:
    """Call a backbone as the original was called."""
    mask = given["mask"].bool() if "mask" in given else None
    if "fps" in given:
        frames = given.get("num_frames", torch.full_like(given["fps"], 17))
        format_of = {key: given[key] for key in ("height", "width", "fps")}
        more["video_format"] = VideoFormat(num_frames=frames, **format_of)
    if "ar" in given:
        torch.testing.assert_close(more["video_format"].aspect_ratio, given["ar"])
    more["x_mask"] = given.get("x_mask")
    return model(given["x"], given["timestep"], given["y"][:, 0], mask, **more)


def watched(model: nn.Module, names: list[str]) -> Iterator[tuple[str, nn.Module]]:
    """Find the module whose output is stored under each name."""
    for name in names:
        module = model.get_submodule(name)
        # These have several entrances or reorder what they give; their last layer has and does not.
        if name.endswith(("attn", "attn_temp")) and not name.endswith("cross_attn"):
            module = module.proj
        yield name, module.linear if name == "final_layer" else module  # type: ignore[misc]


def as_stored(name: str, got: Tensor) -> Tensor:
    """Bring tokens `(T, B, S, D)` into the order of the originals."""
    if got.ndim < 4:
        return got
    if name.endswith("attn_temp") or (name.startswith("temporal") and name.endswith(".attn")):
        return got.permute(1, 2, 0, 3).flatten(0, 1)
    if name.endswith(".attn"):
        return got.transpose(0, 1).flatten(0, 1)
    return got.transpose(0, 1).flatten(1, 2)


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_every_stored_tensor(reference: Callable, case: str, trained: bool) -> None:
    model, io = reference(case.split()[0])
    given = stored_inputs(case, io)
    letter = case[-1]
    stored = {key.removeprefix(f"{letter}."): x for key, x in io.items() if key[:2] == f"{letter}."}
    gradients = {key for key in stored if key.startswith("grad")} | {"loss"}  # see below
    inside = sorted(set(stored) - INPUTS - gradients - {"out", "pos_embed"})
    seen: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        seen.setdefault(name, output)  # the first call: embedders are called again for clean frames

    for name, module in watched(model, inside):
        module.register_forward_hook(lambda *args, name=name: keep(name, args[2]))

    taps = range(1, model.config.depth + 1)
    with torch.set_grad_enabled(trained):
        out = call(model, given, taps=taps)
    torch.testing.assert_close(out.prediction, stored["out"], **TOLERANCE)
    assert sorted(seen) == inside
    for name, got in seen.items():
        expected = stored[name]
        got = as_stored(name, got).reshape(expected.shape)
        torch.testing.assert_close(got, expected, **TOLERANCE, msg=lambda m, n=name: f"{n}: {m}")
    blocks = "temporal_blocks" if case.startswith("stdit3") else "blocks"
    for tap in taps:
        if (name := f"{blocks}.{tap - 1}") in stored:
            torch.testing.assert_close(out.taps[tap].flatten(1, 2), stored[name], **TOLERANCE)


@pytest.mark.parametrize("name", ["stdit2", "stdit3"])
def test_position_table(reference: Callable, name: str) -> None:
    model, io = reference(name)
    h, w = (-(-n // 2) for n in io["a.x"].shape[3:])
    pixels = (io["a.height"] * io["a.width"]).sqrt()
    got = sincos_pixels(model.config.hidden_size, h, w, pixels / model.config.input_sq_size)
    torch.testing.assert_close(got, io["a.pos_embed"].expand_as(got), atol=1e-6, rtol=0)


def test_rotation(reference: Callable) -> None:
    _, io = reference("stdit3")
    q = io["rope.q"].permute(2, 0, 1, 3)  # stored as (B, N, T, D/N)
    got = rotate(q, RotaryTime(q.shape[-1])(len(q)))
    torch.testing.assert_close(got.permute(1, 2, 0, 3), io["rope.out"], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("case", ["stdit a", "stdit3 b"])
def test_gradients(reference: Callable, case: str, checkpointing: bool) -> None:
    model, io = reference(case.split()[0])
    model.gradient_checkpointing = checkpointing
    given = stored_inputs(case, io)
    given["x"] = given["x"].clone().requires_grad_()
    loss = call(model, given).prediction.square().mean()
    loss.backward()
    letter = case[-1]
    torch.testing.assert_close(loss, io[f"{letter}.loss"], **TOLERANCE)
    torch.testing.assert_close(given["x"].grad, io[f"{letter}.grad_x"], **GRADIENT_TOLERANCE)
    prefix = f"{letter}.grad."
    for key in (key for key in io if key.startswith(prefix)):
        got = model.get_parameter(key.removeprefix(prefix)).grad
        torch.testing.assert_close(got, io[key], **GRADIENT_TOLERANCE)


def test_no_stored_number_is_left_out(reference: Callable) -> None:
    """What the tests above compare is all there is."""
    for name in ("stdit", "stdit2", "stdit3"):
        _, io = reference(name)
        letters = {case[-1] for case in CASES if case.split()[0] == name}
        outside = {key for key in io if key.split(".")[0] not in letters}
        assert outside == ({"rope.q", "rope.out"} if name == "stdit3" else set())
        with_gradients = {key.split(".")[0] for key in io if "grad" in key or "loss" in key}
        assert with_gradients <= {"stdit": {"a"}, "stdit2": set(), "stdit3": {"b"}}[name]

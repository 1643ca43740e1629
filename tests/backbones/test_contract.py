"""What every backbone promises, whatever its architecture."""

import dataclasses
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jog3r.backbones.interface import Backbone, VideoFormat
from jog3r.backbones.registry import BACKBONES, build_backbone
from jog3r.errors import InputError

COMPILED = """
import sys, torch
from jog3r.backbones.interface import VideoFormat
from jog3r.backbones.registry import build_backbone

torch.manual_seed(0)
name = sys.argv[1]
config = {"hidden_size": 24, "depth": 2, "num_heads": 2, "caption_channels": 8}
model = build_backbone(name, config | {"max_text_tokens": 5})
for parameter in model.parameters():
    torch.nn.init.normal_(parameter, std=0.15)
latents, timestep = torch.randn(2, 4, 3, 4, 6), torch.tensor([300.0, 800.0])
text, mask = torch.randn(2, 5, 8), torch.arange(5) < torch.tensor([[2], [4]])
named = {"video_format": VideoFormat.of(2, num_frames=9, height=144, width=256, fps=24)}
if name != "stdit":
    named["x_mask"] = torch.tensor([[0, 1, 1], [1, 0, 1]]).bool()
found = []
for each in (model, torch.compile(model)):
    with torch.no_grad():
        found.append([each(latents, timestep, text, mask, **named).prediction])
    out = each(latents, timestep, text, mask, taps=(1,), **named)
    found[-1] += [out.prediction, out.taps[1]]
    loss = out.prediction.square().mean()
    found[-1] += torch.autograd.grad(loss, list(model.parameters()))
torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-3)
print("same")
"""
NAMES = sorted(BACKBONES)
TOLD = ["stdit2", "stdit3"]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(tiny: Callable, name: str) -> Any:
    return tiny(name)


@pytest.fixture
def call(made_call: Callable, name: str) -> Any:
    return made_call(name)


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def close(got: Tensor, expected: Tensor) -> float:
    """Return the relative error."""
    got, expected = got.detach().float(), expected.detach()
    return float((got - expected).norm() / expected.norm())


def test_is_a_backbone(model: Any) -> None:
    assert isinstance(model, Backbone)


@pytest.mark.parametrize("learn_sigma", [True, False])
def test_prediction_and_taps_have_the_shape_of_the_latents(
    tiny: Callable, name: str, call: Any, learn_sigma: bool
) -> None:
    out = call(tiny(name, learn_sigma=learn_sigma), taps=(2,))
    assert out.prediction.shape == (3, 8 if learn_sigma else 4, 3, 4, 6)
    assert out.prediction.isfinite().all()
    assert out.taps[2].shape == (3, 3, 6, 24)


def test_samples_do_not_mix(model: Any, call: Any) -> None:
    """Neither in content nor in format, timestep, text length or clean frames."""
    together = call(model).prediction
    for index in range(3):
        alone = call.of(slice(index, index + 1))(model).prediction
        torch.testing.assert_close(together[index : index + 1], alone)


def test_fresh_model_predicts_nothing_and_learns_everywhere(
    name: str, call: Any, lively: Callable, generator: torch.Generator
) -> None:
    config = {"hidden_size": 24, "depth": 2, "num_heads": 2, "caption_channels": 8}
    model = build_backbone(name, config | {"max_text_tokens": 5})
    assert not call(model).prediction.any()
    assert isinstance(model, nn.Module)
    out = call(lively(model, generator))
    out.prediction.square().mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


class TestText:
    def test_null_text_is_the_stored_one(self, model: Any, call: Any) -> None:
        latents, timestep, _, _ = call.positional
        null = model.null_text(3)
        torch.testing.assert_close(
            model(latents, timestep, null, **call.named).prediction,
            model(latents, timestep, None, **call.named).prediction,
        )

    @pytest.mark.parametrize("trained", [True, False])
    def test_masked_tokens_are_not_seen(self, model: Any, call: Any, trained: bool) -> None:
        latents, timestep, text, mask = call.positional
        other = torch.where(mask[..., None], text, 100.0)
        with torch.set_grad_enabled(trained):
            a = model(latents, timestep, text, mask, **call.named).prediction
            b = model(latents, timestep, other, mask, **call.named).prediction
        assert torch.equal(a, b)

    def test_padding_changes_nothing(self, model: Any, call: Any) -> None:
        latents, timestep, text, mask = call.positional
        longer = torch.nn.functional.pad(text, (0, 0, 0, 9))
        longer_mask = torch.nn.functional.pad(mask, (0, 9))
        out = model(latents, timestep, longer, longer_mask, **call.named).prediction
        torch.testing.assert_close(out, call(model).prediction)

    def test_mask_may_have_holes(self, model: Any, call: Any) -> None:
        latents, timestep, text, _ = call.positional
        mask = torch.tensor([[0, 1, 0, 1, 0]] * 3).bool()
        some = model(latents, timestep, text, mask, **call.named).prediction
        short = model(latents, timestep, text[:, 1::2], **call.named).prediction
        torch.testing.assert_close(some, short)

    @pytest.mark.parametrize("trained", [True, False])
    @pytest.mark.parametrize("without", [[1], [0, 1, 2]])
    def test_a_sample_without_text_gets_nothing_from_it(
        self, model: Any, call: Any, trained: bool, without: list[int]
    ) -> None:
        latents, timestep, text, mask = call.positional
        mask[without] = False
        with torch.set_grad_enabled(trained):
            out = model(latents, timestep, text, mask, **call.named).prediction
            with torch.no_grad():  # values of zero: attention then gives zero as well
                for module in model.modules():
                    if hasattr(module, "kv_linear"):
                        module.kv_linear.weight[24:] = 0
                        module.kv_linear.bias[24:] = 0
            nothing = model(latents, timestep, text, **call.named).prediction
        torch.testing.assert_close(out[without], nothing[without])


class TestWaysOut:
    def test_until_gives_the_same_tokens_and_no_prediction(self, model: Any, call: Any) -> None:
        full = call(model, taps=(1, 3, 4))
        assert sorted(full.taps) == [1, 3, 4]
        ran: list[int] = []
        blocks = getattr(model, "temporal_blocks", None) or model.blocks
        for number, block in enumerate(blocks, start=1):
            block.register_forward_hook(lambda *_, number=number: ran.append(number))
        stopped = call(model, taps=(1, 3), until=3)
        assert ran == [1, 2, 3]
        assert stopped.prediction is None
        assert sorted(stopped.taps) == [1, 3]
        for tap in (1, 3):
            assert torch.equal(stopped.taps[tap], full.taps[tap])

    def test_early_equals_two_calls(
        self, model: Any, call: Any, generator: torch.Generator
    ) -> None:
        weight = torch.randn(1, 3, 6, 24, generator=generator)
        both = call(model, taps=(2, 3, 4), early=(1, 3))
        loss = both.prediction.square().mean() + (both.taps[3][2:] * weight).mean()
        stay = call.of(slice(0, 2))(model, taps=(4,))
        leave = call.of(slice(2, 3))(model, taps=(2, 3), until=3)
        separate = stay.prediction.square().mean() + (leave.taps[3] * weight).mean()

        assert [len(both.taps[tap]) for tap in (2, 3, 4)] == [3, 3, 2]
        torch.testing.assert_close(both.prediction, stay.prediction)
        torch.testing.assert_close(both.taps[4], stay.taps[4])
        torch.testing.assert_close(both.taps[3][2:], leave.taps[3])
        got, expected = gradients(model, loss), gradients(model, separate)
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-4)

    @pytest.mark.parametrize(
        "bad",
        [
            {"taps": (0,)},
            {"taps": (5,)},
            {"taps": (3,), "until": 2},
            {"until": 5},
            {"until": 0},
            {"early": (0, 2)},
            {"early": (3, 2)},
            {"early": (1, 5)},
            {"early": (1, 2), "until": 3},
        ],
    )
    def test_impossible_ways_raise(self, model: Any, call: Any, bad: dict) -> None:
        with pytest.raises(InputError, match="expected"):
            call(model, **bad)


class TestPrecision:
    def test_bfloat16_autocast_stays_close(self, model: Any, call: Any) -> None:
        exact = call(model, taps=(2,))
        with torch.autocast("cpu", torch.bfloat16):
            rough = call(model, taps=(2,))
        assert rough.prediction.dtype == torch.float32
        assert 1e-5 < close(rough.prediction, exact.prediction) < 1e-2
        assert 1e-5 < close(rough.taps[2], exact.taps[2]) < 1e-2

    def test_bfloat16_autocast_trains(self, model: Any, call: Any) -> None:
        exact = gradients(model, call(model).prediction.square().mean())
        with torch.autocast("cpu", torch.bfloat16):
            loss = call(model).prediction.square().mean()
        rough = gradients(model, loss)
        flat = [torch.cat([g.flatten() for g in each]) for each in (rough, exact)]
        assert close(flat[0], flat[1]) < 3e-2

    def test_half_precision_weights_run(self, model: Any, call: Any) -> None:
        out = call(model.to(torch.bfloat16), taps=(1,))
        assert out.prediction.dtype == torch.float32
        assert out.prediction.isfinite().all()
        assert out.taps[1].dtype == torch.bfloat16

    def test_checkpointing_changes_no_gradient(self, model: Any, call: Any) -> None:
        found = []
        for model.gradient_checkpointing in (False, True):
            found.append(gradients(model, call(model).prediction.square().mean()))
        torch.testing.assert_close(*found)

    @pytest.mark.slow
    def test_compiled_network_gives_the_same(self, name: str) -> None:
        # In a process of its own: the suite's run-time type checks cannot be compiled.
        done = subprocess.run(
            [sys.executable, "-c", COMPILED, name], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert "same" in done.stdout


@pytest.mark.usefixtures("as_a_user")
class TestForeignInputs:
    @pytest.mark.parametrize(
        ("place", "shape", "message"),
        [
            (0, (3, 3, 3, 4, 6), r"latents: expected \(B, 4, T, H, W\)"),
            (0, (3, 4, 0, 4, 6), "latents: expected"),
            (0, (3, 4, 3, 4, 0), "latents: expected"),
            (0, (2, 4, 3, 4, 6), r"timestep: expected one per sample, \(2,\), got \(3,\)"),
            (1, (), r"timestep: expected .* got \(\)"),
            (2, (3, 5, 7), r"text: expected \(3, L, 8\), got \(3, 5, 7\)"),
            (2, (2, 5, 8), "text: expected"),
            (2, (3, 0, 8), "text: expected"),
            (0, (3, 4, 4, 6), r"latents: expected \(B, 4, T, H, W\)"),
            (2, (3, 8), r"text: expected \(3, L, 8\), got \(3, 8\)"),
            (3, (3, 4), r"text_mask: expected .* \(3, 5\), got \(3, 4\)"),
            (3, (1, 5), "text_mask: expected"),
        ],
    )
    def test_wrong_shapes_raise(
        self, model: Any, call: Any, place: int, shape: tuple[int, ...], message: str
    ) -> None:
        arguments = list(call.positional)
        arguments[place] = torch.zeros(shape, dtype=arguments[place].dtype)
        with pytest.raises(InputError, match=message):
            model(*arguments, **call.named)

    @pytest.mark.parametrize(("place", "which"), [(1, "timestep"), (2, "text"), (3, "text_mask")])
    def test_what_is_no_tensor_raises(self, model: Any, call: Any, place: int, which: str) -> None:
        arguments = list(call.positional)
        arguments[place] = arguments[place].tolist()
        with pytest.raises(InputError, match=f"{which}: expected a tensor, got list; use torch"):
            model(*arguments, **call.named)

    @pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
    def test_masks_of_numbers_raise(self, model: Any, call: Any, dtype: torch.dtype) -> None:
        latents, timestep, text, mask = call.positional
        says = rf"text_mask: expected True and False, got {dtype}; use mask.bool\(\)"
        with pytest.raises(InputError, match=says):
            model(latents, timestep, text, mask.to(dtype), **call.named)
        with pytest.raises(InputError, match=says):
            model(latents, timestep, None, mask.to(dtype), **call.named)

    def test_mask_of_another_length_than_the_null_text_raises(self, model: Any, call: Any) -> None:
        latents, timestep, _, mask = call.positional
        with pytest.raises(InputError, match=r"text_mask: expected .* \(3, 5\), got \(3, 4\)"):
            model(latents, timestep, None, mask[:, :4], **call.named)

    @pytest.mark.parametrize("name", TOLD, indirect=True)
    def test_missing_or_foreign_format_raises(self, model: Any, call: Any) -> None:
        with pytest.raises(InputError, match="video_format: expected frames, size and rate"):
            call(model, video_format=None)
        two = VideoFormat.of(2, num_frames=3, height=32, width=48, fps=8)
        with pytest.raises(InputError, match=r"num_frames: expected one number per sample, \(3,\)"):
            call(model, video_format=two)

    @pytest.mark.parametrize("name", TOLD, indirect=True)
    def test_foreign_x_mask_raises(self, model: Any, call: Any) -> None:
        for shape in ((3, 2), (2, 3), (3,)):
            with pytest.raises(InputError, match=r"x_mask: expected .* \(3, 3\), got"):
                call(model, x_mask=torch.ones(shape, dtype=torch.bool))
        with pytest.raises(InputError, match=r"x_mask: expected True and False, got torch.int64"):
            call(model, x_mask=torch.ones(3, 3, dtype=torch.int64))

    @pytest.mark.parametrize(
        "bad",
        [
            {"taps": 3},
            {"taps": (1.0,)},
            {"taps": "ab"},
            {"until": 1.5},
            {"until": "1"},
            {"early": 1},
            {"early": (1, 1.5)},
            {"early": (1, 2, 3)},
            {"early": ()},
        ],
    )
    def test_ways_that_are_no_whole_numbers_raise(self, model: Any, call: Any, bad: dict) -> None:
        with pytest.raises(InputError, match=f"{next(iter(bad))}: expected .*, got "):
            call(model, **bad)

    @pytest.mark.parametrize("bad", [{"num_heads": 7}, {"hidden_size": 26}])
    def test_widths_that_cannot_be_shared_raise(self, tiny: Callable, name: str, bad: dict) -> None:
        with pytest.raises(InputError, match="hidden_size: expected a multiple of each of"):
            tiny(name, **bad)

    @pytest.mark.parametrize("key", ["depth", "hidden_size", "num_heads", "caption_channels"])
    def test_sizes_of_nothing_raise(self, tiny: Callable, name: str, key: str) -> None:
        with pytest.raises(InputError, match=rf"{name}\.{key}: expected finite numbers above 0"):
            tiny(name, **{key: 0})

    def test_unknown_gelu_raises(self, tiny: Callable, name: str) -> None:
        with pytest.raises(InputError, match=r"gelu: expected .*tanh.*exact.*, got 'relu'"):
            tiny(name, gelu="relu")


class TestRegistry:
    def test_config_survives_json(self, model: Any, name: str) -> None:
        plain = json.loads(json.dumps(dataclasses.asdict(model.config)))
        built = build_backbone(name, plain)
        assert built.config == model.config
        assert type(built) is type(model)

    def test_unknown_names_raise(self) -> None:
        with pytest.raises(InputError, match=r"expected one of \['stdit', 'stdit2', 'stdit3'\]"):
            build_backbone("stdit9", {})

    def test_unknown_keys_raise(self, name: str) -> None:
        with pytest.raises(InputError, match=r"got \['width'\]"):
            build_backbone(name, {"width": 4})

    def test_every_name_leads_to_a_class_with_a_config(self, name: str) -> None:
        module, _, attribute = BACKBONES[name].partition(":")
        assert dataclasses.is_dataclass(getattr(importlib.import_module(module), attribute).Config)

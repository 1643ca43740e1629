import dataclasses
import json

import jaxtyping
import pytest
import torch
from torch import Tensor

from jog3r.backbones.interface import VideoFormat
from jog3r.backbones.registry import BACKBONES, build_backbone
from jog3r.backbones.stdit import STDiT
from jog3r.errors import InputError

TINY = STDiT.Config(
    hidden_size=16,
    depth=4,
    num_heads=2,
    caption_channels=8,
    max_text_tokens=5,
    input_size=(3, 4, 6),
)


@pytest.fixture
def model(generator: torch.Generator) -> STDiT:
    return lively(TINY.build(), generator)


def lively(model: STDiT, generator: torch.Generator) -> STDiT:
    """Give every parameter a value: what starts at zero would hide mistakes."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.15 * torch.randn(parameter.shape, generator=generator))
    return model


def inputs(
    generator: torch.Generator, batch: int = 3, size: tuple[int, int, int] = (3, 4, 6)
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    latents = torch.randn(batch, 4, *size, generator=generator)
    timestep = 1000 * torch.rand(batch, generator=generator)
    text = torch.randn(batch, 5, 8, generator=generator)
    mask = torch.arange(5) < torch.tensor([[2], [5], [1]])[:batch]
    return latents, timestep, text, mask


def test_full_size_has_the_names_of_the_public_checkpoint() -> None:
    with torch.device("meta"):
        state = STDiT.Config().build().state_dict()
    assert state["pos_embed"].shape == (1, 256, 1152)
    assert state["pos_embed_temporal"].shape == (1, 16, 1152)
    assert state["y_embedder.y_embedding"].shape == (120, 4096)
    assert state["blocks.27.attn_temp.qkv.weight"].shape == (3456, 1152)
    assert state["final_layer.linear.weight"].shape == (32, 1152)
    in_block = {name.removeprefix("blocks.0.") for name in state if name.startswith("blocks.0.")}
    layers = ["attn.qkv", "attn.proj", "attn_temp.qkv", "attn_temp.proj", "cross_attn.q_linear"]
    layers += ["cross_attn.kv_linear", "cross_attn.proj", "mlp.fc1", "mlp.fc2"]
    assert in_block == {"scale_shift_table"} | {
        f"{layer}.{part}" for layer in layers for part in ("weight", "bias")
    }


class TestShape:
    @pytest.mark.parametrize("learn_sigma", [True, False])
    @pytest.mark.parametrize("size", [(3, 4, 6), (1, 4, 6), (5, 4, 6), (3, 2, 2), (2, 8, 6)])
    def test_any_length_and_size(
        self, generator: torch.Generator, size: tuple[int, int, int], learn_sigma: bool
    ) -> None:
        model = lively(dataclasses.replace(TINY, learn_sigma=learn_sigma).build(), generator)
        out = model(*inputs(generator, size=size), taps=(2,))
        assert out.prediction is not None
        assert out.prediction.shape == (3, 8 if learn_sigma else 4, *size)
        assert out.prediction.isfinite().all()
        assert out.taps[2].shape == (3, size[0], size[1] // 2 * (size[2] // 2), 16)

    def test_patches_in_time(self, generator: torch.Generator) -> None:
        config = dataclasses.replace(TINY, patch_size=(3, 2, 1), input_size=(6, 4, 6))
        model = lively(config.build(), generator)
        out = model(*inputs(generator, size=(6, 4, 6)), taps=(1,))
        assert out.prediction is not None
        assert out.prediction.shape == (3, 8, 6, 4, 6)
        assert out.taps[1].shape == (3, 2, 12, 16)

    def test_computed_positions_equal_stored_ones_of_that_size(
        self, generator: torch.Generator
    ) -> None:
        """A model made for another size differs in its stored tables only."""
        here = lively(TINY.build(), generator)
        there = dataclasses.replace(TINY, input_size=(5, 8, 2)).build()
        tables = ("pos_embed", "pos_embed_temporal")
        state = {k: v for k, v in here.state_dict().items() if k not in tables}
        assert set(there.load_state_dict(state, strict=False).missing_keys) == set(tables)
        arguments = inputs(generator, size=(5, 8, 2))
        assert torch.equal(here(*arguments).prediction, there(*arguments).prediction)

    def test_tables_made_in_inference_mode_serve_training(self, model: STDiT) -> None:
        generator = torch.Generator().manual_seed(1)
        arguments = inputs(generator, size=(7, 10, 4))
        with torch.inference_mode():
            quiet = model(*arguments).prediction
        loud = model(*arguments).prediction
        assert loud is not None
        loud.sum().backward()
        torch.testing.assert_close(loud, quiet.clone())

    def test_samples_do_not_mix(self, model: STDiT, generator: torch.Generator) -> None:
        arguments = inputs(generator)
        together = model(*arguments).prediction
        alone = model(*(a[1:2] for a in arguments)).prediction
        torch.testing.assert_close(together[1:2], alone)


class TestText:
    def test_null_text_is_the_stored_one(self, model: STDiT, generator: torch.Generator) -> None:
        latents, timestep, _, mask = inputs(generator)
        null = model(latents, timestep, None, mask).prediction
        given = model(latents, timestep, model.null_text(3), mask).prediction
        assert torch.equal(null, given)
        assert not torch.equal(null, model(latents, timestep, None).prediction)

    @pytest.mark.parametrize("trained", [True, False])
    def test_masked_tokens_are_not_seen(
        self, model: STDiT, generator: torch.Generator, trained: bool
    ) -> None:
        latents, timestep, text, mask = inputs(generator)
        other = torch.where(mask[..., None], text, 100.0)
        with torch.set_grad_enabled(trained):
            a = model(latents, timestep, text, mask).prediction
            b = model(latents, timestep, other, mask).prediction
        assert torch.equal(a, b)

    @pytest.mark.parametrize("trained", [True, False])
    def test_a_sample_without_text_gets_nothing_from_it(
        self, model: STDiT, generator: torch.Generator, trained: bool
    ) -> None:
        latents, timestep, text, mask = inputs(generator)
        mask[1] = False
        with torch.set_grad_enabled(trained):
            out = model(latents, timestep, text, mask).prediction
            with torch.no_grad():  # values of zero: attention then gives zero as well
                for block in model.blocks:
                    kv = block.cross_attn.kv_linear  # type: ignore[union-attr]
                    kv.weight[16:] = 0  # type: ignore[index, union-attr]
                    kv.bias[16:] = 0  # type: ignore[index, union-attr]
            without = model(latents, timestep, text).prediction
        torch.testing.assert_close(out[1], without[1])
        assert not torch.allclose(out[0], without[0])


class TestEarlyWaysOut:
    def test_until_gives_the_same_tokens_and_no_prediction(
        self, model: STDiT, generator: torch.Generator
    ) -> None:
        arguments = inputs(generator)
        full = model(*arguments, taps=(1, 3, 4))
        assert sorted(full.taps) == [1, 3, 4]
        ran: list[int] = []
        for number, block in enumerate(model.blocks, start=1):
            block.register_forward_hook(lambda *_, number=number: ran.append(number))
        stopped = model(*arguments, taps=(1, 3), until=3)
        assert ran == [1, 2, 3]
        assert stopped.prediction is None
        assert sorted(stopped.taps) == [1, 3]
        for tap in (1, 3):
            assert torch.equal(stopped.taps[tap], full.taps[tap])

    def test_early_equals_two_calls(self, model: STDiT, generator: torch.Generator) -> None:
        arguments = inputs(generator)
        weight = torch.randn(1, 3, 6, 16, generator=generator)

        def gradients(loss: Tensor) -> list[Tensor]:
            return list(torch.autograd.grad(loss, list(model.parameters())))

        both = model(*arguments, taps=(2, 3, 4), early=(1, 3))
        loss = both.prediction.square().mean() + (both.taps[3][2:] * weight).mean()
        stay = model(*(a[:2] for a in arguments), taps=(4,))
        leave = model(*(a[2:] for a in arguments), taps=(2, 3), until=3)
        separate = stay.prediction.square().mean() + (leave.taps[3] * weight).mean()

        assert [len(both.taps[tap]) for tap in (2, 3, 4)] == [3, 3, 2]
        torch.testing.assert_close(both.prediction, stay.prediction)
        torch.testing.assert_close(both.taps[4], stay.taps[4])
        torch.testing.assert_close(both.taps[3][2:], leave.taps[3])
        torch.testing.assert_close(gradients(loss), gradients(separate), atol=1e-6, rtol=1e-4)

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
    def test_impossible_ways_raise(
        self, model: STDiT, generator: torch.Generator, bad: dict
    ) -> None:
        with pytest.raises(InputError, match="expected"):
            model(*inputs(generator), **bad)


@pytest.mark.parametrize("size", [(3, 5, 6), (3, 4, 7), (0, 4, 6)])
def test_sizes_that_are_no_whole_patches_raise(
    model: STDiT, generator: torch.Generator, size: tuple[int, int, int]
) -> None:
    with pytest.raises(InputError, match="latents: expected"):
        model(*inputs(generator, size=size))


def test_foreign_inputs_raise(model: STDiT, generator: torch.Generator) -> None:
    latents, timestep, text, mask = inputs(generator)
    with pytest.raises(InputError, match="latents: expected"):
        model(latents[:, :3], timestep, text, mask)
    with pytest.raises(InputError, match="text: expected"):
        model(latents, timestep, text[..., :7], mask)
    with pytest.raises(InputError, match="hidden_size: expected"):
        dataclasses.replace(TINY, num_heads=3).build()


def test_video_format_changes_nothing(model: STDiT, generator: torch.Generator) -> None:
    arguments = inputs(generator)
    video_format = VideoFormat.of(3, num_frames=3, height=32, width=48, fps=8)
    told = model(*arguments, video_format=video_format).prediction
    assert torch.equal(told, model(*arguments).prediction)


def test_clean_frames_raise(model: STDiT, generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="x_mask: expected None, got"):
        model(*inputs(generator), x_mask=torch.ones(3, 3, dtype=torch.bool))


def test_unknown_gelu_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    # As for a user: without the tests' runtime type checks, which would refuse it first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(InputError, match=r"gelu: expected one of \['tanh', 'exact'\], got 'relu'"):
        build_backbone("stdit", {**dataclasses.asdict(TINY), "gelu": "relu"})


def test_fresh_model_predicts_nothing_and_learns_everywhere(generator: torch.Generator) -> None:
    model = TINY.build()
    arguments = inputs(generator)
    assert not model(*arguments).prediction.any()
    lively(model, generator)(*arguments).prediction.square().mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_forms_of_gelu_are_two_and_close(model: STDiT, generator: torch.Generator) -> None:
    exact = dataclasses.replace(TINY, gelu="exact").build()
    exact.load_state_dict(model.state_dict(), strict=True)
    arguments = inputs(generator)
    ours, other = model(*arguments).prediction, exact(*arguments).prediction
    assert 0 < (ours - other).norm() / ours.norm() < 1e-2


def test_bfloat16_autocast_stays_close(model: STDiT, generator: torch.Generator) -> None:
    arguments = inputs(generator)
    exact = model(*arguments, taps=(2,))
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(*arguments, taps=(2,))
    assert rough.prediction.dtype == torch.float32
    error = (rough.prediction - exact.prediction).norm() / exact.prediction.norm()
    assert 1e-5 < error < 0.05


def test_half_precision_weights_run(model: STDiT, generator: torch.Generator) -> None:
    out = model.to(torch.bfloat16)(*inputs(generator, size=(2, 4, 8)), taps=(1,))
    assert out.prediction.dtype == torch.float32
    assert out.taps[1].dtype == torch.bfloat16


class TestRegistry:
    def test_config_survives_json(self) -> None:
        plain = json.loads(json.dumps(dataclasses.asdict(TINY)))
        built = build_backbone("stdit", plain)
        assert built.config == TINY
        assert type(built).__name__ == "STDiT"

    def test_unknown_names_raise(self) -> None:
        with pytest.raises(InputError, match=r"expected one of \['stdit'"):
            build_backbone("stdit9", {})
        with pytest.raises(InputError, match=r"got \['width'\]"):
            build_backbone("stdit", {"width": 4})

    @pytest.mark.parametrize("name", sorted(BACKBONES))
    def test_every_name_leads_to_a_class_with_a_config(self, name: str) -> None:
        import importlib

        module, _, attribute = BACKBONES[name].partition(":")
        assert dataclasses.is_dataclass(getattr(importlib.import_module(module), attribute).Config)

import dataclasses

import pytest
import torch
from torch import Tensor

from jog3r.backbones.interface import VideoFormat
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


@pytest.mark.parametrize("size", [(3, 5, 6), (3, 4, 7), (0, 4, 6)])
def test_sizes_that_are_no_whole_patches_raise(
    model: STDiT, generator: torch.Generator, size: tuple[int, int, int]
) -> None:
    with pytest.raises(InputError, match="latents: expected"):
        model(*inputs(generator, size=size))


def test_video_format_changes_nothing(model: STDiT, generator: torch.Generator) -> None:
    arguments = inputs(generator)
    video_format = VideoFormat.of(3, num_frames=3, height=32, width=48, fps=8)
    told = model(*arguments, video_format=video_format).prediction
    assert torch.equal(told, model(*arguments).prediction)


def test_clean_frames_raise(model: STDiT, generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="x_mask: expected None, got"):
        model(*inputs(generator), x_mask=torch.ones(3, 3, dtype=torch.bool))


def test_forms_of_gelu_are_two_and_close(model: STDiT, generator: torch.Generator) -> None:
    exact = dataclasses.replace(TINY, gelu="exact").build()
    exact.load_state_dict(model.state_dict(), strict=True)
    arguments = inputs(generator)
    ours, other = model(*arguments).prediction, exact(*arguments).prediction
    assert 0 < (ours - other).norm() / ours.norm() < 1e-2

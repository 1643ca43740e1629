"""LoRA: nothing at first, low rank while it trains, folded in without a trace."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jog3r.errors import InputError
from jog3r.model import JOG3R
from jog3r.stitch import StitchedModel
from jog3r.training.lora import LoRA

pytest.importorskip("peft")


@pytest.fixture
def model(tiny_model: JOG3R) -> JOG3R:
    return copy.deepcopy(tiny_model).requires_grad_(True)


def backbone(model: JOG3R) -> nn.Module:
    return model.stitched.get_submodule("backbone")


def output(model: JOG3R) -> Tensor:
    """Run backbone and head on the same numbers every time."""
    draw = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 3, 4, 8, 8, generator=draw)
    text = torch.randn(2, 5, 16, generator=draw)
    out = model.stitched(
        latents, torch.tensor([10.0, 700.0]), text, torch.ones(2, 5, dtype=torch.bool)
    )
    pairs = torch.tensor([[[0, 1], [0, 3]]] * 2)
    maps = model.stitched.pointmaps(out.taps[2], pairs, model.token_grid)
    parts = (maps.points_1, maps.points_2, maps.confidence_1, maps.confidence_2)
    assert out.prediction is not None
    return torch.cat([part.flatten() for part in (out.prediction, *parts)])


def difference(one: Tensor, two: Tensor) -> float:
    return float((one - two).detach().norm() / two.detach().norm())


def stir(model: JOG3R) -> None:
    """Give the adapters values, as training would."""
    draw = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=draw)


def test_a_fresh_adapter_changes_nothing(model: JOG3R) -> None:
    before = output(model)
    LoRA(rank=2).apply(model)
    assert torch.equal(output(model), before)


@pytest.mark.parametrize("targets", ["attention", "attention_and_feed_forward"])
def test_merged_equals_unmerged(model: JOG3R, targets: Any, tmp_path: Path) -> None:
    names = list(model.state_dict())
    before, lora = output(model), LoRA(rank=3, alpha=6.0, targets=targets)
    lora.apply(model)
    stir(model)
    unmerged = output(model)
    assert (unmerged - before).abs().max() > 0.01
    merged = lora.merge(model)
    assert difference(output(merged), unmerged) < 1e-6
    assert list(merged.state_dict()) == names
    assert torch.equal(output(model), unmerged)  # that one still has its adapters
    merged.save_pretrained(tmp_path)
    assert difference(output(JOG3R.from_pretrained(tmp_path)), unmerged) < 1e-6


def test_alpha_and_rank_scale_what_is_added(model: JOG3R) -> None:
    layer = "blocks.0.attn.qkv"
    weight = backbone(model).get_submodule(layer).get_parameter("weight").detach().clone()
    lora = LoRA(rank=2, alpha=5.0)
    lora.apply(model)
    stir(model)
    state = backbone(model).get_submodule(layer).state_dict()
    added = state["lora_B.default.weight"] @ state["lora_A.default.weight"]
    assert torch.linalg.matrix_rank(added) == 2
    merged = backbone(lora.merge(model)).get_submodule(layer).get_parameter("weight")
    torch.testing.assert_close(merged, weight + 2.5 * added)


@pytest.mark.parametrize(
    ("targets", "per_block"), [("attention", 7), ("attention_and_feed_forward", 9)]
)
def test_the_targets_are_the_linear_layers_of_the_blocks(
    model: JOG3R, targets: Any, per_block: int
) -> None:
    adapters = LoRA(rank=2, targets=targets).apply(model)
    blocks = model.stitched.backbone.config.depth
    assert len(adapters) == 2 * per_block * blocks  # an A and a B each
    assert all(parameter.requires_grad for parameter in adapters)


@pytest.mark.parametrize("name", ["stdit2", "stdit3"])
def test_every_backbone_has_them(name: str) -> None:
    small = {"in_channels": 3, "hidden_size": 48, "depth": 1, "num_heads": 2}
    network = StitchedModel.Config(backbone=name, backbone_config=small, tap=None)
    with torch.device("meta"):
        model = JOG3R(
            JOG3R.Config(autoencoder=None, text_encoder=None, schedule=None, network=network)
        )
    linears = [
        place
        for place, module in backbone(model).named_modules()
        if isinstance(module, nn.Linear) and "blocks." in place
    ]
    adapters = LoRA(rank=2, targets="attention_and_feed_forward").apply(model)
    assert len(adapters) == 2 * len(linears)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_only_adapters_and_head_have_gradients(model: JOG3R, checkpointing: bool) -> None:
    LoRA(rank=2, targets="attention_and_feed_forward").apply(model)
    stir(model)
    model.stitched.backbone.gradient_checkpointing = checkpointing
    output(model).square().sum().backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert trained
    for name, _ in model.network.named_parameters(prefix="network"):
        expected = "lora_" in name or not name.startswith("network.backbone.")
        assert (name in trained) == expected, name


def test_checkpointing_gives_the_same_gradients(model: JOG3R) -> None:
    lora = LoRA(rank=2)
    adapters = lora.apply(model)
    stir(model)
    gradients = []
    for checkpointing in (False, True):
        model.stitched.backbone.gradient_checkpointing = checkpointing
        gradients.append(torch.autograd.grad(output(model).square().sum(), adapters))
    for one, two in zip(*gradients, strict=True):
        assert torch.equal(one, two)


def test_dropout_acts_in_training_only(model: JOG3R) -> None:
    LoRA(rank=2, dropout=0.5).apply(model)
    stir(model)
    assert torch.equal(output(model.eval()), output(model))
    assert not torch.equal(output(model.train()), output(model))


def test_peft_loads_the_adapter_alone(model: JOG3R, tmp_path: Path) -> None:
    from peft import PeftModel

    plain, lora = copy.deepcopy(model), LoRA(rank=2, alpha=3.0)
    lora.apply(model)
    stir(model)
    lora.save_adapter(model, tmp_path / "adapter")
    PeftModel.from_pretrained(backbone(plain), str(tmp_path / "adapter"))  # in place
    torch.testing.assert_close(output(plain), output(model))


def test_a_second_adapter_is_refused(model: JOG3R) -> None:
    LoRA().apply(model)
    with pytest.raises(InputError, match="merge them first"):
        LoRA().apply(model)


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}])
def test_values_that_make_no_adapter(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected a rank of 1 or more"):
        LoRA(**wrong)

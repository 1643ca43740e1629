import copy

import pytest
import torch
from torch import nn

from jog3r.errors import InputError
from jog3r.model import JOG3R
from jog3r.training.schedules import muon, with_warmup


def rates(steps: int, warmup: int, decay: int | None) -> list[float]:
    """Return the learning rate of each step; its peak is 2."""
    optimiser = torch.optim.AdamW(nn.Linear(1, 1).parameters(), 2.0)
    made = with_warmup(optimiser, warmup=warmup, decay=decay)
    scheduler = made["lr_scheduler"]["scheduler"]
    found = []
    for _ in range(steps):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return found


def test_it_rises_and_stays() -> None:
    assert rates(6, 4, None) == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0])


def test_no_warm_up() -> None:
    assert rates(2, 0, None) == [2.0, 2.0]


def test_half_a_cosine_to_zero() -> None:
    assert rates(10, 1, 8) == pytest.approx(
        [1.0 + torch.tensor(torch.pi * min(step / 8, 1.0)).cos().item() for step in range(10)],
        abs=1e-6,
    )


def test_it_counts_steps() -> None:
    optimiser = torch.optim.AdamW(nn.Linear(1, 1).parameters(), 1.0)
    assert with_warmup(optimiser, warmup=1, decay=None)["lr_scheduler"]["interval"] == "step"


def test_every_parameter_trains_once_and_only_inner_matrices_are_orthogonalised(
    tiny_model: JOG3R,
) -> None:
    model = copy.deepcopy(tiny_model).requires_grad_(True)
    network, text = model.stitched, model.text_encoder
    frozen = network.get_submodule("backbone.blocks.0").requires_grad_(False)
    inner, rest = muon(network, text.parameters(), 2.0, weight_decay=0.3).param_groups
    trained = [id(p) for p in [*inner["params"], *rest["params"]]]
    assert len(set(trained)) == len(trained)
    every = {id(p) for module in (network, text) for p in module.parameters()}
    assert set(trained) == every - {id(p) for p in frozen.parameters()}
    names = {id(p): name for name, p in network.named_parameters()}
    chosen = {names[id(p)] for p in inner["params"]}
    assert {"backbone.blocks.1.attn.qkv.weight", "decoder.dec_blocks2.0.mlp.fc1.weight"} <= chosen
    apart = ("bias", "table", "x_embedder", "final_layer", "head_")
    assert not [name for name in chosen if any(part in name for part in apart)]
    assert (inner["lr"], rest["lr"], inner["weight_decay"]) == (2.0, 1.0, 0.3)


def test_an_update_has_equal_singular_values() -> None:
    layer = nn.Linear(16, 16, bias=False)
    network = nn.ModuleDict({"inner": layer})
    before = layer.weight.detach().clone()
    optimiser = muon(network, [], 0.1, weight_decay=0.0)
    layer.weight.grad = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    optimiser.step()
    values = torch.linalg.svdvals((before - layer.weight.detach()) / 0.1)
    assert values.max() / values.min() < 2.0  # of the gradient itself: over 10
    # Scaled to the size of AdamW's steps: 0.2 per entry, root mean square.
    assert values.square().mean().sqrt() / 4.0 == pytest.approx(0.2, rel=0.2)


@pytest.mark.parametrize(("warmup", "decay"), [(-1, None), (0, 0)])
def test_steps_that_make_no_schedule(warmup: int, decay: int | None) -> None:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    with pytest.raises(InputError, match="warmup_steps, decay_steps: expected at least 0"):
        with_warmup(optimiser, warmup=warmup, decay=decay)

"""What recipes would cost."""

from pathlib import Path
from typing import Any

import pytest
import torch

from jog3r.errors import InputError
from jog3r.training.accelerators import ACCELERATORS, accelerator
from jog3r.training.cost import Work
from jog3r.training.dry_run import dry_run, meta_module, overridden, settings_of, works
from jog3r.training.recipes import read_stages
from jog3r.training.stage_cost import (
    Settings,
    StageCost,
    ddp_traffic,
    fsdp_memory,
    fsdp_traffic,
    stage_cost,
)

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


@pytest.fixture(scope="module")
def stage() -> dict[str, Any]:
    return read_stages(RECIPES / "tiny.yaml")["joint"]


@pytest.fixture(scope="module")
def costs(stage: dict[str, Any]) -> list[StageCost]:
    found = []
    for checkpointing in (False, True):
        module = meta_module(stage["model"])
        module.model.stitched.backbone.gradient_checkpointing = checkpointing
        found.append(stage_cost(module, Work(clips=1, frames=4), Settings(average=True)))
    return found


def test_checkpointing_trades_memory_for_operations(costs: list[StageCost]) -> None:
    plain, checkpointed = costs
    assert checkpointed.activations < 0.6 * plain.activations
    assert checkpointed.kept_activations == plain.activations == plain.kept_activations
    assert checkpointed.flops == plain.flops == plain.executed_flops
    assert 1.1 < checkpointed.executed_flops / plain.flops < 4 / 3


def test_the_state_beside_activations(costs: list[StageCost]) -> None:
    cost = costs[0]
    assert cost.weights == cost.average == 4 * cost.numbers
    assert cost.gradients == 4 * cost.trained < cost.weights  # the autoencoder is frozen
    assert cost.gradients < cost.optimiser < 2 * cost.gradients  # Muon keeps one, AdamW two
    parts = cost.weights + cost.average + cost.gradients + cost.optimiser + cost.activations
    assert cost.memory == parts
    assert cost.tokens == 4 * 64


def test_traffic_of_two_processes(costs: list[StageCost]) -> None:
    cost = costs[0]
    assert ddp_traffic(cost, 2).gradients == cost.gradients
    assert ddp_traffic(cost, 2, batches=4).gradients == cost.gradients / 4
    assert fsdp_traffic(cost, 2).weights == cost.weights
    assert fsdp_traffic(cost, 1).gradients == ddp_traffic(cost, 1).gradients == 0.0
    state = cost.memory - cost.activations
    assert fsdp_memory(cost, 4, largest_block=10) == state / 4 + 20 + cost.activations


def test_what_a_stage_sees(stage: dict[str, Any]) -> None:
    found = {(work.clips, work.frames): share for share, work in works(stage["data"])}
    assert found == {(64, 1): 0.1, (16, 4): 0.5, (4, 16): 0.4}
    prepared = {
        "class_path": "jog3r.training.prepared_data.PreparedDataModule",
        "init_args": {"frames": 8, "batch_size": 2},
    }
    assert works(prepared) == [(1.0, Work(clips=2, frames=8, precomputed=True))]
    with pytest.raises(InputError, match="WorldDataModule, PreparedDataModule"):
        works({"class_path": "somebody.Else"})


def test_what_of_a_trainer_matters(stage: dict[str, Any]) -> None:
    assert settings_of(stage) == Settings(precision=torch.bfloat16, average=True)
    half = {"trainer": {"precision": "bf16-true"}}
    assert settings_of(half) == Settings(precision=torch.bfloat16, weight_bytes=2)
    assert settings_of({}).precision == torch.float32


def test_overrides_reach_the_stage(stage: dict[str, Any]) -> None:
    words = ["--data.init_args.frames_per_batch", "16", "--data.init_args.clip_lengths={4: 1.0}"]
    changed = overridden(stage, words)
    assert changed["data"]["init_args"]["frames_per_batch"] == 16
    text = dry_run(changed, device="h100")
    assert "4 clips of 4 frames (100%)" in text
    assert "1,024 tokens" in text
    assert "memory" in text
    assert "40% of 989" in text
    with pytest.raises(InputError, match="expected --KEY VALUE"):
        overridden(stage, ["--a", "1", "b"])


def test_a_wrong_key_is_one_error(stage: dict[str, Any]) -> None:
    wrong = overridden(stage, ["--model.init_args.rec_factor", "2"])
    with pytest.raises(InputError, match="rec_factor"):
        meta_module(wrong["model"])


def test_devices() -> None:
    assert accelerator("H100") is ACCELERATORS["h100"]
    assert accelerator("2e12").flops == 2e12
    for wrong in ("abacus", "-1", "inf"):
        with pytest.raises(InputError, match="--device-flops: expected one of"):
            accelerator(wrong)

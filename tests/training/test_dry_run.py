"""What recipes would cost."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from jog3r.config import from_plain
from jog3r.errors import InputError
from jog3r.model import JOG3R
from jog3r.training.accelerators import ACCELERATORS, accelerator
from jog3r.training.cli import main
from jog3r.training.cost import Work
from jog3r.training.dry_run import dry_run, meta_module, overridden, settings_of, works
from jog3r.training.joint import JointTraining
from jog3r.training.recipes import read_stages
from jog3r.training.stage_cost import (
    Settings,
    StageCost,
    ddp_traffic,
    fsdp_memory,
    fsdp_traffic,
    stage_cost,
)
from tests.training.small_run import MODEL

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
NAMES = sorted(file.stem for file in RECIPES.glob("*.yaml"))


@pytest.fixture(scope="module")
def stage() -> dict[str, Any]:
    return read_stages(RECIPES / "tiny.yaml")["joint"]


@pytest.fixture(scope="module")
def costs() -> list[StageCost]:
    found, config = [], from_plain(JOG3R.Config, {**MODEL, "num_frames": 16}, "model")
    for checkpointing in (False, True):
        with torch.device("meta"):
            module = JointTraining(config, None, gradient_checkpointing=checkpointing)
        found.append(stage_cost(module, Work(clips=1, frames=16), Settings(average=True)))
    return found


def test_checkpointing_trades_memory_for_operations(costs: list[StageCost]) -> None:
    plain, checkpointed = costs
    assert checkpointed.activations < 0.7 * plain.activations
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
    assert cost.tokens == 16 * 16


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
    text = dry_run(changed, device="h100", efficiency=0.5)
    assert re.search(r"100% +4 +4 +1,024 ", text)
    assert re.search(r"step +1,024 tokens, [\d.]+ TFLOP: one batch", text)
    assert re.search(r"memory \[GiB\].*activations +sum\n.* [\d.]+ of 75$", text)
    assert "at 494 TFLOP/s, 50% of 989" in text
    seconds, flops = re.search(r"([\d.e-]+) s per step", text), re.search(r"([\d.]+) TFLOP:", text)
    assert seconds is not None
    assert flops is not None
    assert float(seconds[1]) == pytest.approx(float(flops[1]) / 494.5, rel=0.01)
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


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The folders of data that recipes name do not exist here."""
    main(["--config", str(RECIPES / f"{name}.yaml"), "--dry-run", "--device-flops", "h100"])
    text = capsys.readouterr().out
    stages = read_stages(RECIPES / f"{name}.yaml")
    assert re.findall(r"^stage (\w+)$", text, re.MULTILINE) == [*stages]
    for word in ("parameters", "batches", "step", "time", r"memory \[GiB\]"):
        assert len(re.findall(rf"^{word}  +\S", text, re.MULTILINE)) == len(stages)
    assert ("on each of 64 processes by FSDP2" in text) == (name == "multi_node")

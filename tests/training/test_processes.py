"""One process, two with DDP and two with FSDP2 train alike and exchange their checkpoints."""

import math
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lightning")

from tests.training import small_run
from tests.training.small_run import Run, differ, read, torchrun, write

HALF: dict[str, Any] = {"data__init_args__clips": 2}
STRATEGIES: dict[str, dict[str, Any]] = {
    "one": {},
    "two": HALF,
    "sharded": {**HALF, "trainer__strategy": "fsdp2"},
    "folders": {**HALF, "trainer__strategy": "fsdp2_sharded_checkpoints"},
}
TOLERANCE = 1e-5
slow = pytest.mark.slow


def run(folder: Path, kind: str, *words: str, **changed: Any) -> dict[int, float]:
    """Train with a strategy, keeping all checkpoints, and give the losses."""
    file = write(folder, every=True, **{**STRATEGIES[kind], **changed})
    Run(file, *words, processes=1 if kind == "one" else 2).finish()
    return read(folder / "losses")


def largest_difference(one: Path, other: Path) -> float:
    found, wanted = small_run.weights(one), small_run.weights(other)
    assert found.keys() == wanted.keys()
    return max(float((found[name] - wanted[name]).abs().max()) for name in found)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Train by a strategy, once for all tests, with what makes their shares of a batch differ.

    Half of the steps have clips of one frame, which leave the head idle; the clips of the others
    have different shares of valid pixels.
    """
    folder = tmp_path_factory.mktemp("runs")

    @cache
    def trained(kind: str) -> Path:
        run(folder / kind, kind)
        return folder / kind

    return trained


@pytest.mark.parametrize("kind", ["two", "sharded", pytest.param("folders", marks=slow)])
def test_losses_are_those_of_one_process(runs: Callable[[str], Path], kind: str) -> None:
    found, wanted = (read(runs(name) / "losses") for name in (kind, "one"))
    assert sorted(wanted) == [1, 2, 3, 4, 5, 6]
    assert found.keys() == wanted.keys()
    assert differ([*wanted.values()], [*found.values()]) < TOLERANCE


@pytest.mark.parametrize("kind", ["two", "sharded"])
def test_weights_are_those_of_one_process(runs: Callable[[str], Path], kind: str) -> None:
    """The learning rate is 1e-3: a gradient of another size would show in the third digit of it."""
    name = "checkpoints/epoch=0-step=6.ckpt"
    assert largest_difference(runs(kind) / name, runs("one") / name) < 2e-4


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("two", "sharded"),
        ("sharded", "one"),
        *(pytest.param(*pair, marks=slow) for pair in (("one", "folders"), ("folders", "two"))),
    ],
)
def test_a_checkpoint_of_one_strategy_goes_on_under_another(
    runs: Callable[[str], Path], tmp_path: Path, source: str, target: str
) -> None:
    start = runs(source) / "checkpoints" / "epoch=0-step=2.ckpt"
    assert start.is_dir() == (source == "folders")
    found = run(tmp_path, target, "--ckpt_path", str(start))
    wanted = read(runs("one") / "losses")
    assert sorted(found) == [3, 4, 5, 6]
    assert differ([wanted[step] for step in found], [*found.values()]) < TOLERANCE


def test_a_checkpoint_of_another_batch_is_refused(
    runs: Callable[[str], Path], tmp_path: Path
) -> None:
    file = write(tmp_path, data__init_args__clips=3)
    start = str(runs("two") / "checkpoints" / "epoch=0-step=2.ckpt")
    printed = Run(file, "--ckpt_path", start).finish(code=2)
    assert "data: expected the stream of the checkpoint, {'batch of all processes': 4}" in printed


@slow
def test_muon_under_every_strategy(tmp_path: Path) -> None:
    """Its orthogonalisation runs in bfloat16, which magnifies what sums in another order change."""
    losses = {
        kind: run(tmp_path / kind, kind, model__init_args__optimiser="muon")
        for kind in ("one", "two", "sharded")
    }
    for kind in ("two", "sharded"):
        assert differ([*losses["one"].values()], [*losses[kind].values()]) < 1e-2


@slow
def test_both_ways_to_reconstruct_less(tmp_path: Path) -> None:
    """The clips that reconstruct are the same, and all pixels of theirs count as one batch's."""
    less = {"model__init_args__rec_every": 2, "model__init_args__rec_frames": "pairs"}
    less |= {"model__init_args__pairs_per_clip": 2}
    losses = [run(tmp_path / kind, kind, **less) for kind in ("one", "two")]
    assert differ([*losses[0].values()], [*losses[1].values()]) < TOLERANCE


@slow
@pytest.mark.parametrize("processes", [1, 2])
def test_halves_of_the_loss(tmp_path: Path, processes: int) -> None:
    """Parameters that a half leaves idle in every step stop no strategy."""
    for name, weights in {"gen": (1.0, 0.0), "rec": (0.0, 1.0)}.items():
        for strategy in ("ddp", "fsdp2"):
            folder = tmp_path / f"{name}_{strategy}"
            file = write(
                folder,
                trainer__strategy=strategy if processes == 2 else "auto",
                model__init_args__gen_weight=weights[0],
                model__init_args__rec_weight=weights[1],
                data__init_args__frames=[4],
            )
            Run(file, processes=processes).finish()
            assert all(math.isfinite(loss) for loss in read(folder / "losses").values())


@slow
def test_gradient_checkpointing_changes_nothing(tmp_path: Path) -> None:
    losses = [
        run(tmp_path / f"{kind}_{on}", kind, model__init_args__gradient_checkpointing=on)
        for kind in ("one", "two", "sharded")
        for on in (False, True)
    ]
    for other in losses[1:]:
        assert differ([*losses[0].values()], [*other.values()]) < TOLERANCE


@slow
def test_the_documented_line(runs: Callable[[str], Path], tmp_path: Path) -> None:
    page = (small_run.REPOSITORY / "docs" / "distributed.md").read_text()
    assert "torchrun --nproc-per-node 2 -m jog3r train --config" in page
    printed = torchrun(write(tmp_path, **HALF), processes=2)
    assert "Starting with 2 processes" in printed
    assert printed.count("# stage joint") == 1
    wanted, found = (read(folder / "losses") for folder in (runs("two"), tmp_path))
    assert found == wanted


@slow
def test_two_stages_without_a_launcher(tmp_path: Path) -> None:
    """Lightning starts the second process itself; both go through both stages."""
    stages = {
        name: small_run.recipe(tmp_path / name, trainer__devices=2, **HALF)
        for name in ("first", "second")
    }
    for name in stages:
        (tmp_path / name).mkdir()
    file = small_run.write_stages(tmp_path, stages)
    subprocess.run(
        [sys.executable, "-m", "jog3r", "train", "--config", str(file)],
        env=small_run.environment(),
        check=True,
        timeout=300,
        capture_output=True,
    )
    first, second = (read(tmp_path / name / "losses") for name in stages)
    assert first == second
    assert len(first) == 6


def test_what_one_process_says_is_the_mean() -> None:
    from jog3r.training.processes import mean_over_processes, means_over_processes

    values = torch.tensor([1.0, 2.0])
    assert torch.equal(mean_over_processes(values), values)
    assert means_over_processes({"a": values[0], "b": values[1]}) == {"a": 1.0, "b": 2.0}

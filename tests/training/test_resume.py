"""Killed at any moment and started again, a run trains as if nothing had happened."""

import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lightning")

from tests.training import small_run
from tests.training.small_run import Run, kill_after, read, write

LAST = ("--ckpt_path", "last")
slow = pytest.mark.slow
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulating, with workers": {
        "trainer__accumulate_grad_batches": 2,
        "data__init_args__workers": 2,
    },
    "from a checkpoint of validation": {
        "trainer__callbacks__1__init_args__every_n_train_steps": None,
        "trainer__callbacks__1__init_args__monitor": "val/loss",
        "trainer__val_check_interval": 2,
    },
    "dropout, Muon": {
        "model__init_args__lora": {"rank": 2, "alpha": 2.0, "dropout": 0.5},
        "model__init_args__optimiser": "muon",
    },
}


@cache
def uninterrupted(folder: Path, name: str) -> dict[int, float]:
    Run(write(folder / name, **SETTINGS[name])).finish()
    return read(folder / name / "losses")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


def killed_and_resumed(
    folder: Path, *moments: tuple[int, float], **changed: Any
) -> dict[int, float]:
    """Start a run, kill it at each of the moments, and let it go on.

    Args:
        folder: Of the run.
        moments: Batches done, and seconds after that.
        changed: Of the recipe.
    """
    file = write(folder, **changed)
    for batches, wait_s in moments:
        kill_after(Run(file, *LAST), folder / "losses", batches, wait_s=wait_s)
    Run(file, *LAST).finish()
    return read(folder / "losses")


def assert_same(folder: Path, other: Path, losses: dict[int, float], name: str) -> None:
    """Compare losses, and weights with their average, bit for bit."""
    assert losses == uninterrupted(other, name)
    found, wanted = (
        small_run.weights(place / "checkpoints" / "last.ckpt") for place in (folder, other / name)
    )
    assert found.keys() == wanted.keys()
    assert not [key for key in found if not found[key].equal(wanted[key])]


@pytest.mark.parametrize("name", ["plain", *(pytest.param(n, marks=slow) for n in [*SETTINGS][1:])])
def test_a_killed_run_goes_on_bit_for_bit(whole: Path, tmp_path: Path, name: str) -> None:
    losses = killed_and_resumed(tmp_path, (3, 0.0), **SETTINGS[name])
    assert_same(tmp_path, whole, losses, name)
    assert len(losses) >= 6


@slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", [*SETTINGS])
def test_killed_at_any_moment(whole: Path, tmp_path: Path, name: str, seed: int) -> None:
    """Saves take a good part of so small a run, so some of the kills fall into one."""
    rng = random.Random(seed)
    last = len(uninterrupted(whole, name)) - 1
    moments = [(done, rng.uniform(0.0, 0.1)) for done in sorted(rng.sample(range(1, last), 2))]
    losses = killed_and_resumed(tmp_path, *moments, **SETTINGS[name])
    assert_same(tmp_path, whole, losses, name)


@slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2", "fsdp2_sharded_checkpoints"])
def test_two_processes_go_on_bit_for_bit(tmp_path: Path, strategy: str) -> None:
    changed = {"trainer__strategy": strategy, "data__init_args__clips": 2}
    Run(write(tmp_path / "whole", **changed), processes=2).finish()
    file = write(tmp_path / "killed", **changed)
    kill_after(
        Run(file, *LAST, processes=2), tmp_path / "killed" / "losses", batches=3, wait_s=0.05
    )
    Run(file, *LAST, processes=2).finish()
    assert read(tmp_path / "killed" / "losses") == read(tmp_path / "whole" / "losses")

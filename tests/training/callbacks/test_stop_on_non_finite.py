"""A sample of NaN stops training, and is found."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, IterableDataset

from jog3r.errors import TrainingError
from jog3r.training.callbacks import StopOnNonFinite
from jog3r.training.joint import JointTraining
from jog3r.training.world_data import WorldDataModule, collate

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


class Spoilt(IterableDataset[dict[str, Any]]):
    """Batches of a data module, to one of which something happens."""

    def __init__(self, data: WorldDataModule, spoil: Callable[[int, dict[str, Any]], None]) -> None:
        self.data, self.spoil = data, spoil

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for step, batch in enumerate(self.data.train_dataloader()):
            self.spoil(step, batch)
            yield batch


@pytest.fixture
def fit(
    stage: JointTraining,
    world_data: Callable[..., WorldDataModule],
    trainer: Callable[..., pl.Trainer],
    tmp_path: Path,
) -> Callable[..., pl.Trainer]:
    """Train on spoilt data until it stops, and return the trainer."""

    def run(spoil: Callable[[int, dict[str, Any]], None], **changed: Any) -> pl.Trainer:
        saves = ModelCheckpoint(tmp_path / "saved", every_n_train_steps=1, save_top_k=-1)
        given = {"enable_checkpointing": True, "steps": 4, "limit_val_batches": 0, **changed}
        made = trainer(saves, StopOnNonFinite(str(tmp_path / "found")), **given)
        data = world_data()
        made.fit(stage, DataLoader(Spoilt(data, spoil), batch_size=None), data.val_dataloader())
        return made

    return run


def test_the_sample_is_found(
    fit: Callable[..., pl.Trainer], stage: JointTraining, tmp_path: Path
) -> None:
    names: list[str] = []

    def spoil(step: int, batch: dict[str, Any]) -> None:
        if step == 2:
            batch["video"][1, 0, 0, 3] = torch.nan
            names.extend(batch["id"])

    with pytest.raises(TrainingError) as caught:
        fit(spoil)
    assert "got NaN or infinity in video" in str(caught.value)
    assert f"from samples ['{names[1]}']," in str(caught.value)
    told = json.loads((tmp_path / "found" / "non_finite_step_000002.json").read_text())
    assert told["step"] == 2
    (process,) = told["processes"]
    (batch,) = process["batches"]
    assert batch["loss"] == "nan"
    assert [sample["id"] for sample in batch["samples"]] == names
    assert [sample["not_finite"] for sample in batch["samples"]] == [[], ["video"]]
    # Neither weights nor checkpoints have seen it.
    kept = sorted((tmp_path / "saved").iterdir())
    assert [file.name for file in kept] == ["epoch=0-step=1.ckpt", "epoch=0-step=2.ckpt"]
    last = torch.load(kept[-1], weights_only=True)["state_dict"]
    for name, value in stage.state_dict().items():
        assert torch.equal(value, last[name]), name
        assert bool(value.isfinite().all())


def test_of_accumulated_batches_the_one_is_named(
    fit: Callable[..., pl.Trainer], stage: JointTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    losses = stage.losses

    def overflow(batch: dict[str, Any], *args: Any) -> Any:
        seen.append(batch["id"])
        loss, parts = losses(batch, *args)
        return (loss * torch.inf if len(seen) == 3 else loss), parts

    monkeypatch.setattr(stage, "losses", overflow)
    with pytest.raises(TrainingError, match=r"step 1: .* got a loss of inf") as caught:
        fit(lambda step, batch: None, accumulate_grad_batches=2)
    assert len(seen) == 4
    assert f"from samples {seen[2]}," in str(caught.value)


def test_gradients_alone_stop_it(fit: Callable[..., pl.Trainer], stage: JointTraining) -> None:
    seen: list[list[str]] = []
    stage.model.stitched.tap_norm.weight.register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(TrainingError, match=r"step 0: .* got a gradient norm of nan") as caught:
        fit(lambda step, batch: seen.append(batch["id"]))
    assert f"from samples {seen[0]}," in str(caught.value)


def test_samples_without_names_are_counted(fit: Callable[..., pl.Trainer]) -> None:
    def spoil(step: int, batch: dict[str, Any]) -> None:
        del batch["id"]
        batch["video"][0] *= torch.nan if step == 1 else 1.0

    with pytest.raises(TrainingError, match=r"from samples \['sample 0 of batch 1'\]"):
        fit(spoil)


def test_finite_training_goes_on(fit: Callable[..., pl.Trainer], tmp_path: Path) -> None:
    assert fit(lambda step, batch: None).global_step == 4
    assert not (tmp_path / "found").exists()


def test_the_world_names_its_clips(world_data: Callable[..., WorldDataModule]) -> None:
    clips = [world_data().world.clip(seed, 2) for seed in (5, 6)]
    assert collate(clips)["id"] == ["5", "6"]

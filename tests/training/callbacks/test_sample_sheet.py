"""The sheet of a validation: what is on it, and from which weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from PIL import Image
from torch import Tensor

from jog3r.model import JOG3R
from jog3r.training.callbacks import SampleSheet, sample_sheet
from jog3r.training.callbacks.sample_sheet import _depths, _grey
from jog3r.training.joint import JointTraining
from jog3r.training.world_data import WorldDataModule

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


def test_a_sheet_is_drawn_with_averaged_weights(
    stage: JointTraining,
    world_data: Callable[..., WorldDataModule],
    trainer: Callable[..., pl.Trainer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[Tensor] = []

    def spy(model: JOG3R, batch: dict[str, Any]) -> Tensor:
        used.append(model.stitched.tap_norm.weight.clone())
        return _depths(model, batch)

    monkeypatch.setattr(sample_sheet, "_depths", spy)
    start = stage.model.stitched.tap_norm.weight.detach().clone()
    average = EMAWeightAveraging(decay=0.5)
    # Drawing must not depend on which callback comes first.
    sheets = [SampleSheet(str(tmp_path / name), steps=2, frames=2) for name in ("one", "two")]
    trainer(sheets[0], average, sheets[1]).fit(stage, world_data())
    assert len(used) == 2
    final = stage.model.stitched.tap_norm.weight  # the average: training has ended
    for weight in used:
        torch.testing.assert_close(weight, final)
        assert not torch.equal(weight, start)
    # Six prompts and two clips of 16 px, four pictures each, at twice the size.
    with Image.open(tmp_path / "one" / "step_000002.png") as sheet:
        assert sheet.size == (128, 256)
        assert np.asarray(sheet).std() > 5.0


def test_latents_are_shown_as_pictures(
    stage: JointTraining, world_data: Callable[..., WorldDataModule]
) -> None:
    batch = next(iter(world_data().val_dataloader()))
    encoded = dict(batch, latents=stage.model.autoencoder.encode(batch["video"]).detach())
    del encoded["video"]
    shown, rows = (_depths(stage.model, each) for each in (encoded, batch))
    assert shown.shape == rows.shape == (32, 64, 3)
    # The first frame went through the autoencoder; the depths are the same.
    assert torch.equal(shown[:, 16:32], rows[:, 16:32])
    assert torch.equal(shown[:, 48:], rows[:, 48:])


@pytest.mark.parametrize("size", [8, 32])
def test_clips_of_another_size_than_the_models(
    stage: JointTraining,
    world_data: Callable[..., WorldDataModule],
    trainer: Callable[..., pl.Trainer],
    tmp_path: Path,
    size: int,
) -> None:
    sheet = SampleSheet(str(tmp_path), steps=1, frames=2)
    trainer(sheet).validate(stage, world_data(size=size).val_dataloader(), verbose=False)
    with Image.open(tmp_path / "step_000000.png") as drawn:
        assert drawn.size == (2 * 4 * max(16, size), 2 * (6 * 16 + 2 * size))


def test_depth_as_grey() -> None:
    depth = torch.tensor([[1.0, 2.0], [4.0, 0.0]])
    grey = _grey(depth)[..., 0].tolist()
    assert grey[0][0] == 255  # the nearest is brightest
    assert grey[0][0] > grey[0][1] > grey[1][0] > 0
    assert grey[1][1] == 0  # nothing there
    assert not _grey(-depth).any()

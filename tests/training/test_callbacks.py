"""What callbacks write, and from which weights."""

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
from jog3r.training import callbacks
from jog3r.training.callbacks import PublishWeights, SampleSheet, _grey
from jog3r.training.joint import JointTraining
from jog3r.training.world_data import WorldDataModule

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


@pytest.fixture
def stage(tiny_model: JOG3R, tmp_path: Path) -> JointTraining:
    tiny_model.save_pretrained(tmp_path / "start", dtype=torch.float32)
    return JointTraining(
        tiny_model.config, str(tmp_path / "start"), learning_rate=0.05, warmup_steps=0
    )


def fit(stage: JointTraining, *used: pl.Callback, steps: int = 2) -> None:
    data = WorldDataModule(
        size=16,
        samples=1,
        shadows=False,
        frames_per_batch=4,
        clip_lengths={2: 1.0},
        validation_clips=2,
        validation_frames=2,
        workers=0,
    )
    pl.Trainer(
        accelerator="cpu",
        max_steps=steps,
        val_check_interval=steps,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(used),
    ).fit(stage, data)


def test_a_sheet_is_drawn_with_averaged_weights(
    stage: JointTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Tensor] = []
    draw = callbacks._depths

    def spy(model: JOG3R, batch: dict[str, Any]) -> Tensor:
        used.append(model.stitched.tap_norm.weight.clone())
        return draw(model, batch)

    monkeypatch.setattr(callbacks, "_depths", spy)
    start = stage.model.stitched.tap_norm.weight.detach().clone()
    average = EMAWeightAveraging(decay=0.5)
    # Drawing must not depend on which callback comes first.
    sheets = [SampleSheet(str(tmp_path / name), steps=2, frames=2) for name in ("one", "two")]
    fit(stage, sheets[0], average, sheets[1])
    assert len(used) == 2
    final = stage.model.stitched.tap_norm.weight  # the average: training has ended
    for weight in used:
        torch.testing.assert_close(weight, final)
        assert not torch.equal(weight, start)
    # Six prompts and two clips of 16 px, four pictures each, at twice the size.
    with Image.open(tmp_path / "one" / "step_000002.png") as sheet:
        assert sheet.size == (128, 256)
        assert np.asarray(sheet).std() > 5.0


def test_the_average_is_published(stage: JointTraining, tmp_path: Path) -> None:
    fit(stage, EMAWeightAveraging(decay=0.5), PublishWeights(str(tmp_path / "model")))
    published = JOG3R.from_pretrained(tmp_path / "model").state_dict()
    for name, tensor in stage.model.state_dict().items():
        torch.testing.assert_close(published[name], tensor.half().float(), atol=0.0, rtol=0.0)


def test_depth_as_grey() -> None:
    depth = torch.tensor([[1.0, 2.0], [4.0, 0.0]])
    grey = _grey(depth)[..., 0].tolist()
    assert grey[0][0] == 255  # the nearest is brightest
    assert grey[0][0] > grey[0][1] > grey[1][0] > 0
    assert grey[1][1] == 0  # nothing there
    assert not _grey(-depth).any()

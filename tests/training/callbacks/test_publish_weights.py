"""Weights at the end of a training."""

from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging

from jog3r.model import JOG3R
from jog3r.training.callbacks import PublishWeights
from jog3r.training.joint import JointTraining
from jog3r.training.world_data import WorldDataModule

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


def test_the_average_is_published(
    stage: JointTraining,
    world_data: Callable[..., WorldDataModule],
    trainer: Callable[..., pl.Trainer],
    tmp_path: Path,
) -> None:
    published = PublishWeights(str(tmp_path / "model"))
    trainer(EMAWeightAveraging(decay=0.5), published).fit(stage, world_data())
    loaded = JOG3R.from_pretrained(tmp_path / "model").state_dict()
    for name, tensor in stage.model.state_dict().items():
        torch.testing.assert_close(loaded[name], tensor.half().float(), atol=0.0, rtol=0.0)

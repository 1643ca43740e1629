"""A whole small training: real model, real world, a few steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from jog3r.model import JOG3R
from jog3r.training.joint import JointTraining
from jog3r.training.world_data import WorldDataModule


@pytest.fixture
def stage(tiny_model: JOG3R, tmp_path: Path) -> JointTraining:
    """Return a training that begins with the tiny model of 16 px."""
    tiny_model.save_pretrained(tmp_path / "start", dtype=torch.float32)
    return JointTraining(
        tiny_model.config, str(tmp_path / "start"), learning_rate=0.05, warmup_steps=0
    )


@pytest.fixture(scope="session")
def world_data() -> Callable[..., WorldDataModule]:
    """Return a function that makes data: by default two clips of two frames a step."""

    def make(**changed: Any) -> WorldDataModule:
        given = {"size": 16, "samples": 1, "shadows": False, "workers": 0}
        given |= {"frames_per_batch": 4, "clip_lengths": {2: 1.0}}
        given |= {"validation_clips": 2, "validation_frames": 2}
        return WorldDataModule(**{**given, **changed})

    return make


@pytest.fixture(scope="session")
def trainer() -> Callable[..., pl.Trainer]:
    """Return a function that makes a trainer which validates after its last step."""

    def make(*used: pl.Callback, steps: int = 2, **changed: Any) -> pl.Trainer:
        given = {"accelerator": "cpu", "max_steps": steps, "val_check_interval": steps}
        given |= {"check_val_every_n_epoch": None, "num_sanity_val_steps": 0, "logger": False}
        given |= {"enable_checkpointing": False, "enable_progress_bar": False}
        given |= {"enable_model_summary": False, "callbacks": list(used)}
        return pl.Trainer(**{**given, **changed})

    return make

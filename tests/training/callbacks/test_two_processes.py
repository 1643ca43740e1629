"""With two processes, shared weights or not, the callbacks say what one process says."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("lightning")

from jog3r.export.mp4 import read_mp4
from jog3r.model import JOG3R
from jog3r.training.publish import publish
from jog3r.training.start import AUTOENCODER_FILE
from tests.training.small_run import MODEL, Run, write

KINDS: dict[str, dict[str, Any]] = {
    "one": {},
    "two": {"data__init_args__clips": 2},
    "sharded": {"data__init_args__clips": 2, "trainer__strategy": "fsdp2_sharded_checkpoints"},
}
OURS = "jog3r.training.callbacks."


def callbacks(folder: Path) -> list[dict[str, Any]]:
    return [
        {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging"},
        {"class_path": OURS + "GradientNorm"},
        {"class_path": OURS + "StopOnNonFinite", "init_args": {"folder": str(folder / "found")}},
        {"class_path": OURS + "Throughput", "init_args": {"window": 2}},
        {"class_path": OURS + "PoseValidation"},
        {
            "class_path": OURS + "SampleSheet",
            "init_args": {"folder": str(folder / "sheets"), "steps": 1, "frames": 4},
        },
        {
            "class_path": OURS + "SampleVideos",
            "init_args": {
                "folder": str(folder / "videos"),
                "prompts": ["a gallery"],
                "steps": 2,
                "frames": 4,
            },
        },
        {
            "class_path": OURS + "PublishWeights",
            "init_args": {"folder": str(folder / "model"), "dtype": "float32"},
        },
        {
            "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
            "init_args": {
                "dirpath": str(folder / "checkpoints"),
                "every_n_train_steps": 4,
                "save_last": True,
                "enable_version_counter": False,
            },
        },
    ]


def start(folder: Path, kind: str, **changed: Any) -> Run:
    logger = {
        "class_path": "lightning.pytorch.loggers.CSVLogger",
        "init_args": {"save_dir": str(folder), "name": "log", "version": 0},
    }
    settings = {
        "trainer__callbacks": callbacks(folder),
        "trainer__logger": logger,
        "trainer__log_every_n_steps": 1,
        "trainer__max_steps": 4,
        "trainer__val_check_interval": 2,
        "trainer__limit_val_batches": 1.0,
        "data__init_args__frames": [4],
        **KINDS[kind],
        **changed,
    }
    return Run(write(folder, **settings), processes=1 if kind == "one" else 2)


def curve(folder: Path, name: str) -> dict[int, float]:
    with (folder / "log" / "version_0" / "metrics.csv").open() as file:
        return {int(row["step"]): float(row[name]) for row in csv.DictReader(file) if row[name]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for kind in KINDS:
        start(folder / kind, kind).finish()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["two", "sharded"])
@pytest.mark.parametrize(
    "name", ["train/grad_norm", "val/coverage", "val/forward_rra_15", "val/forward_ate"]
)
def test_curves_are_those_of_one_process(runs: Path, kind: str, name: str) -> None:
    wanted = curve(runs / "one", name)
    assert len(wanted) in (2, 4)
    assert curve(runs / kind, name) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["two", "sharded"])
def test_poses_are_validated_everywhere(runs: Path, kind: str) -> None:
    found = curve(runs / kind, "val/estimated")
    assert found == pytest.approx(curve(runs / "one", "val/estimated"))
    assert list(curve(runs / kind, "val/auc_30")) == [1, 3]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["two", "sharded"])
def test_videos_are_the_same(runs: Path, kind: str) -> None:
    name = Path("videos") / "step_000004" / "00_a_gallery.mp4"
    found, wanted = (read_mp4(runs / each / name).frames.float() for each in (kind, "one"))
    assert (found - wanted).abs().mean() < 1.0
    assert (runs / kind / "sheets" / "step_000004.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["two", "sharded"])
def test_published_weights_are_the_same(runs: Path, kind: str) -> None:
    found, wanted = (
        JOG3R.from_pretrained(runs / each / "model").state_dict() for each in (kind, "one")
    )
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_checkpoints_of_every_strategy_are_published(runs: Path, kind: str, tmp_path: Path) -> None:
    checkpoint = runs / kind / "checkpoints" / "last.ckpt"
    assert checkpoint.is_dir() == (kind == "sharded")
    done = publish(checkpoint, tmp_path / "model", dtype=torch.float32)
    assert (done.weights, done.steps) == ("averaged", 4)
    found, wanted = (
        JOG3R.from_pretrained(folder).state_dict()
        for folder in (tmp_path / "model", runs / kind / "model")
    )
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["two", "sharded"])
def test_two_processes_count_double(runs: Path, kind: str) -> None:
    clips, tokens = (
        curve(runs / kind, f"throughput/{name}") for name in ("clips_per_s", "tokens_per_s")
    )
    assert clips
    assert tokens == pytest.approx({step: 4 * 16 * rate for step, rate in clips.items()})


@pytest.mark.parametrize("kind", ["two", pytest.param("sharded", marks=pytest.mark.slow)])
def test_a_spoilt_clip_stops_all_and_is_named(tmp_path: Path, kind: str) -> None:
    # Number 7 is in the second step's batch, and of the second process.
    printed = start(
        tmp_path,
        kind,
        data={
            "class_path": "tests.training.callbacks.spoilt_clips.SpoiltData",
            "init_args": {"spoilt": 7, "clips": 2},
        },
        trainer__limit_val_batches=0,
    ).finish(code=1)
    lines = [line for line in printed.splitlines() if line.startswith("jog3r: error")]
    assert len(lines) == 2
    for line in lines:
        assert "step 1: expected a finite loss and finite gradients, got NaN or infinity in" in line
        assert "from samples ['7']" in line
    told = json.loads((tmp_path / "found" / "non_finite_step_000001.json").read_text())
    names = [
        sample["id"]
        for process in told["processes"]
        for batch in process["batches"]
        for sample in batch["samples"]
    ]
    assert names == ["4", "5", "6", "7"]


@pytest.mark.slow
def test_an_autoencoder_is_published_alike(tmp_path: Path) -> None:
    """Its latents are calibrated when training is over; of shared weights none has them all."""
    model = {
        "class_path": "jog3r.training.autoencoder.AutoencoderTraining",
        "init_args": {"autoencoder": MODEL["autoencoder"]},
    }
    for kind in KINDS:
        publishing = callbacks(tmp_path / kind)[-2]
        start(tmp_path / kind, kind, model=model, trainer__callbacks=[publishing]).finish()
    found = {kind: load_file(tmp_path / kind / "model" / AUTOENCODER_FILE) for kind in KINDS}
    assert not torch.equal(found["one"]["scale"], torch.ones_like(found["one"]["scale"]))
    for kind in ("two", "sharded"):
        torch.testing.assert_close(found[kind], found["one"], atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_adapters_train_alike(tmp_path: Path) -> None:
    lora = {"rank": 2, "targets": "attention_and_feed_forward"}
    for kind in KINDS:
        start(
            tmp_path / kind,
            kind,
            model__init_args__lora=lora,
            trainer__limit_val_batches=0,
        ).finish()
    wanted = curve(tmp_path / "one", "train/loss")
    for kind in ("two", "sharded"):
        assert curve(tmp_path / kind, "train/loss") == pytest.approx(wanted, rel=1e-5)
        published = JOG3R.from_pretrained(tmp_path / kind / "model")
        assert not any("lora" in name for name in published.state_dict())

"""One small run with everything on: curves in two loggers, videos, poses, rates, checkpoints."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image

from jog3r.errors import FileError, InputError
from jog3r.export.mp4 import read_mp4
from jog3r.model import JOG3R
from jog3r.training.callbacks import (
    GradientNorm,
    PoseValidation,
    SampleSheet,
    SampleVideos,
    Throughput,
)
from jog3r.training.callbacks.throughput import video_tokens
from jog3r.training.cost import step_flops
from jog3r.training.joint import JointTraining
from jog3r.training.world_data import WorldDataModule

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
PROMPTS = ["a red sphere in a white room, the camera moves forward", "a gallery"]
PEAK = 1e11


def checkpoints(folder: Path) -> list[pl.Callback]:
    """Return what docs/monitoring.md shows: the newest for resuming, the best by a metric."""
    return [
        ModelCheckpoint(folder, every_n_train_steps=1, save_last=True, save_top_k=1),
        ModelCheckpoint(
            folder / "best",
            filename="{step}-{val/loss:.3f}",
            auto_insert_metric_name=False,
            monitor="val/loss",
            mode="min",
            save_top_k=2,
        ),
    ]


@pytest.fixture(scope="module")
def run(
    tiny_model: JOG3R,
    world_data: Callable[..., WorldDataModule],
    trainer: Callable[..., pl.Trainer],
    tmp_path_factory: pytest.TempPathFactory,
) -> SimpleNamespace:
    """Train 6 steps of clips of 4 frames, validate after every second one."""
    folder = tmp_path_factory.mktemp("run")
    tiny_model.save_pretrained(folder / "start", dtype=torch.float32)
    stage = JointTraining(tiny_model.config, str(folder / "start"), learning_rate=0.01)
    data = world_data(frames_per_batch=8, clip_lengths={4: 1.0}, validation_frames=4)
    loggers = [TensorBoardLogger(folder, "tensorboard"), CSVLogger(folder, "csv")]
    used = [
        SampleVideos(str(folder / "videos"), prompts=PROMPTS, steps=2, frames=3),
        PoseValidation(),
        EMAWeightAveraging(decay=0.5),
        GradientNorm(),
        Throughput(window=2, peak_flops=PEAK),
        LearningRateMonitor(),
        *checkpoints(folder / "kept"),
    ]
    made = trainer(
        *used,
        steps=6,
        val_check_interval=2,
        log_every_n_steps=1,
        enable_checkpointing=True,
        logger=loggers,
        gradient_clip_val=0.01,
    )
    made.fit(stage, data)
    return SimpleNamespace(folder=folder, trainer=made, stage=stage, data=data)


def rows(run: SimpleNamespace) -> list[dict[str, str]]:
    with (run.folder / "csv" / "version_0" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def curve(run: SimpleNamespace, name: str) -> dict[int, float]:
    return {int(row["step"]): float(row[name]) for row in rows(run) if row[name]}


@pytest.fixture(scope="module")
def events(run: SimpleNamespace) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(
        str(run.folder / "tensorboard" / "version_0"), size_guidance={"images": 0}
    )
    return read.Reload()


@pytest.mark.parametrize(
    "name",
    [
        *(f"train/{part}" for part in ("loss", "gen", "rec", "distance", "confidence")),
        *("train/grad_norm", "throughput/clips_per_s", "throughput/mfu"),
        *("val/loss", "val/auc_30", "val/forward_auc_30"),
    ],
)
def test_both_loggers_have_the_same_curve(run: SimpleNamespace, events: Any, name: str) -> None:
    written = curve(run, name)
    shown = {event.step: event.value for event in events.Scalars(name)}
    assert len(written) >= 3
    assert shown == pytest.approx(written, nan_ok=True)


def test_the_learning_rate_is_logged(run: SimpleNamespace) -> None:
    rates = curve(run, "lr-Muon/pg1")
    assert list(rates.values()) == sorted(rates.values())  # it warms up
    assert len(set(rates.values())) == 6


def test_the_gradient_norm_is_that_before_clipping(run: SimpleNamespace) -> None:
    assert min(curve(run, "train/grad_norm").values()) > 0.01


def test_rates_agree_with_each_other(run: SimpleNamespace) -> None:
    clips = curve(run, "throughput/clips_per_s")
    assert len(clips) == 5  # the window is full from the second batch on
    batch = next(iter(run.data.train_dataloader()))
    assert video_tokens(run.stage, batch) == 2 * 4 * 16
    tokens, tflops = (curve(run, f"throughput/{name}") for name in ("tokens_per_s", "tflops_per_s"))
    assert tokens == pytest.approx({step: 4 * 16 * rate for step, rate in clips.items()})
    flops = step_flops(run.stage, clips=2, frames=4)
    expected = {step: rate / 2 * flops / 1e12 for step, rate in clips.items()}
    assert tflops == pytest.approx(expected)
    share = {step: rate * 1e12 / PEAK for step, rate in tflops.items()}
    assert curve(run, "throughput/mfu") == pytest.approx(share)


def test_videos_are_files_and_move_in_tensorboard(run: SimpleNamespace, events: Any) -> None:
    folders = sorted(folder.name for folder in (run.folder / "videos").iterdir())
    assert folders == ["step_000002", "step_000004", "step_000006"]
    names = ["00_a_red_sphere_in_a_white_room_the_camera", "01_a_gallery"]
    last = run.folder / "videos" / "step_000006"
    assert sorted(file.stem for file in last.iterdir()) == names
    assert len(read_mp4(last / f"{names[1]}.mp4")) == 3
    shown = events.Images(f"videos/{names[0]}")
    assert [event.step for event in shown] == [2, 4, 6]
    with Image.open(io.BytesIO(shown[-1].encoded_image_string)) as moving:
        assert (moving.format, moving.size) == ("GIF", (16, 16))
        assert getattr(moving, "n_frames", 1) == 3
        assert moving.info["duration"] == pytest.approx(125, abs=5)  # 8 a second


def test_videos_are_of_the_averaged_weights_and_a_fixed_seed(
    run: SimpleNamespace, tmp_path: Path
) -> None:
    # After training the average is in place.
    shot = run.stage.model.generate(PROMPTS[1], seed=1, num_frames=3, num_inference_steps=2)
    kept = read_mp4(run.folder / "videos" / "step_000006" / "01_a_gallery.mp4")
    again = read_mp4(shot.video.save(tmp_path / "again.mp4"))  # as lossy as the first time
    assert (again.frames.float() - kept.frames.float()).abs().mean() < 1.0


def best_two(losses: dict[int, float]) -> set[str]:
    """Name the checkpoints of a curve; theirs counts steps taken, the curve's begins with 0."""
    best = sorted(losses, key=lambda step: losses[step])[:2]
    return {f"{step + 1}-{losses[step]:.3f}.ckpt" for step in best}


def test_the_newest_and_the_best_checkpoints_are_kept(run: SimpleNamespace) -> None:
    found = {file.name for file in (run.folder / "kept" / "best").iterdir()}
    assert found == best_two(curve(run, "val/loss"))
    newest = torch.load(run.folder / "kept" / "last.ckpt", weights_only=True)
    assert newest["global_step"] == 6


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_both_checkpoint_callbacks_resume(run: SimpleNamespace) -> None:
    made = pl.Trainer(
        accelerator="cpu",
        max_steps=7,
        logger=False,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[EMAWeightAveraging(decay=0.5), *checkpoints(run.folder / "kept")],
    )
    before = {file.name for file in (run.folder / "kept" / "best").iterdir()}
    losses = curve(run, "val/loss")
    made.fit(run.stage, run.data, ckpt_path=str(run.folder / "kept" / "last.ckpt"))
    assert made.global_step == 7
    best = made.checkpoint_callbacks[1]
    assert isinstance(best, ModelCheckpoint)
    # last.ckpt was written before the validation of its step, and so knows the earlier ones.
    earlier = {step: losses[step] for step in sorted(losses)[:-1]}
    assert {Path(path).name for path in best.best_k_models} == best_two(earlier)
    assert before <= {file.name for file in (run.folder / "kept" / "best").iterdir()}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Throughput(window=1), "window: expected at least 2"),
        (lambda: Throughput(peak_flops=0.0), "peak_flops: expected FLOP/s above 0"),
        (lambda: SampleVideos("x", prompts=[]), "prompts: expected at least one"),
        (lambda: SampleSheet("x", steps=0), "num_inference_steps: expected 1 to 1000, got 0"),
        (lambda: SampleSheet("x", frames=0), "num_frames: expected 1 to 256, got 0"),
    ],
)
def test_settings_that_make_no_sense(wrong: Callable[[], pl.Callback], message: str) -> None:
    with pytest.raises(InputError, match=message):
        wrong()


@pytest.mark.parametrize("asked", [{"guidance_scale": 0.0}, {"steps": 0}, {"frames": 0}])
def test_no_number_of_a_recipe_is_replaced(run: SimpleNamespace, asked: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"expected 1 to .*, got 0"):
        SampleVideos("x", **asked).setup(run.trainer, run.stage, "fit")


def test_features_take_the_place_of_a_prompt(tmp_path: Path, tiny_model: JOG3R) -> None:
    from jog3r.codecs.features import TextFeatures

    text, mask = tiny_model.text_encoder([PROMPTS[0]])
    TextFeatures(text[0], mask[0]).save(tmp_path / "red sphere.safetensors")
    made = SampleVideos("x", prompts=[str(tmp_path / "red sphere.safetensors")], steps=2, frames=2)
    told = SampleVideos("x", prompts=[PROMPTS[0]], steps=2, frames=2)
    from_features, from_words = (each._generated(tiny_model)[0] for each in (made, told))
    assert torch.equal(from_features.frames, from_words.frames)
    with pytest.raises(FileError, match="text features"):
        SampleVideos("x", prompts=[str(tmp_path / "missing.safetensors")])

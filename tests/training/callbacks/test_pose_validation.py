"""Poses at validation: the same numbers as V2C and the metrics give."""

from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.errors import InputError
from jog3r.metrics import absolute_trajectory_error, relative_pose_errors, straight_forward
from jog3r.metrics.relative_pose import RelativePoseErrors
from jog3r.model import JOG3R
from jog3r.training.autoencoder import AutoencoderTraining
from jog3r.training.callbacks import PoseValidation
from jog3r.training.callbacks.pose_validation import estimated_cameras
from jog3r.training.joint import JointTraining
from jog3r.training.world_data import WorldDataModule

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
WEIGHTS = Path(__file__).resolve().parents[3] / "jog3r" / "weights" / "tiny"
CLIPS, FRAMES = 3, 5


@pytest.fixture(scope="module")
def trained() -> JointTraining:
    if not WEIGHTS.is_dir():
        pytest.skip(f"weights: expected {WEIGHTS}, got no such folder; train them first")
    return JointTraining(JOG3R.from_pretrained(WEIGHTS).config, str(WEIGHTS))


@pytest.fixture(scope="module")
def data(world_data: Callable[..., WorldDataModule]) -> WorldDataModule:
    return world_data(size=64, validation_clips=CLIPS, validation_frames=FRAMES)


def validated(
    stage: JointTraining, held_out: DataLoader, make: Callable[..., pl.Trainer], **options: int
) -> dict[str, float]:
    made = make(PoseValidation(**options))
    made.validate(stage, held_out, verbose=False)
    return {name: float(value) for name, value in made.callback_metrics.items() if "val/" in name}


def test_the_numbers_are_those_of_reconstruct(
    trained: JointTraining, data: WorldDataModule, trainer: Callable[..., pl.Trainer]
) -> None:
    found = validated(trained, data.val_dataloader(), trainer)
    errors, forward, paths = [], [], []
    for batch in data.val_dataloader():
        for video, truth in zip(batch["video"], batch["world_from_camera"], strict=True):
            scene = trained.model.reconstruct(video, refine=None)
            errors.append(relative_pose_errors(scene.cameras.world_from_camera, truth))
            paths.append(absolute_trajectory_error(scene.cameras.world_from_camera, truth))
            forward.append(relative_pose_errors(straight_forward(FRAMES), truth))
    pooled = RelativePoseErrors.pooled(errors)
    assert found["val/rra_15"] == pytest.approx(pooled.rra(15), abs=1e-6)
    assert found["val/rta_15"] == pytest.approx(pooled.rta(15), abs=1e-6)
    assert found["val/auc_30"] == pytest.approx(pooled.auc(), abs=1e-3)
    assert found["val/coverage"] == pytest.approx(pooled.coverage)
    assert found["val/estimated"] == 1.0
    ate = sum(path.translation.rmse for path in paths) / len(paths)
    assert found["val/ate"] == pytest.approx(ate, rel=1e-2)
    ahead = RelativePoseErrors.pooled(forward)
    assert found["val/forward_auc_30"] == pytest.approx(ahead.auc(), abs=1e-6)


def test_latents_give_the_same(
    trained: JointTraining, data: WorldDataModule, trainer: Callable[..., pl.Trainer]
) -> None:
    batches = []
    for batch in data.val_dataloader():
        with torch.no_grad():
            latents = trained.model.autoencoder.encode(batch.pop("video"))
        batches.append({**batch, "latents": latents})
    encoded = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    of_latents = validated(trained, encoded, trainer)
    of_video = validated(trained, data.val_dataloader(), trainer)
    assert of_latents == pytest.approx(of_video, rel=1e-3)


def test_clips_of_another_size_than_the_models(
    trained: JointTraining,
    world_data: Callable[..., WorldDataModule],
    trainer: Callable[..., pl.Trainer],
) -> None:
    """Half of their height is cut off, as of clips of a bucket of their own."""
    data = world_data(size=64, validation_clips=2, validation_frames=FRAMES)
    batch = next(iter(data.val_dataloader()))
    wide = {
        **batch,
        "video": batch["video"][..., 16:48, :],
        "depth": batch["depth"][..., 16:48, :],
        "K": batch["K"] - torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 16.0], [0.0, 0.0, 0.0]]),
    }
    latents = {**wide, "latents": trained.model.autoencoder.encode(wide["video"]).detach()}
    del latents["video"]
    for each in (wide, latents):
        found = validated(trained, DataLoader([each], batch_size=None), trainer)  # type: ignore[arg-type]
        assert found["val/estimated"] == 1.0


def test_some_of_the_clips(
    trained: JointTraining, data: WorldDataModule, trainer: Callable[..., pl.Trainer]
) -> None:
    batch = next(iter(data.val_dataloader()))
    first = {name: value[:1] for name, value in batch.items()}
    one = DataLoader([first], batch_size=None)  # type: ignore[arg-type]
    some = validated(trained, data.val_dataloader(), trainer, clips=1)
    assert some["val/auc_30"] == validated(trained, one, trainer)["val/auc_30"]


def test_a_clip_without_cameras_counts_as_wrong(
    tiny_model: JOG3R,
    stage: JointTraining,
    world_data: Callable[..., WorldDataModule],
    trainer: Callable[..., pl.Trainer],
) -> None:
    with torch.no_grad():
        stage.model.stitched.tap_norm.weight.fill_(torch.nan)
    tokens = torch.zeros(3, 16, 32)
    assert estimated_cameras(stage.model, tokens, (4, 4)) is None
    data = world_data(validation_frames=3)
    found = validated(stage, data.val_dataloader(), trainer)
    assert (found["val/rra_15"], found["val/auc_30"], found["val/estimated"]) == (0.0, 0.0, 0.0)
    assert found["val/forward_rra_15"] > 0.0


def test_clips_without_cameras_log_nothing(
    stage: JointTraining,
    world_data: Callable[..., WorldDataModule],
    trainer: Callable[..., pl.Trainer],
) -> None:
    batch = next(iter(world_data().val_dataloader()))
    for name in ("depth", "K", "world_from_camera"):
        del batch[name]
    found = validated(stage, DataLoader([batch], batch_size=None), trainer)  # type: ignore[arg-type]
    assert "val/gen" in found
    assert "val/auc_30" not in found


def test_there_must_be_a_head(
    trainer: Callable[..., pl.Trainer], world_data: Callable[..., WorldDataModule]
) -> None:
    other = AutoencoderTraining(FrameAutoencoder.Config(block_out_channels=(8, 8)))
    with pytest.raises(InputError, match="expected the training of a whole model"):
        trainer(PoseValidation()).validate(other, world_data().val_dataloader(), verbose=False)

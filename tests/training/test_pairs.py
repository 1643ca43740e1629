"""DUSt3R from scratch: what a pair should be, and that training learns it."""

import copy
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from jog3r.data.world import World, WorldConfig
from jog3r.errors import FileError, InputError
from jog3r.geometry.pointmaps import pointmap_from_depth
from jog3r.heads.dust3r import DUSt3R
from jog3r.model import JOG3R
from jog3r.training.pairs import PairTraining, draw_pairs, pair_targets
from jog3r.training.world_data import WorldBatches, WorldDataModule

SMALL = {"encoder_width": 32, "encoder_depth": 1, "encoder_heads": 2, "decoder_width": 32}
SMALL |= {"decoder_depth": 2, "decoder_heads": 2, "patch": 8, "head": "linear"}


def config(**changed: Any) -> JOG3R.Config:
    network = DUSt3R.Config(**{**SMALL, **changed})
    return JOG3R.Config(
        image_size=(16, 16), autoencoder=None, text_encoder=None, schedule=None, network=network
    )


def training(**changed: Any) -> PairTraining:
    torch.manual_seed(0)
    return PairTraining(config(), **{"learning_rate": 1e-3, "warmup_steps": 1, **changed})


@pytest.fixture(scope="module")
def batch() -> dict[str, Any]:
    world = World(WorldConfig(size=16, samples=1, shadows=False))
    return WorldBatches(world, seed=3, frames_per_batch=12, clip_lengths={3: 1.0}).batch(0)


class TestDrawPairs:
    def test_pairs_are_of_different_frames_and_do_not_repeat(self) -> None:
        for number in range(30):
            pairs = draw_pairs(number, 4, 12, seed=0)
            assert len({tuple(pair) for pair in pairs.tolist()}) == 12
            assert (pairs[:, 0] != pairs[:, 1]).all()
            assert set(pairs.ravel().tolist()) == {0, 1, 2, 3}

    def test_all_pairs_come_alike(self) -> None:
        drawn = np.concatenate([draw_pairs(number, 3, 2, seed=1) for number in range(600)])
        counts = np.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9)
        assert (counts[[0, 4, 8]] == 0).all()
        assert counts[[1, 2, 3, 5, 6, 7]] == pytest.approx(200, abs=50)

    def test_two_frames_give_both_orders(self) -> None:
        assert sorted(draw_pairs(7, 2, 2, seed=0).tolist()) == [[0, 1], [1, 0]]

    def test_more_pairs_than_there_are(self) -> None:
        assert len(draw_pairs(7, 2, 5, seed=0)) == 5

    def test_seed_and_number_decide(self) -> None:
        one = draw_pairs(7, 8, 6, seed=0).tolist()
        assert one == draw_pairs(7, 8, 6, seed=0).tolist()
        assert one != draw_pairs(8, 8, 6, seed=0).tolist()
        assert one != draw_pairs(7, 8, 6, seed=1).tolist()

    def test_a_single_frame(self) -> None:
        with pytest.raises(InputError, match="clip: expected at least 2 frames, got 1"):
            draw_pairs(0, 1, 2, seed=0)


class TestTargets:
    PAIRS = torch.tensor([[[0, 1], [2, 0]]] * 4)

    def test_the_first_view_is_its_own_camera(self, batch: dict[str, Any]) -> None:
        targets = pair_targets(batch, self.PAIRS, 20.0)
        assert targets.points_1.shape == (8, 16, 16, 3)
        for row, (clip, frame) in enumerate([(0, 0), (0, 2), (1, 0)]):
            depth, K = batch["depth"][clip, frame], batch["K"][clip, frame]
            own = pointmap_from_depth(depth, K, torch.eye(4))
            torch.testing.assert_close(targets.points_1[row], own, atol=1e-4, rtol=1e-4)

    def test_the_second_view_is_seen_from_camera_1(self, batch: dict[str, Any]) -> None:
        targets = pair_targets(batch, self.PAIRS, 20.0)
        # Pair 1 of clip 0 is (2, 0): frame 0 is the world, so camera 2 sees its world points.
        cameras = batch["world_from_camera"][0]
        world = pointmap_from_depth(batch["depth"][0, 0], batch["K"][0, 0], cameras[0])
        moved = world.flatten(0, 1) - cameras[2, :3, 3]
        expected = (moved @ cameras[2, :3, :3]).unflatten(0, (16, 16))
        torch.testing.assert_close(targets.points_2[1], expected, atol=1e-4, rtol=1e-4)

    def test_the_world_of_a_clip_does_not_matter(self, batch: dict[str, Any]) -> None:
        turn = torch.tensor([[0.0, -1, 0, 3], [1, 0, 0, 1], [0, 0, 1, -2], [0, 0, 0, 1]])
        other = {**batch, "world_from_camera": turn @ batch["world_from_camera"]}
        one, two = (pair_targets(each, self.PAIRS, 20.0) for each in (batch, other))
        torch.testing.assert_close(one.points_2, two.points_2, atol=1e-4, rtol=1e-4)

    def test_sky_and_far_points_do_not_count(self, batch: dict[str, Any]) -> None:
        depth = batch["depth"]
        near = pair_targets(batch, self.PAIRS, 4.0)
        expected = (depth > 0) & (depth < 4.0)
        assert torch.equal(near.valid_1[1], expected[0, 2])
        assert torch.equal(near.valid_2[1], expected[0, 0])
        assert not near.valid_1.all()
        assert near.valid_1.any()

    def test_clips_without_geometry(self, batch: dict[str, Any]) -> None:
        given = {name: part for name, part in batch.items() if name != "depth"}
        with pytest.raises(InputError, match=r"batch: expected depth and cameras, got none of"):
            pair_targets(given, self.PAIRS, 20.0)


class TestTraining:
    def test_frames_are_encoded_once_and_give_the_same_as_pairs(
        self, batch: dict[str, Any]
    ) -> None:
        stage = training()
        pairs = torch.tensor([[[0, 2]], [[1, 0]], [[2, 1]], [[0, 1]]])
        first, second = stage._predict(batch["video"], pairs)
        clips = torch.arange(4)
        plain = stage.network(
            batch["video"][clips, pairs[:, 0, 0]], batch["video"][clips, pairs[:, 0, 1]]
        )
        torch.testing.assert_close(first.points, plain[0].points)
        torch.testing.assert_close(second.points, plain[1].points)

    def test_every_weight_gets_a_gradient(self, batch: dict[str, Any]) -> None:
        stage = training()
        loss, _ = stage.losses(batch, stage._pairs(batch, 0))
        loss.backward()
        without = [n for n, p in stage.named_parameters() if p.grad is None]
        assert without == ["model.network.mask_token"]

    def test_options_change_the_loss(self, batch: dict[str, Any]) -> None:
        def loss(**changed: Any) -> float:
            stage = training(**changed)
            return float(stage.losses(batch, stage._pairs(batch, stage.seed))[0].detach())

        plain = loss()
        assert loss() == plain
        for changed in ({"alpha": 0.5}, {"max_depth": 4.0}, {"pairs_per_clip": 3}, {"seed": 1}):
            assert loss(**changed) != plain, changed
        assert loss(gradient_checkpointing=True) == pytest.approx(plain, abs=1e-6)

    def test_the_optimiser_is_the_papers(self) -> None:
        stage = training(betas=(0.8, 0.9), weight_decay=0.3, warmup_steps=10, decay_steps=100)
        made = stage.configure_optimizers()
        optimiser, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
        assert optimiser.defaults["betas"] == (0.8, 0.9)
        assert [group["weight_decay"] for group in optimiser.param_groups] == [0.3, 0.0]
        assert all(p.ndim < 2 for p in optimiser.param_groups[1]["params"])
        rise, half, end = (schedule.lr_lambdas[0](step) for step in (4, 50, 100))
        assert rise == pytest.approx(0.5, abs=0.01)
        assert (half, end) == pytest.approx((0.5, 0.0), abs=1e-6)

    @pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
    def test_it_learns_and_goes_on(self, tmp_path: Path) -> None:
        """Fit two clips, save, and begin again with another head."""
        data = WorldDataModule(
            size=16, samples=1, shadows=False, frames_per_batch=4, clip_lengths={2: 1.0}, workers=0
        )
        batch = next(iter(data.train_dataloader()))
        stage = training(learning_rate=3e-3)
        pairs = stage._pairs(batch, 0)
        before = float(stage.losses(batch, pairs)[1]["distance"])
        trainer = pl.Trainer(
            max_steps=40,
            accelerator="cpu",
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        again_and_again: Any = [batch] * 40
        loader = DataLoader(again_and_again, batch_size=None)
        trainer.fit(stage, loader, loader)
        assert float(stage.losses(batch, pairs)[1]["distance"]) < 0.4 * before
        assert trainer.callback_metrics["train/distance"] < 0.4 * before
        stage.model.save_pretrained(tmp_path, dtype=torch.float32)
        again = PairTraining(config(), start=str(tmp_path))
        for name, tensor in again.state_dict().items():
            assert torch.equal(tensor, stage.state_dict()[name]), name

    def test_another_head_begins_afresh(self, tmp_path: Path) -> None:
        sixteen = {"patch": 16, "decoder_depth": 3}
        linear = PairTraining(config(**sixteen))
        linear.model.save_pretrained(tmp_path, dtype=torch.float32)
        dpt = config(
            **sixteen,
            head="dpt",
            dpt_feature_dim=8,
            dpt_last_dim=8,
            dpt_layer_dims=(8, 8, 8, 8),
            dpt_hooks=(0, 1, 2, 3),
        )
        torch.manual_seed(1)
        fresh = PairTraining(dpt).state_dict()
        torch.manual_seed(1)
        taken = PairTraining(dpt, start=str(tmp_path)).state_dict()
        for name, tensor in taken.items():
            source = fresh if ".downstream_head" in name else linear.state_dict()
            assert torch.equal(tensor, source[name]), name

    def test_validation_is_the_same_every_time(self, batch: dict[str, Any]) -> None:
        stage = training()
        logged: list[dict[str, Any]] = []
        stage.log_dict = lambda named, **_: logged.append(named)  # type: ignore[method-assign]
        for _ in range(2):
            stage.validation_step(copy.copy(batch), 0)
        assert logged[0] == logged[1]
        assert set(logged[0]) == {"val/loss", "val/distance", "val/confidence"}


@pytest.mark.usefixtures("as_a_user")
class TestBadInput:
    def test_a_model_without_dust3r(self, tiny_model: JOG3R) -> None:
        with pytest.raises(InputError, match=r"model\.network: expected kind: dust3r"):
            PairTraining(tiny_model.config)

    def test_a_negative_seed(self, tiny_model: JOG3R) -> None:
        with pytest.raises(InputError, match="seed: expected 0 or more, got -1"):
            PairTraining(tiny_model.config, seed=-1)

    def test_no_pairs(self) -> None:
        with pytest.raises(InputError, match="pairs_per_clip: expected at least 1, got 0"):
            training(pairs_per_clip=0)

    def test_nothing_to_start_from(self, tmp_path: Path) -> None:
        with pytest.raises(FileError):
            PairTraining(config(), start=str(tmp_path / "missing"))

    def test_another_network(self, tiny_model: JOG3R, tmp_path: Path) -> None:
        tiny_model.save_pretrained(tmp_path)
        with pytest.raises(FileError, match="start: expected a model with DUSt3R's network"):
            PairTraining(config(), start=str(tmp_path))

    def test_another_width(self, tmp_path: Path) -> None:
        PairTraining(config(encoder_width=64)).model.save_pretrained(tmp_path)
        with pytest.raises(FileError, match=r"start: expected a network in .* that fits"):
            PairTraining(config(), start=str(tmp_path))

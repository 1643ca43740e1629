"""Training: the losses as the design states them, streams that resume, recipes that explain."""

import copy
import dataclasses
import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint

from jog3r.data.world import World, WorldConfig
from jog3r.diffusion.rectified_flow import RectifiedFlow
from jog3r.errors import FileError, InputError
from jog3r.training import joint as joint_module
from jog3r.training.autoencoder import AutoencoderTraining
from jog3r.training.callbacks import PublishWeights
from jog3r.training.cli import main
from jog3r.training.draws import clip_generators, sample_partners
from jog3r.training.joint import JointTraining
from jog3r.training.start import AUTOENCODER_FILE
from jog3r.training.world_data import WorldBatches, WorldDataModule
from jog3r.weights_file import weights_bytes

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = REPOSITORY / "recipes" / "tiny.yaml"


@pytest.fixture(scope="module")
def world() -> World:
    return World(WorldConfig(size=16, samples=1, shadows=False))


def batches(world: World, **changed: Any) -> WorldBatches:
    given = {"seed": 3, "frames_per_batch": 8, "clip_lengths": {4: 1.0}, **changed}
    return WorldBatches(world, **given)


@pytest.fixture
def joint(tiny_model: Any, tmp_path: Path) -> JointTraining:
    (tmp_path / AUTOENCODER_FILE).write_bytes(weights_bytes(tiny_model.autoencoder, torch.float32))
    torch.manual_seed(0)
    made = JointTraining(tiny_model.config, start=str(tmp_path), learning_rate=1e-3)
    made.model.stitched.load_state_dict(tiny_model.network.state_dict())
    return made


class TestJointLosses:
    def test_both_losses_reach_what_they_should(self, joint: JointTraining, world: World) -> None:
        loss, parts = joint.losses(batches(world).batch(0), 0)
        torch.testing.assert_close(loss.detach(), parts["gen"] + parts["rec"])
        loss.backward()
        for name, parameter in joint.model.named_parameters():
            if name.startswith("autoencoder"):
                assert parameter.grad is None
            else:
                assert parameter.grad is not None, name
                assert parameter.grad.isfinite().all(), name

    def test_behind_the_tap_only_generation_trains(
        self, joint: JointTraining, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(joint, "gen_weight", 0.0)
        loss, _ = joint.losses(batches(world).batch(0), 0)
        loss.backward()
        tap = joint.model.stitched.tap
        blocks = joint.model.stitched.get_submodule("backbone.blocks")
        trained = [
            any(p.grad is not None and p.grad.any() for p in block.parameters())
            for block in blocks.children()
        ]
        assert trained == [index < tap for index in range(len(trained))]
        assert not all(trained)
        last = joint.model.stitched.get_submodule("backbone.final_layer")
        assert all(parameter.grad is None for parameter in last.parameters())

    def test_frames_outside_the_pairs_do_not_train(
        self, joint: JointTraining, world: World
    ) -> None:
        tokens = torch.randn(2, 4, 16, 32, requires_grad=True)
        pairs = torch.tensor([[1, 3], [2, 1]])
        loss, _ = joint.reconstruction_loss(tokens, pairs, batches(world).batch(0))
        loss.backward()
        # Frame 0 belongs to every pair, the others only to theirs.
        assert tokens.grad is not None
        assert (tokens.grad.abs().sum(dim=(2, 3)) > 0).tolist() == [
            [True, True, False, True],
            [True, True, True, False],
        ]

    @pytest.mark.parametrize(("power", "below_250"), [(1.0, 0.25), (2.0, 0.5)])
    def test_reconstruction_sees_little_noise_and_no_prompt(
        self,
        joint: JointTraining,
        world: World,
        monkeypatch: pytest.MonkeyPatch,
        power: float,
        below_250: float,
    ) -> None:
        monkeypatch.setattr(joint, "timestep_power", power)
        seen: dict[str, Any] = {}
        encode, network = joint.model.text_encoder.forward, joint.model.stitched.joint

        def spy_on_prompts(prompts: list[str]) -> Any:
            seen["prompts"] = list(prompts)
            return encode(prompts)

        def spy_on_times(latents: Any, timestep: Any, *args: Any, **kwargs: Any) -> Any:
            seen["timestep"], seen["reconstructed"] = timestep, kwargs["reconstructed"]
            return network(latents, timestep, *args, **kwargs)

        monkeypatch.setattr(joint.model.text_encoder, "forward", spy_on_prompts)
        monkeypatch.setattr(joint.model.stitched, "joint", spy_on_times)
        batch = batches(world, frames_per_batch=64).batch(0)
        times = []
        for seed in range(6):
            joint.losses(batch, seed)
            assert seen["reconstructed"] == 16
            assert seen["prompts"][16:] == [""] * 16
            times.append(seen["timestep"])
        generated, reconstructed = torch.stack(times).split(16, dim=1)
        assert reconstructed.min() >= 0
        assert 80 < reconstructed.max() <= 100
        assert generated.max() > 900
        assert generated.min() < 100
        assert (generated < 250).float().mean() == pytest.approx(below_250, abs=0.13)

    def test_clips_of_one_frame_have_no_pairs(self, joint: JointTraining, world: World) -> None:
        batch = batches(world, clip_lengths={1: 1.0}).batch(0)
        loss, parts = joint.losses(batch, 0)
        assert set(parts) == {"gen"}
        assert loss.isfinite()

    def test_a_rectified_flow_trains_on_velocities(
        self, joint: JointTraining, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(joint.model, "schedule", RectifiedFlow())
        targets, real = [], joint_module.generation_loss

        def spy(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            targets.append(target)
            return real(prediction, target)

        monkeypatch.setattr(joint_module, "generation_loss", spy)
        batch = batches(world).batch(0)
        loss, parts = joint.losses(batch, 0)
        assert loss.isfinite()
        assert set(parts) == {"gen", "rec", "distance", "confidence"}
        clean = joint.model.autoencoder.encode(batch["video"])
        noises = [
            torch.randn(2, *clean.shape[1:], generator=each)[0]
            for each in clip_generators(0, batch)
        ]
        torch.testing.assert_close(targets[0], clean - torch.stack(noises))

    def test_generation_only(self, joint: JointTraining, world: World) -> None:
        joint.rec_weight = 0.0
        batch = batches(world).batch(0)
        loss, parts = joint.losses(batch, 0)
        assert set(parts) == {"gen"}
        torch.testing.assert_close(loss.detach(), parts["gen"])
        # The same clips without geometry give the same, whatever the weight.
        joint.rec_weight = 1.0
        for name in ("depth", "K", "world_from_camera"):
            del batch[name]
        again, parts = joint.losses(batch, 0)
        assert set(parts) == {"gen"}
        torch.testing.assert_close(again, loss)

    def test_reconstruction_only(self, joint: JointTraining, world: World) -> None:
        joint.gen_weight = 0.0
        batch = batches(world).batch(0)
        loss, parts = joint.losses(batch, 0)
        assert set(parts) == {"rec", "distance", "confidence"}
        torch.testing.assert_close(loss.detach(), parts["rec"])
        joint.gen_weight = 1.0
        torch.testing.assert_close(joint.losses(batch, 0)[1]["rec"], parts["rec"])

    def test_weights_of_the_halves(self, joint: JointTraining, world: World) -> None:
        joint.gen_weight, joint.rec_weight = 0.5, 3.0
        loss, parts = joint.losses(batches(world).batch(0), 0)
        torch.testing.assert_close(loss.detach(), 0.5 * parts["gen"] + 3.0 * parts["rec"])

    def test_nothing_to_reconstruct(self, joint: JointTraining, world: World) -> None:
        joint.gen_weight = 0.0
        batch = batches(world, clip_lengths={1: 1.0}).batch(0)
        with pytest.raises(InputError, match="expected clips of 2 frames or more with depth"):
            joint.losses(batch, 0)

    def test_the_loss_of_a_batch_is_that_of_its_parts(
        self, joint: JointTraining, world: World
    ) -> None:
        """What is random belongs to the clip, so a batch is the mean of its clips' losses."""
        batch = batches(world, frames_per_batch=16).batch(0)
        whole = joint.losses(batch, 7)[1]["gen"]
        alone = [
            joint.losses({name: part[i : i + 1] for name, part in batch.items()}, 7)[1]["gen"]
            for i in range(4)
        ]
        torch.testing.assert_close(torch.stack(alone).mean(), whole)
        assert not torch.isclose(joint.losses(batch, 8)[1]["gen"], whole)
        assert not torch.isclose(joint.losses(batch, 7 + (1 << 32))[1]["gen"], whole)

    @pytest.mark.parametrize(
        "weights",
        [(0.0, 0.0), (-1.0, 1.0), (1.0, -1.0), (float("nan"), 1.0)],
    )
    def test_weights_that_train_nothing(
        self, tiny_model: Any, weights: tuple[float, float]
    ) -> None:
        with pytest.raises(InputError, match="gen_weight, rec_weight: expected two numbers"):
            JointTraining(
                tiny_model.config, start=None, gen_weight=weights[0], rec_weight=weights[1]
            )

    def test_a_negative_seed(self, tiny_model: Any) -> None:
        with pytest.raises(InputError, match="seed: expected 0 or more, got -1"):
            JointTraining(tiny_model.config, start=None, seed=-1)

    def test_a_batch_without_numbers(self, joint: JointTraining, world: World) -> None:
        batch = batches(world).batch(0)
        del batch["number"]
        with pytest.raises(InputError, match="expected number, the place of each clip"):
            joint.losses(batch, 0)

    def test_reconstruction_needs_a_head(self, tiny_model: Any) -> None:
        network = dataclasses.replace(tiny_model.config.network, tap=None)
        config = dataclasses.replace(tiny_model.config, network=network)
        with pytest.raises(InputError, match="expected a backbone with a pointmap head"):
            JointTraining(config, start=None)
        JointTraining(config, start=None, rec_weight=0.0)

    def test_partners_do_not_repeat(self, generator: torch.Generator) -> None:
        partners = [sample_partners(6, 4, generator).tolist() for _ in range(50)]
        assert all(len(row) == len(set(row)) == 4 for row in partners)
        assert {partner for row in partners for partner in row} == {1, 2, 3, 4, 5}
        assert sample_partners(3, 4, generator).shape == (2,)

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"timestep_power": -1.0}, "timestep_power: expected a number above 0, got -1"),
            ({"max_depth": 0.0}, "max_depth: expected a number above 0, got 0"),
            ({"prompt_dropout": 1.5}, "prompt_dropout: expected a share from 0 to 1, got 1.5"),
            ({"pairs_per_clip": 0}, "pairs_per_clip: expected 1 or more, got 0"),
        ],
    )
    def test_settings_that_teach_nothing(
        self, tiny_model: Any, tmp_path: Path, wrong: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            JointTraining(tiny_model.config, start=str(tmp_path), **wrong)

    def test_nothing_to_start_from(self, tiny_model: Any, tmp_path: Path) -> None:
        with pytest.raises(FileError, match="run the autoencoder stage first"):
            JointTraining(tiny_model.config, start=str(tmp_path))


class TestStream:
    def test_ranks_share_one_stream(self, world: World) -> None:
        alone = iter(batches(world))
        first, second = (iter(batches(world, rank=r, world_size=2)) for r in (0, 1))
        for stream in (first, second, first, second):
            assert torch.equal(next(alone)["video"], next(stream)["video"])

    def test_another_stream_than_the_checkpoints(self) -> None:
        kept = data().state_dict()
        again = data()
        again.load_state_dict({**kept, "batches_done": 3})
        assert again.batches_done == 3
        other = WorldDataModule(**{**STREAM, "seed": 4, "frames_per_batch": 8})
        with pytest.raises(InputError, match=r"data: expected the stream of the checkpoint, \{'s"):
            other.load_state_dict(kept)

    def test_resuming_goes_on(self, world: World) -> None:
        stream = iter(batches(world))
        skipped = [next(stream) for _ in range(2)][1]
        again = next(iter(batches(world, first=1)))
        assert torch.equal(skipped["depth"], again["depth"])
        assert skipped["caption"] == again["caption"]

    def test_streams_differ(self, world: World) -> None:
        one, other = batches(world).batch(0), batches(world, seed=4).batch(0)
        assert not torch.equal(one["video"], other["video"])

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"clip_lengths": {3: 1.0}}, "lengths that divide frames_per_batch = 8"),
            ({"clip_lengths": {4: -1.0}}, "shares >= 0"),
            ({"clip_lengths": {}}, "clip_lengths"),
            ({"seed": 256}, "held-out"),
            ({"frames_per_batch": 0}, "frames_per_batch"),
        ],
    )
    def test_bad_values(self, changed: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            WorldDataModule(**{"frames_per_batch": 8, "clip_lengths": {4: 1.0}, **changed})


STREAM: dict[str, Any] = {
    "size": 16,
    "samples": 1,
    "shadows": False,
    "frames_per_batch": 4,
    "clip_lengths": {2: 1.0},
    "validation_clips": 2,
    "validation_frames": 2,
    "workers": 0,
}


def data() -> WorldDataModule:
    return WorldDataModule(**STREAM)


def trainer(steps: int, folder: Path, *callbacks: pl.Callback) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        enable_checkpointing=any(isinstance(each, ModelCheckpoint) for each in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        default_root_dir=folder,
        limit_val_batches=0,
    )


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.parametrize("averages", [[], [EMAWeightAveraging]], ids=["plain", "averaged"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    joint: JointTraining, tmp_path: Path, averages: list[Any]
) -> None:
    def run(stage: JointTraining, name: str, steps: int, start: Path | None = None) -> None:
        checkpoints = ModelCheckpoint(
            tmp_path / name, filename="{step}", every_n_train_steps=2, save_top_k=-1
        )
        callbacks = [*(kind(decay=0.5) for kind in averages), checkpoints]
        trainer(steps, tmp_path, *callbacks).fit(stage, data(), ckpt_path=start)

    interrupted, resumed = copy.deepcopy(joint), copy.deepcopy(joint)
    run(joint, "whole", 4)
    run(interrupted, "first", 3)
    run(resumed, "second", 4, start=tmp_path / "first" / "step=2.ckpt")

    for name, tensor in joint.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, rtol=0, atol=0, msg=name)
    assert not torch.equal(
        joint.model.stitched.tap_norm.weight, interrupted.model.stitched.tap_norm.weight
    )


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_the_autoencoder_stage_publishes_what_the_joint_stage_takes(
    tiny_model: Any, tmp_path: Path
) -> None:
    stage = AutoencoderTraining(tiny_model.config.autoencoder, learning_rate=1e-3)
    before = copy.deepcopy(stage.model.state_dict())
    source = data()
    trainer(2, tmp_path, PublishWeights(str(tmp_path / "published"))).fit(stage, source)
    assert any(not torch.equal(before[n], t) for n, t in stage.model.state_dict().items())
    # Published latents have unit variance, channel by channel.
    video = torch.cat([batch["video"] for batch in source.val_dataloader()])
    spread = stage.model.encode(video).std(dim=(0, 2, 3, 4))
    torch.testing.assert_close(spread, torch.ones(3), atol=1e-3, rtol=1e-3)
    taken = JointTraining(tiny_model.config, start=str(tmp_path / "published"))
    again = AutoencoderTraining(tiny_model.config.autoencoder, start=str(tmp_path / "published"))
    for name, tensor in stage.model.state_dict().items():
        assert torch.equal(taken.model.autoencoder.state_dict()[name], tensor)
        assert torch.equal(again.model.state_dict()[name], tensor)


class TestRecipe:
    def test_every_key_has_a_comment(self) -> None:
        assert not [
            line
            for line in RECIPE.read_text().splitlines()
            if re.search(r":\s+[^\s#]", line) and "#" not in line and "class_path" not in line
        ]

    def test_it_prints_every_stage(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["--config", str(RECIPE), "--print-config", "--trainer.max_steps", "7"])
        printed = capsys.readouterr().out
        assert [line for line in printed.splitlines() if line.startswith("# stage")] == [
            "# stage autoencoder",
            "# stage joint",
            "# stage more_scenes",
        ]
        assert printed.count("max_steps: 7") == 3

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--stage", "third"], "--stage: expected one of"),
            (["--stage", "joint", "--model.init_args.rec_factor", "2"], "rec_factor"),
            (["--stage", "joint", "--trainer.max_steps", "many"], "max_steps"),
        ],
    )
    def test_wrong_words(self, arguments: list[str], message: str) -> None:
        with pytest.raises(InputError, match=message) as caught:
            main(["--config", str(RECIPE), *arguments])
        assert len(str(caught.value)) < 250

    @pytest.mark.parametrize(
        ("place", "names"),
        [
            (("trainer",), "trainer.colour"),
            (("model", "init_args"), "JointTraining.*colour"),
            (("model", "init_args", "model", "network"), "network.*colour"),
            (("data", "init_args"), "WorldDataModule.*colour"),
        ],
    )
    def test_a_key_that_no_class_has(
        self, tmp_path: Path, place: tuple[str, ...], names: str
    ) -> None:
        recipe = yaml.safe_load(RECIPE.read_text())
        part = recipe["stages"]["joint"]
        for key in place:
            part = part[key]
        part["colour"] = 3
        file = tmp_path / "recipe.yaml"
        file.write_text(yaml.safe_dump(recipe))
        with pytest.raises(InputError, match=names) as caught:
            main(["--config", str(file), "--stage", "joint"])
        assert len(str(caught.value)) < 250

    # LightningCLI itself uses a part of jsonargparse that is to go.
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_no_folder_to_start_from(self, tmp_path: Path) -> None:
        words = ["--stage", "joint", "--model.init_args.start", str(tmp_path / "nothing")]
        with pytest.raises(FileError, match=r"start: expected autoencoder\.safetensors or a mo"):
            main(["--config", str(RECIPE), *words])

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_stream_of_held_out_clips(self) -> None:
        words = ["--stage", "autoencoder", "--data.init_args.seed", "256"]
        with pytest.raises(InputError, match=r"^seed: expected 0 to 255, got 256"):
            main(["--config", str(RECIPE), *words])

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_no_checkpoint_to_go_on_from(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        words = ["--stage", "autoencoder", "--ckpt_path", "missing.ckpt"]
        with pytest.raises(FileError, match=r"^--ckpt_path: expected a checkpoint, got missing"):
            main(["--config", str(RECIPE), *words])
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        "content",
        [
            "",
            "[1, 2",
            "stages: 3",
            "trainer: {}",
            "stages: &a\n  x: *a",
            "stages: {x: &b [*b]}",
            "stages: {x/y: {}}",
            "stages: {x y: {}}",
            "stages: {x: 3}",
            "stages: " + 5000 * "[",
        ],
    )
    def test_not_a_recipe(self, tmp_path: Path, content: str) -> None:
        file = tmp_path / "recipe.yaml"
        file.write_text(content)
        with pytest.raises(FileError, match=r"recipe\.yaml: expected"):
            main(["--config", str(file)])

    def test_the_recipe_makes_a_model_of_the_promised_size(self) -> None:
        from jog3r.codecs.text import word_tokenizer
        from jog3r.config import from_plain
        from jog3r.data.world.captions import vocabulary
        from jog3r.model import JOG3R

        stages = yaml.safe_load(RECIPE.read_text())["stages"]
        config = from_plain(JOG3R.Config, stages["joint"]["model"]["init_args"]["model"])
        model = JOG3R(config, word_tokenizer(vocabulary()))
        assert 9.5e6 < sum(p.numel() for p in model.parameters()) < 15.5e6
        assert len(weights_bytes(model, torch.float16)) < 32e6

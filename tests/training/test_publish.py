"""Checkpoints become model folders, and nothing else does."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint

from jog3r.cli.entry import main
from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.config import to_plain
from jog3r.errors import FileError, InputError
from jog3r.heads.dust3r import DUSt3R
from jog3r.model import JOG3R
from jog3r.training.autoencoder import AutoencoderTraining
from jog3r.training.callbacks import PublishWeights
from jog3r.training.joint import JointTraining
from jog3r.training.latent_spread import LatentSpread
from jog3r.training.lora import LoRA
from jog3r.training.pairs import PairTraining
from jog3r.training.publish import publish
from jog3r.training.sharded_metadata import check_metadata
from jog3r.training.start import AUTOENCODER_FILE, load_start
from jog3r.training.trained_parts import TrainedParts
from jog3r.training.world_data import WorldDataModule
from jog3r.weights_file import read_weights

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


def fit(stage: pl.LightningModule, folder: Path, *used: pl.Callback, steps: int = 2) -> Path:
    """Train for some steps, and return the last checkpoint."""
    data = WorldDataModule(
        size=16,
        samples=1,
        shadows=False,
        workers=0,
        frames_per_batch=4,
        clip_lengths={2: 1.0},
        validation_clips=2,
        validation_frames=2,
    )
    saves = ModelCheckpoint(folder / "kept", filename="last", every_n_train_steps=steps)
    pl.Trainer(
        accelerator="cpu",
        max_steps=steps,
        val_check_interval=1,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[saves, *used],
    ).fit(stage, data)
    return folder / "kept" / "last.ckpt"


@pytest.fixture(scope="module")
def run(tiny_model: JOG3R, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Train two steps with an average of the weights; `stage` holds the average at the end."""
    folder = tmp_path_factory.mktemp("run")
    tiny_model.save_pretrained(folder / "start", dtype=torch.float32)
    stage = JointTraining(tiny_model.config, str(folder / "start"), warmup_steps=0)
    published = PublishWeights(str(folder / "by_callback"), dtype="float32")
    checkpoint = fit(stage, folder, EMAWeightAveraging(decay=0.5), published)
    return SimpleNamespace(folder=folder, stage=stage, checkpoint=checkpoint)


def same(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), two.state_dict()
    assert list(ours) == list(theirs)
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_average_is_published(run: SimpleNamespace, tmp_path: Path) -> None:
    done = publish(run.checkpoint, tmp_path / "model", dtype=torch.float32)
    assert (done.kind, done.weights, done.steps) == ("model", "averaged", 2)
    loaded = JOG3R.from_pretrained(tmp_path / "model")
    assert json.dumps(to_plain(loaded.config)) == json.dumps(to_plain(run.stage.model.config))
    assert same(loaded, run.stage.model)
    assert same(loaded, JOG3R.from_pretrained(run.folder / "by_callback"))
    card = (tmp_path / "model" / "README.md").read_text()
    assert "The averaged weights after 2 steps, from the checkpoint `last.ckpt`." in card
    shot = loaded.generate("a gallery", num_frames=2, num_inference_steps=2, progress=False)
    assert len(shot.video) == 2


def test_the_current_weights_are_others(run: SimpleNamespace, tmp_path: Path) -> None:
    publish(run.checkpoint, tmp_path / "model", dtype=torch.float32, weights="current")
    loaded = JOG3R.from_pretrained(tmp_path / "model").state_dict()
    state = torch.load(run.checkpoint, weights_only=True)["current_model_state"]
    for name, value in loaded.items():
        assert torch.equal(value, state[f"model.{name}"]), name
    assert not same(JOG3R.from_pretrained(tmp_path / "model"), run.stage.model)


def test_half_precision(run: SimpleNamespace, tmp_path: Path) -> None:
    publish(run.checkpoint, tmp_path / "model")
    loaded = JOG3R.from_pretrained(tmp_path / "model").state_dict()
    for name, value in run.stage.model.state_dict().items():
        assert torch.equal(loaded[name], value.half().float()), name


def test_adapters_are_folded_in(run: SimpleNamespace, tmp_path: Path) -> None:
    lora = LoRA(rank=2, alpha=4.0, targets="attention_and_feed_forward")
    start = str(run.folder / "start")
    stage = JointTraining(
        run.stage.model.config, start, lora=lora, warmup_steps=0, gradient_checkpointing=True
    )
    average = EMAWeightAveraging(decay=0.5)
    at_end = PublishWeights(str(tmp_path / "by_callback"), dtype="float32")
    checkpoint = fit(stage, tmp_path, average, at_end)
    publish(checkpoint, tmp_path / "model", dtype=torch.float32)
    loaded = JOG3R.from_pretrained(tmp_path / "model")
    assert same(loaded, lora.merge(stage.model))
    assert same(loaded, JOG3R.from_pretrained(tmp_path / "by_callback"))
    moved = {
        name
        for name, value in JOG3R.from_pretrained(start).state_dict().items()
        if not torch.equal(value, loaded.state_dict()[name])
    }
    backbone = {name for name in moved if name.startswith("network.backbone.")}
    assert backbone
    assert all(".attn" in n or ".cross_attn" in n or ".mlp." in n for n in backbone)
    # One training goes on where another one stopped, adapters included.
    again = JointTraining(run.stage.model.config, start, lora=lora)
    again.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"])


def test_adapters_take_the_place_of_the_backbone(run: SimpleNamespace) -> None:
    for trained in (TrainedParts(), TrainedParts(backbone="none", frozen_blocks=1)):
        with pytest.raises(InputError, match=r"trained.frozen_blocks: expected none and 0 beside"):
            JointTraining(run.stage.model.config, None, lora=LoRA(), trained=trained)
    frozen = TrainedParts(backbone="none", text_encoder=False)
    stage = JointTraining(run.stage.model.config, None, lora=LoRA(), trained=frozen)
    for name, parameter in stage.model.named_parameters():
        head = name.startswith("network.") and ".backbone." not in name
        assert parameter.requires_grad == (head or "lora_" in name), name


def test_an_autoencoder_gets_unit_variance(tmp_path: Path) -> None:
    config = FrameAutoencoder.Config(block_out_channels=(8, 8), latent_channels=3)
    stage = AutoencoderTraining(config)
    checkpoint = fit(stage, tmp_path, PublishWeights(str(tmp_path / "by_callback")), steps=3)
    done = publish(checkpoint, tmp_path / "published", dtype=torch.float32)
    assert (done.kind, done.weights) == ("autoencoder", "current")
    found, other = config.build(), config.build()
    read_weights(found, tmp_path / "published" / AUTOENCODER_FILE)
    read_weights(other, tmp_path / "by_callback" / AUTOENCODER_FILE)
    # The checkpoint knows of the validation after step 2, the callback of that after step 3.
    torch.testing.assert_close(found.scale, other.scale, rtol=0.05, atol=0.0)
    assert found.vae.state_dict().keys() == other.vae.state_dict().keys()
    model = JOG3R(JOG3R.Config(autoencoder=config, text_encoder=None, network=None, schedule=None))
    load_start(model, str(tmp_path / "published"))
    assert torch.equal(model.autoencoder.scale, found.scale)


def test_an_autoencoder_that_was_never_validated_is_refused(tmp_path: Path) -> None:
    config = FrameAutoencoder.Config(block_out_channels=(8, 8), latent_channels=3)
    checkpoint = fit(AutoencoderTraining(config), tmp_path, steps=1)
    with pytest.raises(FileError, match="before the first validation"):
        publish(checkpoint, tmp_path / "published")
    assert not (tmp_path / "published").exists()


def test_the_spread_of_latents_is_that_of_all_batches() -> None:
    latents = torch.randn(6, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    latents = latents * torch.tensor([1.0, 5.0, 0.1]).reshape(3, 1, 1, 1) + 2.0
    metric = LatentSpread(3)
    for part in latents.split(4):
        metric.update(part)
    torch.testing.assert_close(metric.compute(), latents.std(dim=(0, 2, 3, 4)))


def test_a_network_of_pairs(tmp_path: Path) -> None:
    network = DUSt3R.Config(
        encoder_width=32,
        encoder_depth=1,
        encoder_heads=2,
        decoder_width=32,
        decoder_depth=2,
        decoder_heads=2,
        patch=8,
        head="linear",
    )
    config = JOG3R.Config(
        image_size=(16, 16), autoencoder=None, text_encoder=None, network=network, schedule=None
    )
    stage = PairTraining(config)
    checkpoint = fit(stage, tmp_path)
    publish(checkpoint, tmp_path / "model", dtype=torch.float32)
    assert same(JOG3R.from_pretrained(tmp_path / "model"), stage.model)


def test_a_weight_of_two_names_stays_one(run: SimpleNamespace) -> None:
    # Else its average moves twice a step.
    t5 = run.stage.model.text_encoder.t5
    assert t5.shared.weight is t5.encoder.embed_tokens.weight


class TestRefused:
    def test_a_folder_in_use(self, run: SimpleNamespace, tmp_path: Path) -> None:
        publish(run.checkpoint, tmp_path / "model")
        with pytest.raises(InputError, match="got a model there; say that it may be replaced"):
            publish(run.checkpoint, tmp_path / "model")
        publish(run.checkpoint, tmp_path / "model", weights="current", overwrite=True)
        assert "The current weights" in (tmp_path / "model" / "README.md").read_text()
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.tex").touch()
        with pytest.raises(InputError, match="got something else there; choose another"):
            publish(run.checkpoint, tmp_path / "mine", overwrite=True)

    def test_an_average_that_is_not_there(self, run: SimpleNamespace, tmp_path: Path) -> None:
        content = torch.load(run.checkpoint, weights_only=True)
        del content["current_model_state"]
        torch.save(content, tmp_path / "plain.ckpt")
        with pytest.raises(InputError, match="weights: expected current, as the run kept no"):
            publish(tmp_path / "plain.ckpt", tmp_path / "model", weights="averaged")
        assert publish(tmp_path / "plain.ckpt", tmp_path / "model").weights == "current"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"state_dict": {}, "global_step": 1}, "got one of another program or version"),
            ({"weights": torch.ones(2)}, "expected a checkpoint of jog3r train, got something"),
            ([1, 2], "expected a checkpoint of jog3r train, got something else"),
        ],
    )
    def test_foreign_checkpoints(self, content: Any, message: str, tmp_path: Path) -> None:
        torch.save(content, tmp_path / "x.ckpt")
        with pytest.raises(FileError, match=message):
            publish(tmp_path / "x.ckpt", tmp_path / "model")
        assert [item.name for item in tmp_path.iterdir()] == ["x.ckpt"]

    @pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
    def test_damaged_files(self, damage: str, run: SimpleNamespace, tmp_path: Path) -> None:
        content = bytearray(run.checkpoint.read_bytes())
        content[len(content) // 2] ^= 0xFF
        made = {"truncated": content[: len(content) // 3], "flipped": content}
        made |= {"empty": b"", "text": b"<html>not found</html>"}
        (tmp_path / "x.ckpt").write_bytes(made[damage])
        with pytest.raises(FileError, match=r"x.ckpt: expected a checkpoint, got"):
            publish(tmp_path / "x.ckpt", tmp_path / "model")
        assert not (tmp_path / "model").exists()

    def test_code(self, tmp_path: Path) -> None:
        class Bad:
            def __reduce__(self) -> Any:
                return (Path.touch, (tmp_path / "ran",))

        torch.save({"state_dict": {}, "global_step": 0, "jog3r": Bad()}, tmp_path / "x.ckpt")
        with pytest.raises(FileError, match="holds code"):
            publish(tmp_path / "x.ckpt", tmp_path / "model")
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda c: c["state_dict"].popitem(), "tensors of this model"),
            (lambda c: next(iter(c["state_dict"].values())).fill_(torch.nan), "finite numbers"),
            (lambda c: c["jog3r"].pop("lora"), "the version of jog3r that trained it"),
            (lambda c: c["jog3r"]["config"].update(colour=1), "the version of jog3r that trained"),
        ],
    )
    def test_contents_that_do_not_fit(
        self, change: Callable[[Any], Any], message: str, run: SimpleNamespace, tmp_path: Path
    ) -> None:
        content = torch.load(run.checkpoint, weights_only=True)
        change(content)
        torch.save(content, tmp_path / "x.ckpt")
        with pytest.raises(FileError, match=message):
            publish(tmp_path / "x.ckpt", tmp_path / "model")
        assert not (tmp_path / "model").exists()

    def test_folders_and_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(FileError, match="got nothing there"):
            publish(tmp_path / "missing.ckpt", tmp_path / "model")
        with pytest.raises(FileError, match="got a folder of other things"):
            publish(tmp_path, tmp_path / "model")

    def test_a_list_of_tensors_with_code_in_it(self, tmp_path: Path) -> None:
        class Bad:
            def __reduce__(self) -> Any:
                return (Path.touch, (tmp_path / "ran",))

        (tmp_path / ".metadata").write_bytes(pickle.dumps(Bad()))
        with pytest.raises(FileError, match=r"holds code \(pathlib.Path.touch|getattr"):
            check_metadata(tmp_path)
        assert not (tmp_path / "ran").exists()
        (tmp_path / ".metadata").write_bytes(b"nothing")
        with pytest.raises(FileError, match="got a damaged one"):
            check_metadata(tmp_path)


def test_the_command(
    run: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(run.checkpoint), str(tmp_path / "model"), "--dtype", "float32"]
    assert main(["publish", *words, "--weights", "current"]) == 0
    assert "current, float32" in capsys.readouterr().out
    assert json.loads((tmp_path / "model" / "config.json").read_text())["image_size"] == [16, 16]
    assert main(["publish", *words]) == 2
    assert "got a model there" in capsys.readouterr().err

"""The paper's recipe: at full size on the meta device, and one real step at full width."""

import copy
import json
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import yaml

from jog3r.config import from_plain, to_plain
from jog3r.data.precomputed import PrecomputedClip
from jog3r.data.shard_writing import write_shards
from jog3r.errors import InputError
from jog3r.model import JOG3R
from jog3r.stitch import StitchedModel
from jog3r.training.joint import JointTraining
from jog3r.training.parts_table import recipe_table, stage_module, stage_table
from jog3r.training.prepared_data import PreparedDataModule
from jog3r.training.recipes import read_stages
from jog3r.training.trained_parts import TrainedParts

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
RECIPE = RECIPES / "jog3r_opensora10.yaml"


@pytest.fixture(scope="module")
def stage() -> dict[str, Any]:
    return read_stages(RECIPE)["joint"]


@pytest.fixture(scope="module")
def model(stage: dict[str, Any]) -> JOG3R:
    built = stage_module(stage)
    assert isinstance(built, JOG3R)
    return built


class TestAtFullSize:
    def test_sizes_are_the_papers(self, model: JOG3R) -> None:
        network, backbone = model.stitched, model.stitched.backbone
        assert all(parameter.is_meta for parameter in model.parameters())
        assert sum(p.numel() for p in backbone.parameters()) == 759_620_768
        assert (network.tap, backbone.config.depth, backbone.config.hidden_size) == (26, 28, 1152)
        decoder = network.get_submodule("decoder")
        assert decoder.get_parameter("decoder_embed.weight").shape == (768, 1152)
        assert len(decoder.get_submodule("dec_blocks")) == 6  # type: ignore[arg-type]
        assert network.get_parameter("head_1.proj.weight").shape == (4 * 16 * 16, 768)
        assert model.token_grid == (32, 32)

    def test_what_trains_is_what_the_paper_trains(self, model: JOG3R) -> None:
        for name, parameter in model.named_parameters():
            part, _, inside = name.partition(".")
            in_backbone = inside.startswith("backbone.")
            expected = part == "network" and not in_backbone
            if in_backbone and inside.startswith("backbone.blocks."):
                expected = ".attn_temp." in inside and int(inside.split(".")[2]) >= 4
            assert parameter.requires_grad == expected, name
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        temporal = 24 * (1152 * 4 * 1152 + 4 * 1152)
        head = sum(
            p.numel()
            for name, p in model.stitched.named_parameters()
            if not name.startswith("backbone.")
        )
        assert trained == temporal + head

    def test_the_table_names_every_parameter_once(self, stage: dict[str, Any]) -> None:
        table = stage_table(stage).splitlines()
        sizes = [int(line.split()[2].replace(",", "")) for line in table[1:-1]]
        model = stage_module(stage)
        assert sum(sizes) == sum(p.numel() for p in model.parameters())
        states = {line.split()[0]: line.split()[-1] for line in table[1:-1]}
        assert states["network.backbone.blocks.{4-27}.attn_temp.qkv"] == "trained"
        assert states["network.backbone.blocks.{0-3}.attn_temp.qkv"] == "frozen"
        assert states["network.backbone.blocks.{0-27}.attn.qkv"] == "frozen"
        assert states["network.decoder.decoder_embed"] == "trained"
        assert states["autoencoder"] == "frozen"
        assert table[-1].startswith("trained 243.4 M of 959.2 M")

    def test_every_recipe_has_a_table(self) -> None:
        assert len(list(RECIPES.glob("*.yaml"))) >= 2
        for recipe in RECIPES.glob("*.yaml"):
            assert "trained" in recipe_table(recipe)

    def test_a_class_that_is_not_known(self) -> None:
        with pytest.raises(InputError, match=r"model\.class_path: expected .* got some\.Thing"):
            stage_table({"model": {"class_path": "some.Thing"}})


def at_full_width(stage: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe's model with three blocks and small frames, all widths as they are."""
    config = copy.deepcopy(stage["model"]["init_args"]["model"])
    config |= {"image_size": [32, 48], "num_frames": 3, "autoencoder": None}
    config["network"] |= {"tap": 2, "decoder_depth": 1}
    config["network"]["backbone_config"] |= {"depth": 3, "input_size": [3, 4, 6]}
    return config


def made_clip(number: int, generator: torch.Generator) -> PrecomputedClip:
    K = torch.tensor([[40.0, 0.0, 24.0], [0.0, 40.0, 16.0], [0.0, 0.0, 1.0]])
    poses = torch.eye(4).repeat(5, 1, 1)
    poses[:, 2, 3] = torch.arange(5) * 0.1
    return PrecomputedClip(
        id=str(number),
        latents=torch.randn(4, 5, 4, 6, generator=generator),
        text=torch.randn(120, 4096, generator=generator),
        text_mask=torch.arange(120) < 10 + number,
        depth=1.0 + torch.rand(5, 32, 48, generator=generator),
        K=K.expand(5, -1, -1),
        world_from_camera=poses,
        caption=f"clip {number}",
    )


def test_one_step_at_full_width(
    stage: dict[str, Any], tmp_path: Path, generator: torch.Generator
) -> None:
    """Train from a checkpoint without a head, on precomputed clips, as the recipe does."""
    config = at_full_width(stage)
    headless = {**config, "network": {**config["network"], "tap": None}}
    torch.manual_seed(0)
    start = JOG3R(from_plain(JOG3R.Config, headless))
    start.save_pretrained(tmp_path / "start", dtype=torch.float32)
    clips = [made_clip(number, generator) for number in range(2)]
    write_shards(tmp_path / "clips", clips, size=(32, 48), encoder="none")
    given = stage["model"]["init_args"] | {"model": from_plain(JOG3R.Config, config)}
    given |= {"start": str(tmp_path / "start"), "warmup_steps": 1}
    given["trained"] = TrainedParts(**{**given["trained"], "frozen_blocks": 1})
    training = JointTraining(**given)
    before = {name: p.detach().clone() for name, p in training.model.named_parameters()}
    for name, parameter in start.named_parameters():
        assert torch.equal(before[name], parameter), name
    data = PreparedDataModule(
        folder=str(tmp_path / "clips"),
        validation_folder=str(tmp_path / "clips"),
        frames=3,
        batch_size=2,
        strides=(1, 2),
        workers=0,
    )
    trainer = pl.Trainer(
        max_steps=1,
        accelerator="cpu",
        precision="bf16-mixed",
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(training, data)
    assert trainer.global_step == 1
    assert torch.isfinite(trainer.callback_metrics["train/loss"])
    assert trainer.callback_metrics["train/rec"] > 0
    for name, parameter in training.model.named_parameters():
        in_backbone = name.startswith("network.backbone.")
        temporal = ".attn_temp." in name and ".blocks.0." not in name
        changed = not torch.equal(parameter, before[name])
        # A weight that gets no gradient yet, such as that of a layer behind a zero, may stay.
        assert changed <= (temporal or not in_backbone), name
        if "decoder_embed" in name or "head_1.proj" in name or "blocks.1.attn_temp.proj" in name:
            assert changed, name


def test_accumulated_batches_draw_their_own_noise(
    stage: dict[str, Any], tmp_path: Path, generator: torch.Generator
) -> None:
    clips = [made_clip(number, generator) for number in range(2)]
    write_shards(tmp_path, clips, size=(32, 48), encoder="none")
    small = {"hidden_size": 32, "num_heads": 2, "depth": 2, "input_size": [3, 4, 6]}
    config = at_full_width(stage)
    config["network"] |= {"tap": 1, "decoder_width": 32, "decoder_heads": 2}
    config["network"]["backbone_config"] |= small
    given = stage["model"]["init_args"] | {"model": from_plain(JOG3R.Config, config)}
    given |= {"start": None, "trained": TrainedParts(text_encoder=False)}
    training = JointTraining(**given)
    drawn: list[torch.Tensor] = []
    times = training._times

    def spy(draws: Any, batch: dict[str, Any]) -> torch.Tensor:
        drawn.append(draws.noise)
        return times(draws, batch)

    training._times = spy  # type: ignore[method-assign]
    data = PreparedDataModule(
        folder=str(tmp_path), validation_folder=str(tmp_path), frames=3, strides=(1,), workers=0
    )
    trainer = pl.Trainer(
        max_steps=2,
        accumulate_grad_batches=2,
        limit_val_batches=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(training, data)
    assert len(drawn) == 4
    assert len({float(noise.sum()) for noise in drawn}) == 4


class TestTrainedParts:
    @pytest.fixture
    def model(self, tiny_model: JOG3R) -> JOG3R:
        return copy.deepcopy(tiny_model)

    def trained(self, model: JOG3R, **values: Any) -> set[str]:
        parameters = TrainedParts(**values).apply(model)
        names = {name for name, p in model.named_parameters() if p.requires_grad}
        assert len(parameters) == len(names)
        return names

    def test_by_default_all_but_the_autoencoder(self, model: JOG3R) -> None:
        names = {name for name, _ in model.named_parameters()}
        expected = {name for name in names if not name.startswith("autoencoder.")}
        assert self.trained(model) == expected

    def test_the_head_alone(self, model: JOG3R) -> None:
        names = self.trained(model, backbone="none", text_encoder=False)
        parts = {".".join(name.split(".")[:2]) for name in names}
        assert parts == {f"network.{part}" for part in ("tap_norm", "decoder", "head_1", "head_2")}

    def test_frozen_blocks(self, model: JOG3R) -> None:
        names = self.trained(model, frozen_blocks=2)
        blocks = {
            name.split(".")[3] for name in names if name.startswith("network.backbone.blocks")
        }
        assert blocks == {"2"}
        assert "network.backbone.x_embedder.proj.weight" in names

    @pytest.mark.parametrize("backbone", ["stdit2", "stdit3"])
    def test_temporal_attention_of_other_backbones(self, backbone: str) -> None:
        small = {"hidden_size": 48, "depth": 3, "num_heads": 3, "caption_channels": 8}
        network = StitchedModel.Config(backbone=backbone, backbone_config=small, tap=None)
        model = JOG3R(JOG3R.Config(autoencoder=None, text_encoder=None, network=network))
        names = self.trained(model, backbone="temporal_attention", frozen_blocks=1)
        place = "blocks.{}.attn_temp" if backbone == "stdit2" else "temporal_blocks.{}.attn"
        prefixes = {f"network.backbone.{place.format(i)}." for i in (1, 2)}
        assert names
        assert all(any(name.startswith(prefix) for prefix in prefixes) for name in names)
        everything = {name for name, _ in model.named_parameters()}
        assert {n for n in everything if any(n.startswith(p) for p in prefixes)} == names

    @pytest.mark.parametrize("blocks", [-1, 4])
    def test_blocks_that_there_are_not(self, model: JOG3R, blocks: int) -> None:
        with pytest.raises(InputError, match="frozen_blocks: expected"):
            self.trained(model, frozen_blocks=blocks)


def test_the_recipes_config_survives_json(stage: dict[str, Any]) -> None:
    plain = stage["model"]["init_args"]["model"]
    config = from_plain(JOG3R.Config, plain)
    assert from_plain(JOG3R.Config, json.loads(json.dumps(to_plain(config)))) == from_plain(
        JOG3R.Config, yaml.safe_load(yaml.safe_dump(plain))
    )

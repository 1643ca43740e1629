"""All recipes: commented keys with true defaults, full size on meta, real steps at tiny width."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.codecs.temporal_autoencoder import TemporalAutoencoder
from jog3r.codecs.video_autoencoder import VideoAutoencoder
from jog3r.data.precomputed import PrecomputedClip
from jog3r.data.shard_writing import write_shards
from jog3r.data.world import HELD_OUT
from jog3r.errors import FileError, InputError, Jog3rError
from jog3r.model import JOG3R
from jog3r.training.cli import main
from jog3r.training.parts_table import stage_module
from jog3r.training.recipes import merged, read_stages
from tests.training.recipe_keys import Key, keys_of

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
NAMES = sorted(file.stem for file in RECIPES.glob("*.yaml"))
SMALL_STEPS = {"accelerator": "cpu", "devices": 1, "max_steps": 2, "val_check_interval": 2}
SMALL_STEPS |= {"accumulate_grad_batches": 1, "log_every_n_steps": 1, "enable_progress_bar": False}
SMALL_STEPS |= {"enable_model_summary": False}

pytestmark = [
    # LightningCLI itself uses a part of jsonargparse that is to go.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    # Nothing of ours changes a prediction in place.
    pytest.mark.filterwarnings("ignore:FSDP2-wrapped module .* returned a view tensor"),
]


@pytest.fixture(autouse=True)
def no_process_group_is_left() -> Iterator[None]:
    """Take away what FSDP2 begins, even with one process: later tests are of one process again."""
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def stage_of(name: str, stage: str | None = None) -> dict[str, Any]:
    stages = read_stages(RECIPES / f"{name}.yaml")
    return stages[stage or next(iter(stages))]


def run(folder: Path, config: dict[str, Any], *words: str) -> None:
    """Train by a stage, through the front door."""
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump({"stages": {"stage": config}}))
    main(["--config", str(file), *words])


@pytest.mark.parametrize("name", NAMES)
def test_every_key_says_what_it_means_and_its_default(name: str) -> None:
    file = RECIPES / f"{name}.yaml"
    lines = file.read_text("utf-8").splitlines()

    def is_told(key: Key) -> bool:
        code, _, comment = lines[key.line].partition(" # ")
        one_of_several = code.count(": ") > 1  # {folder: a, reader: b}
        meaning = comment.partition("(default")[0].partition("(required")[0].strip()
        is_stated = one_of_several or key.name.endswith(".extends") or key.told in comment
        return bool(meaning) and is_stated

    keys = list(keys_of(file))
    assert len(keys) > 5
    assert [(key.name, key.told) for key in keys if not is_told(key)] == []
    assert lines[0].startswith("# ")
    assert max(map(len, lines)) <= 160


@pytest.mark.parametrize("name", NAMES)
def test_it_builds_at_full_size_without_memory(name: str) -> None:
    for stage in read_stages(RECIPES / f"{name}.yaml").values():
        module = stage_module(stage)
        assert all(parameter.is_meta for parameter in module.parameters())
        assert any(parameter.requires_grad for parameter in module.parameters())


def test_every_recipe_is_in_the_table() -> None:
    listed = re.findall(r"^\| \[([\w]+)\.yaml\]", (RECIPES / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == NAMES


class TestSizes:
    def test_open_sora_1_2(self) -> None:
        model = stage_module(stage_of("jog3r_opensora12"))
        assert isinstance(model, JOG3R)
        backbone = model.stitched.get_submodule("backbone")
        assert sum(p.numel() for p in backbone.parameters()) == 1_207_643_936
        assert model.token_grid == (32, 32)
        assert model.autoencoder.latent_frames(16) == 16
        assert model.autoencoder.frames_of_latents(16) == list(range(16))
        for name, parameter in backbone.named_parameters():
            place = re.match(r"temporal_blocks\.(\d+)\.attn\.", name)
            assert parameter.requires_grad == (place is not None and int(place[1]) >= 4), name

    def test_dust3r(self) -> None:
        """The published network of 512 px with a DPT head has so many."""
        stages = read_stages(RECIPES / "dust3r.yaml")
        sizes = [
            sum(p.numel() for p in stage_module(stage).parameters()) for stage in stages.values()
        ]
        assert sizes[0] == sizes[1]
        assert sizes[2] == 571_171_208
        assert stages["at_512"]["data"]["init_args"]["size"] == [384, 512]

    def test_adapters_are_few(self) -> None:
        model = stage_module(stage_of("finetune_24gb"))
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        in_backbone = sum(
            p.numel()
            for name, p in model.named_parameters()
            if p.requires_grad and ".backbone." in name
        )
        assert 0 < in_backbone < 0.02 * sum(p.numel() for p in model.parameters())
        assert trained < 0.15 * sum(p.numel() for p in model.parameters())


def test_a_frame_by_itself_is_a_latent_of_its_own() -> None:
    """What jog3r_opensora12 rests on: with micro_frames 1 neighbours do not matter."""
    settings: dict[str, Any] = {
        "spatial": FrameAutoencoder.Config(block_out_channels=(4, 4), latent_channels=4),
        "temporal": TemporalAutoencoder.Config(
            filters=4, res_blocks=1, multipliers=(1, 1, 2, 2), groups=2
        ),
    }
    torch.manual_seed(0)
    usual = VideoAutoencoder.Config(**settings).build()
    single = VideoAutoencoder.Config(**settings, micro_frames=1).build()
    single.load_state_dict(usual.state_dict())
    video = torch.rand(1, 5, 3, 8, 8) * 2.0 - 1.0
    with torch.no_grad():
        latents = single.encode(video)
        assert latents.shape[2] == 5
        assert usual.encode(video).shape[2] == 2
        images = [usual.encode(video[:, frame : frame + 1]) for frame in range(5)]
        torch.testing.assert_close(latents, torch.cat(images, dim=2))
        assert single.decode(latents, num_frames=5).shape == video.shape


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return shards of four clips of seven frames, 16x16 px, latents 2x2."""
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, [encoded(number) for number in range(4)], size=(16, 16), encoder="none")
    return folder


def encoded(number: int) -> PrecomputedClip:
    drawn = torch.Generator().manual_seed(number)
    cameras = torch.eye(4).repeat(7, 1, 1)
    cameras[:, 2, 3] = torch.arange(7) * 0.1
    K = torch.tensor([[16.0, 0.0, 8.0], [0.0, 16.0, 8.0], [0.0, 0.0, 1.0]])
    return PrecomputedClip(
        id=str(number),
        latents=torch.randn(4, 7, 4, 4, generator=drawn),
        text=torch.randn(6, 16, generator=drawn),
        text_mask=torch.arange(6) < 2 + number,
        depth=1.0 + torch.rand(7, 16, 16, generator=drawn),
        K=K.expand(7, -1, -1),
        world_from_camera=cameras,
    )


SMALL_FRAMES = {"block_out_channels": [4, 4, 4], "layers_per_block": 1, "norm_groups": 2}
SMALL_BACKBONE = {"hidden_size": 48, "depth": 3, "num_heads": 3, "caption_channels": 16}
SMALL_BACKBONE |= {"max_text_tokens": 6}
SMALL_NETWORK = {"decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2, "patch": 8}
SMALL_VIDEO = {
    "spatial": {"block_out_channels": [4, 4, 4], "norm_groups": 2},
    "temporal": {"filters": 4, "res_blocks": 1, "multipliers": [1, 1, 2, 2], "groups": 2},
}


def small_joint(name: str, shards: Path) -> dict[str, Any]:
    """Return a recipe's stage with everything as it is but the sizes and the folders."""
    stage = stage_of(name)
    third = name == "jog3r_opensora12"
    backbone = {**SMALL_BACKBONE, **({} if third else {"input_size": [3, 4, 4]})}
    tap = stage["model"]["init_args"]["model"]["network"]["tap"]
    model = {
        "image_size": [16, 16],
        "num_frames": 3,
        "text_encoder": {"width": 16, "max_tokens": 6},
        "autoencoder": SMALL_VIDEO if third else {**SMALL_FRAMES, "attention": False},
        "network": {**SMALL_NETWORK, "backbone_config": backbone, "tap": tap and 2},
    }
    frozen = min(stage["model"]["init_args"]["trained"]["frozen_blocks"], 1)
    changes = {
        "trainer": SMALL_STEPS,
        "model": {
            "init_args": {"model": model, "start": None, "trained": {"frozen_blocks": frozen}}
        },
        "data": {
            "init_args": {
                "folder": str(shards),
                "validation_folder": str(shards),
                "frames": 3,
                "strides": [1, 2],
                "workers": 0,
            }
        },
    }
    if name == "multi_node":
        changes["trainer"] = {**SMALL_STEPS, "num_nodes": 1}
    return merged(stage, changes)


JOINT = {
    "jog3r_opensora10": {"train/gen", "train/rec", "val/auc_30"},
    "jog3r_opensora12": {"train/gen", "train/rec", "val/auc_30"},
    "generation_only": {"train/gen"},
    "reconstruction_only": {"train/rec", "val/auc_30"},
    "finetune_24gb": {"train/gen", "train/rec", "val/auc_30"},
    "multi_node": {"train/gen", "train/rec"},
}


def logged(folder: Path) -> set[str]:
    """Return the names of all figures in the CSV files of a run."""
    files = list(folder.rglob("metrics.csv"))
    assert files
    return {name for file in files for name in file.read_text().splitlines()[0].split(",")}


@pytest.mark.parametrize("name", JOINT)
def test_real_steps_of_joint_training(
    name: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(tmp_path, small_joint(name, shards))
    figures = logged(tmp_path / "runs" / name)
    assert figures >= JOINT[name] | {"train/grad_norm", "val/loss"}
    halves = {"train/gen", "train/rec"}
    assert figures & halves == JOINT[name] & halves
    assert list((tmp_path / "runs" / name / "checkpoints").iterdir())
    assert list((tmp_path / "runs" / name / "best").iterdir())
    assert list((tmp_path / "runs" / name / "tensorboard").rglob("events.*"))
    assert isinstance(JOG3R.from_pretrained(tmp_path / "runs" / name / "model"), JOG3R)


SMALL_DUST3R = {"encoder_width": 32, "encoder_depth": 1, "encoder_heads": 2, "decoder_width": 32}
SMALL_DUST3R |= {"decoder_depth": 3, "decoder_heads": 2, "dpt_feature_dim": 8, "dpt_last_dim": 8}
SMALL_DUST3R |= {"dpt_layer_dims": [8, 8, 8, 8], "dpt_hooks": [0, 1, 2, 3]}


def test_real_steps_of_dust3r(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All stages, each from the last one's weights, on clips that are read while training runs."""
    monkeypatch.chdir(tmp_path)

    def source(first_seed: int) -> dict[str, Any]:
        options = {"clips": 4, "frames": 4, "first_seed": first_seed}
        return {"folder": None, "reader": "world", "options": options}

    data = {"sources": [source(0)], "validation_sources": [source(HELD_OUT)], "size": [32, 32]}
    data |= {"batch_size": 2, "workers": 0}
    changes = {
        "trainer": SMALL_STEPS,
        "model": {"init_args": {"model": {"image_size": [32, 32], "network": SMALL_DUST3R}}},
        "data": {"init_args": data},
    }
    stages = {
        name: merged(stage, changes) for name, stage in read_stages(RECIPES / "dust3r.yaml").items()
    }
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({"stages": stages}))
    main(["--config", str(file)])
    wanted = {"train/loss", "train/distance", "val/distance", "train/grad_norm"}
    assert logged(tmp_path / "runs" / "dust3r") >= wanted
    model = JOG3R.from_pretrained(tmp_path / "runs" / "dust3r" / "dpt_512")
    assert model.config.network is not None
    assert getattr(model.config.network, "head", None) == "dpt"


def test_real_steps_of_dust3r_in_the_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = {"encoder_depth": 1, "decoder_depth": 1}
    changes = {
        "trainer": SMALL_STEPS,
        "model": {"init_args": {"model": {"image_size": [16, 16], "network": small}}},
        "data": {
            "init_args": {"size": 16, "photos": None, "frames_per_batch": 4, "workers": 0}
            | {"validation_clips": 2}
        },
    }
    run(tmp_path, merged(stage_of("dust3r_tiny"), changes))
    assert logged(tmp_path / "runs" / "dust3r_tiny") >= {"train/distance", "val/distance"}
    JOG3R.from_pretrained(tmp_path / "runs" / "dust3r_tiny" / "model")


class TestOneClearError:
    """Whatever is wrong is said in one line, before anything is built or written."""

    @pytest.mark.parametrize(
        ("name", "changes", "named"),
        [
            ("jog3r_opensora12", {"model": {"init_args": {"recweight": 1.0}}}, "recweight"),
            ("reconstruction_only", {"data": {"init_args": {"stride": [1]}}}, "stride"),
            ("dust3r_tiny", {"trainer": {"max_step": 3}}, "max_step"),
            ("dust3r", {"model": {"init_args": {"learning_rate": "fast"}}}, "learning_rate"),
            ("dust3r", {"data": {"init_args": {"frames": 2.5}}}, "frames"),
            ("generation_only", {"trainer": {"max_steps": "many"}}, "max_steps"),
        ],
    )
    def test_keys_and_types(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        changes: dict[str, Any],
        named: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(InputError, match=named) as caught:
            run(tmp_path, merged(stage_of(name), changes))
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
        assert [file.name for file in tmp_path.iterdir()] == ["recipe.yaml"]

    def test_no_folder_of_data(
        self, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        changes = {"data": {"init_args": {"folder": "missing"}}}
        with pytest.raises(FileError, match="missing"):
            run(tmp_path, merged(small_joint("reconstruction_only", shards), changes))

    def test_no_folder_to_start_from(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        network = {"encoder_depth": 1, "decoder_depth": 1}
        changes = {"start": "missing", "model": {"network": network}}
        with pytest.raises(Jog3rError, match="missing"):
            run(tmp_path, merged(stage_of("dust3r_tiny"), {"model": {"init_args": changes}}))

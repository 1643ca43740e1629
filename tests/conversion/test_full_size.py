"""Published layouts at full size, without values: the whole config from names and shapes."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jog3r.backbones.stdit import STDiT
from jog3r.backbones.stdit2 import STDiT2
from jog3r.backbones.stdit3 import STDiT3
from jog3r.codecs.video_autoencoder import VideoAutoencoder
from jog3r.config import from_plain
from jog3r.conversion import KINDS
from jog3r.conversion.checkpoints import Checkpoint
from jog3r.conversion.convert import convert
from jog3r.conversion.kinds import Converted, find_kind, recognise
from jog3r.errors import FileError
from jog3r.heads.dust3r import DUSt3R
from jog3r.model import JOG3R
from jog3r.model_config import ModelConfig
from jog3r.weights_file import write_weights

XL_512 = STDiT.Config(input_size=(16, 64, 64), space_scale=1.0)
LINEAR = DUSt3R.Config(head="linear")
FULL: dict[str, tuple[str, Any, int]] = {
    "16x256x256": ("opensora-1.0", STDiT.Config(), 0),
    "16x512x512": ("opensora-1.0", XL_512, 0),
    "v2": ("opensora-1.1", STDiT2.Config(), 0),
    "v3": ("opensora-1.2", STDiT3.Config(), 973),
    "vae": ("opensora-1.2-vae", VideoAutoencoder.Config(), 0),
    "dpt": ("dust3r", DUSt3R.Config(), 1009),
    "linear": ("dust3r", LINEAR, 877),
}
WITH_VALUES = ("pos_embed", "pos_embed_temporal", "shift", "scale")


def published(config: Any) -> dict[str, Tensor]:
    """Give the tensors of a full-size checkpoint; only small tables have values."""
    with torch.device("meta"):
        module: nn.Module = config.build()
    state = dict(module.state_dict())
    if isinstance(config, STDiT.Config):
        small = dataclasses.replace(config, depth=1, caption_channels=8).build().state_dict()
        state |= {name: small[name] for name in WITH_VALUES[:2]}
    if isinstance(config, VideoAutoencoder.Config):
        for name in WITH_VALUES[2:]:
            state[name] = torch.tensor(getattr(config, name))[None, :, None, None, None]
    return state


def converted(kind: str, tensors: dict[str, Tensor]) -> Converted:
    checkpoint = Checkpoint(source=Path("weights.pth"), tensors=tensors)
    assert recognise(checkpoint) == kind
    return find_kind(kind).convert(checkpoint, {})


@pytest.mark.parametrize("name", FULL)
def test_the_whole_config_is_found(name: str, caplog: pytest.LogCaptureFixture) -> None:
    kind, config, count = FULL[name]
    tensors = published(config)
    assert count in (0, len(tensors))
    made = converted(kind, tensors)
    assert made.build.__self__ == config  # type: ignore[attr-defined]
    assert not caplog.text
    with torch.device("meta"):
        wanted = made.build().state_dict()
    assert {k: v.shape for k, v in made.tensors.items()} == {k: v.shape for k, v in wanted.items()}


def test_the_config_that_is_published_beside_agrees() -> None:
    hints = {"architectures": ["STDiT3"], "caption_channels": 4096, "depth": 28, "in_channels": 4}
    hints |= {"hidden_size": 1152, "input_size": [None, None, None], "input_sq_size": 512}
    hints |= {"mlp_ratio": 4.0, "model_max_length": 300, "num_heads": 16, "patch_size": [1, 2, 2]}
    hints |= {"pred_sigma": True, "qk_norm": True, "torch_dtype": "float32"}
    tensors = published(STDiT3.Config())
    checkpoint = Checkpoint(source=Path("model.safetensors"), tensors=tensors, hints=hints)
    made = find_kind("opensora-1.2").convert(checkpoint, {})
    assert made.build.__self__ == STDiT3.Config()  # type: ignore[attr-defined]


def test_every_kind_is_there() -> None:
    assert {kind for kind, _, _ in FULL.values()} | {"sd-vae"} == set(KINDS)


@pytest.mark.parametrize(
    ("name", "size", "frames"),
    [("16x256x256", (256, 256), 16), ("16x512x512", (512, 512), 16), ("v3", (512, 512), 51)],
)
def test_the_video_it_makes(name: str, size: tuple[int, int], frames: int) -> None:
    kind, config, _ = FULL[name]
    made = converted(kind, published(config))
    plain = dict.fromkeys(["autoencoder", "text_encoder"]) | made.config
    whole = from_plain(ModelConfig, plain)
    assert (whole.image_size, whole.num_frames) == (size, frames)


def test_tables_that_are_not_there_are_computed_if_all_is_told() -> None:
    tensors = published(XL_512)
    expected = {name: tensors.pop(name) for name in WITH_VALUES[:2]}
    checkpoint = Checkpoint(source=Path("weights.pth"), tensors=tensors)
    settings: dict[str, Any] = {"input_size": [16, 64, 64], "space_scale": 1.0}
    with pytest.raises(FileError, match="expected a tensor pos_embed with 3 axes, got none"):
        find_kind("opensora-1.0").convert(checkpoint, settings)
    made = find_kind("opensora-1.0").convert(checkpoint, settings | {"time_scale": 1.0})
    assert all(torch.equal(made.tensors[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_full_width_from_file_to_model(tmp_path: Path) -> None:
    config = STDiT3.Config(depth=1)
    module = config.build().to(torch.bfloat16)
    torch.save({"ema": module.state_dict()}, tmp_path / "ema.pth")
    convert("auto", tmp_path / "ema.pth", tmp_path / "out", max_shard_size="60MB")
    assert len(list((tmp_path / "out").glob("*-of-*"))) > 1
    network = JOG3R.from_pretrained(tmp_path / "out").stitched
    assert network.backbone.config == config
    assert isinstance(network.backbone, nn.Module)
    for name, tensor in network.backbone.state_dict().items():
        assert torch.equal(tensor, module.state_dict()[name].float())
    write_weights(network, tmp_path / "again")

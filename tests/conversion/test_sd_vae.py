"""The autoencoder of Stable Diffusion in its four layouts."""

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.conversion.checkpoints import Checkpoint
from jog3r.conversion.convert import convert
from jog3r.conversion.kinds import find_kind
from jog3r.errors import FileError, InputError
from jog3r.model import JOG3R
from tests.conversion.references import SMALL_VAE

SETTINGS = {"norm_groups": 4}
NEWER_TO_OLDER = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def older(state: dict[str, Tensor], *, convolutions: bool = False) -> dict[str, Tensor]:
    """Rename as diffusers did before 0.18."""
    made = {}
    for name, tensor in state.items():
        for newer, old in NEWER_TO_OLDER.items():
            if f".{newer}." in name:
                name = name.replace(f".{newer}.", f".{old}.")
                tensor = tensor[..., None, None] if convolutions and tensor.ndim == 2 else tensor
        made[name] = tensor.contiguous()
    return made


def original(state: dict[str, Tensor], levels: int) -> dict[str, Tensor]:
    """Rename as the original program does, by its published layout."""
    pairs = [
        ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"),
        ("mid_block.attentions.0.to_q", "mid.attn_1.q"),
        ("mid_block.attentions.0.to_k", "mid.attn_1.k"),
        ("mid_block.attentions.0.to_v", "mid.attn_1.v"),
        ("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"),
        ("mid_block.resnets.0", "mid.block_1"),
        ("mid_block.resnets.1", "mid.block_2"),
        ("conv_norm_out", "norm_out"),
        ("conv_shortcut", "nin_shortcut"),
        ("downsamplers.0", "downsample"),
        ("upsamplers.0", "upsample"),
        (".resnets.", ".block."),
    ]
    pairs += [(f"down_blocks.{i}.", f"down.{i}.") for i in range(levels)]
    pairs += [(f"up_blocks.{i}.", f"up.{levels - 1 - i}.") for i in range(levels)]
    made = {}
    for name, tensor in state.items():
        for newer, old in pairs:
            name = name.replace(newer, old)
        weight = ".attn_1." in name and tensor.ndim == 2
        made[name] = (tensor[..., None, None] if weight else tensor).contiguous()
    return made


def same(folder: Path, vae: dict[str, Tensor]) -> None:
    stored = load_file(folder / "model.safetensors")
    assert set(stored) == {f"autoencoder.vae.{name}" for name in vae} | {"autoencoder.scale"}
    assert all(torch.equal(stored[f"autoencoder.vae.{name}"], vae[name]) for name in vae)
    assert torch.equal(stored["autoencoder.scale"], torch.full((4, 1, 1), 0.18215))


def test_diffusers_layout(vae_file: Path, vae: dict[str, Tensor], tmp_path: Path) -> None:
    done = convert("auto", vae_file.parent, tmp_path / "out", settings=SETTINGS)
    assert done.kind == "sd-vae"
    assert done.licence == "MIT"
    same(done.folder, vae)
    model = JOG3R.from_pretrained(done.folder)
    assert model.autoencoder.config == SMALL_VAE
    video = torch.zeros(1, 2, 3, 16, 16)
    assert model.autoencoder.encode(video).shape == (1, 4, 2, 2, 2)


def test_the_config_beside_tells_the_rest(vae_file: Path, tmp_path: Path) -> None:
    config = {
        "norm_num_groups": 2,
        "scaling_factor": 0.13025,
        "block_out_channels": [8, 16, 16, 16],
    }
    config |= {"act_fn": "silu", "shift_factor": None, "layers_per_block": 2}
    (vae_file.parent / "config.json").write_text(json.dumps(config))
    convert("auto", vae_file.parent, tmp_path / "out")
    made = JOG3R.from_pretrained(tmp_path / "out").autoencoder
    assert isinstance(made, FrameAutoencoder)
    assert (made.config.norm_groups, made.config.scaling_factor) == (2, 0.13025)
    torch.testing.assert_close(made.scale, torch.full((4, 1, 1), 0.13025))


@pytest.mark.parametrize("convolutions", [False, True])
def test_older_names(tmp_path: Path, vae: dict[str, Tensor], convolutions: bool) -> None:
    torch.save(older(vae, convolutions=convolutions), tmp_path / "vae.bin")
    assert any(".proj_attn." in name for name in older(vae))
    same(convert("auto", tmp_path / "vae.bin", tmp_path / "out", settings=SETTINGS).folder, vae)


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_original_layout(tmp_path: Path, vae: dict[str, Tensor], prefix: str) -> None:
    state = {prefix + name: tensor for name, tensor in original(vae, 4).items()}
    assert f"{prefix}decoder.up.3.upsample.conv.weight" in state
    others = (
        {"model.diffusion_model.x": torch.ones(1)} if prefix else {"loss.logvar": torch.ones(1)}
    )
    content = {"state_dict": {**state, **others}}
    torch.save(content, tmp_path / "vae.ckpt")
    done = convert("auto", tmp_path / "vae.ckpt", tmp_path / "out", settings=SETTINGS)
    assert done.left_out == list(others)
    same(done.folder, vae)


def test_an_incomplete_original(tmp_path: Path, vae: dict[str, Tensor]) -> None:
    state = original(vae, 4)
    for name in ("encoder.mid.attn_1.q.weight", "decoder.up.2.block.1.conv1.weight"):
        torch.save({key: value for key, value in state.items() if key != name}, tmp_path / "v.ckpt")
        with pytest.raises(
            FileError, match=r"v.ckpt: expected .*missing|all tensors of an autoenc"
        ):
            convert("sd-vae", tmp_path / "v.ckpt", tmp_path / "out", settings=SETTINGS)
        assert not (tmp_path / "out").exists()


def test_behind_the_prefix_of_a_pipeline(tmp_path: Path, vae: dict[str, Tensor]) -> None:
    save_file({f"vae.{name}": tensor for name, tensor in vae.items()}, tmp_path / "w.safetensors")
    done = convert("auto", tmp_path / "w.safetensors", tmp_path / "out", settings=SETTINGS)
    same(done.folder, vae)


def test_groups_have_to_be_told_where_the_usual_ones_do_not_fit(vae_file: Path) -> None:
    with pytest.raises(InputError, match=r"norm_groups: .* \(8, 16, 16, 16\) .*--set norm_groups"):
        convert("auto", vae_file, vae_file.parent / "out")


@pytest.mark.parametrize("hint", [{"shift_factor": 0.1}, {"act_fn": "mish"}, {"latents_mean": [1]}])
def test_other_autoencoders(vae_file: Path, hint: dict[str, object]) -> None:
    (vae_file.parent / "config.json").write_text(json.dumps(hint))
    with pytest.raises(FileError, match=rf"expected a network with {next(iter(hint))} one of"):
        convert("auto", vae_file, vae_file.parent / "out", settings=SETTINGS)


@pytest.mark.parametrize("layout", ["diffusers", "older", "original"])
def test_full_size(layout: str, caplog: pytest.LogCaptureFixture) -> None:
    full = FrameAutoencoder.Config.sd_vae_ft_ema()
    with torch.device("meta"):
        state = full.build().vae.state_dict()
    assert len(state) == 248
    change = {"older": older, "original": lambda state: original(state, 4)}
    tensors = change.get(layout, dict)(state)
    with caplog.at_level(logging.WARNING):
        made = find_kind("sd-vae").convert(Checkpoint(source=Path("x"), tensors=tensors), {})
    assert not caplog.text
    assert made.build.__self__ == full  # type: ignore[attr-defined]
    wanted = {f"vae.{name}": tensor.shape for name, tensor in state.items()}
    assert {name: tensor.shape for name, tensor in made.tensors.items()} == wanted | {
        "scale": (4, 1, 1)
    }

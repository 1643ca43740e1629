"""From checkpoint to model folder: every kind, strictly, whole or not at all."""

import json
import re
import reprlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from jog3r.codecs.pretrained_text import PretrainedTextEncoder
from jog3r.conversion import KINDS
from jog3r.conversion.convert import convert
from jog3r.errors import FileError, InputError, SaveError
from jog3r.model import JOG3R
from tests.conversion.references import REFERENCES, SMALL_VAE, Parity, Reference, randomised

STDIT = {"num_heads": 3}
GROUPS = {"norm_groups": 4}


def stored(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture
def stdit(parity: Parity, tmp_path: Path) -> Path:
    """Copy the reference weights of Open-Sora 1.0, to be damaged."""
    file = tmp_path / "source" / "weights.pth"
    file.parent.mkdir()
    torch.save(load_file(parity("stdit") / "weights.safetensors"), file)
    return file


def fails(
    file: Path, says: str, error: type[Exception] = FileError, kind: str = "auto", **options: Any
) -> None:
    """Check that a conversion fails and leaves nothing."""
    out = file.parent / "out"
    with pytest.raises(error, match=says):
        convert(kind, file, out, **{"settings": STDIT, **options})
    assert not out.exists()
    assert not [item for item in file.parent.iterdir() if ".tmp" in item.name]


@pytest.mark.parametrize("name", ["auto", "by name"])
@pytest.mark.parametrize("reference", REFERENCES, ids=lambda r: r.folder)
def test_every_kind_keeps_every_number(
    parity: Parity, tmp_path: Path, reference: Reference, name: str
) -> None:
    file = parity(reference.folder) / "weights.safetensors"
    kind = "auto" if name == "auto" else reference.kind
    done = convert(kind, file, tmp_path / "out", settings=reference.settings)
    assert done.kind == reference.kind
    assert not done.left_out
    before, after = load_file(file), stored(tmp_path / "out")
    for key, tensor in after.items():
        assert torch.equal(tensor, before[key.removeprefix(reference.prefix)])
    # What is missing has the same values under another name.
    for key in set(before) - {key.removeprefix(reference.prefix) for key in after}:
        assert "scratch.layer" in key
    model = JOG3R.from_pretrained(tmp_path / "out")
    loaded = model.state_dict()
    assert all(torch.equal(loaded[reference.prefix + key], before[key]) for key in before)


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda r: r.folder)
def test_the_config_is_that_of_the_reference(
    parity: Parity, tmp_path: Path, reference: Reference
) -> None:
    folder = parity(reference.folder)
    convert("auto", folder / "weights.safetensors", tmp_path / "out", settings=reference.settings)
    made = json.loads((tmp_path / "out" / "config.json").read_text())
    told = json.loads((folder / "meta.json").read_text())["config"]
    part = made["autoencoder"] or made["network"].get("backbone_config") or made["network"]
    names = {"max_text_tokens": "model_max_length", "learn_sigma": "pred_sigma"}
    names |= {"encoder_depth": "enc_depth", "decoder_depth": "dec_depth", "head": "head_type"}
    names |= {"encoder_width": "enc_embed_dim", "decoder_width": "dec_embed_dim"}
    names |= {"encoder_heads": "enc_num_heads", "decoder_heads": "dec_num_heads"}
    apart = ("input_sq_size", "depth_mode", "temporal")
    compared = 0
    for field, value in part.items():
        if names.get(field, field) in told and field not in apart:
            assert value == told[names.get(field, field)], field
            compared += 1
    if reference.kind == "opensora-1.2-vae":
        assert part["spatial"]["block_out_channels"] == [8, 16]
        assert part["temporal"]["downsample"] == told["temporal"]["temporal_downsample"]
        assert part["temporal"]["multipliers"] == told["temporal"]["channel_multipliers"]
        assert part["shift"] == told["pipeline"]["shift"]
        assert part["scale"] == told["pipeline"]["scale"]
    else:
        assert compared >= 8
    if "dpt" in told:
        dpt = {"dpt_feature_dim": "feature_dim", "dpt_last_dim": "last_dim"}
        dpt |= {"dpt_layer_dims": "layer_dims", "dpt_hooks": "hooks_idx"}
        assert {field: part[field] for field in dpt} == {
            field: told["dpt"][name] for field, name in dpt.items()
        }


def test_schedules(parity: Parity, tmp_path: Path) -> None:
    for reference in REFERENCES[:3]:
        file = parity(reference.folder) / "weights.safetensors"
        convert("auto", file, tmp_path / reference.kind, settings=reference.settings)
    schedules = [
        json.loads((tmp_path / reference.kind / "config.json").read_text())["schedule"]
        for reference in REFERENCES[:3]
    ]
    assert [each["kind"] for each in schedules] == ["ddpm", "ddpm", "rectified-flow"]
    assert all(each["solver"] == "iddpm" for each in schedules[:2])
    assert all(each["prediction_type"] == "epsilon" for each in schedules[:2])
    assert all(each["steps"] == 1000 for each in schedules)


class TestDamaged:
    """Each fails with one error that names the file, and leaves nothing."""

    def damage(self, file: Path, **changes: Tensor | None) -> None:
        state = {**torch.load(file, weights_only=True), **changes}
        torch.save({name: tensor for name, tensor in state.items() if tensor is not None}, file)

    def test_missing_tensors(self, stdit: Path) -> None:
        self.damage(stdit, **{"blocks.1.mlp.fc2.bias": None})
        fails(stdit, rf"{stdit}: expected the .* got 1 missing \['blocks.1.mlp.fc2.bias'\] and 0")

    @pytest.mark.parametrize("reference", REFERENCES, ids=lambda r: r.folder)
    def test_whatever_tensor_is_missing_it_is_named(
        self, parity: Parity, tmp_path: Path, reference: Reference
    ) -> None:
        state = load_file(parity(reference.folder) / "weights.safetensors")
        names = [key for key in state if "scratch.layer" not in key]  # those are there twice
        for name in names[::11]:
            save_file({k: v for k, v in state.items() if k != name}, tmp_path / "w.safetensors")
            settings = reference.settings
            fails(tmp_path / "w.safetensors", f"w.safetensors: .*{name}", settings=settings)

    @pytest.mark.parametrize("reference", REFERENCES, ids=lambda r: r.folder)
    def test_whatever_shape_is_wrong_it_is_an_error(
        self, parity: Parity, tmp_path: Path, reference: Reference
    ) -> None:
        state, out = load_file(parity(reference.folder) / "weights.safetensors"), tmp_path / "out"
        for name in list(state)[::11]:
            longer = torch.cat([state[name], state[name][:1]])
            save_file({**state, name: longer}, tmp_path / "w.safetensors")
            with pytest.raises((FileError, InputError), match=r"expected .*, got .*; "):
                convert("auto", tmp_path / "w.safetensors", out, settings=reference.settings)
            assert not out.exists()

    def test_a_gap_between_blocks(self, stdit: Path) -> None:
        self.damage(stdit, **{"blocks.99999999.mlp.fc1.bias": torch.ones(1)})
        fails(stdit, "expected tensors blocks.2..., got none; the checkpoint is incomplete")

    def test_shapes_that_make_no_network(self, vae_file: Path) -> None:
        state = load_file(vae_file)
        state["encoder.down_blocks.1.resnets.0.conv2.weight"] = torch.ones(17, 17, 3, 3)
        save_file(state, vae_file)
        (vae_file.parent / "config.json").write_text('{"norm_num_groups": 4}')
        fails(vae_file, "expected the shapes of sd-vae, got some that make no network", settings={})

    @pytest.mark.parametrize("name", ["pos_embed", "pos_embed_temporal", "x_embedder.proj.weight"])
    def test_empty_tensors(self, stdit: Path, name: str) -> None:
        self.damage(stdit, **{name: torch.load(stdit, weights_only=True)[name][:0]})
        fails(stdit, rf"expected a tensor {name} with . axes, got shape \(0, .*download it again")

    def test_a_position_table_of_several(self, stdit: Path) -> None:
        self.damage(
            stdit, pos_embed=torch.load(stdit, weights_only=True)["pos_embed"].expand(2, -1, -1)
        )
        fails(stdit, r"expected pos_embed of shape \(1, 12, 48\), got \(2, 12, 48\)")

    def test_a_missing_block(self, stdit: Path) -> None:
        state = {
            k: v
            for k, v in torch.load(stdit, weights_only=True).items()
            if not k.startswith("blocks.0.mlp")
        }
        torch.save(state, stdit)
        fails(stdit, "expected a tensor blocks.0.mlp.fc1.weight with 2 axes, got none")

    def test_unknown_tensors(self, stdit: Path) -> None:
        self.damage(stdit, **{"lora.up": torch.ones(1)})
        fails(stdit, r"0 missing \[\] and 1 unknown \['lora.up'\]")

    def test_wrong_shapes(self, stdit: Path) -> None:
        self.damage(stdit, **{"blocks.1.attn.qkv.weight": torch.ones(3, 4)})
        fails(stdit, r"expected blocks.1.attn.qkv.weight of shape \(144, 48\), got \(3, 4\)")
        self.damage(stdit, **{"x_embedder.proj.weight": torch.ones(3)})
        fails(stdit, r"expected a tensor x_embedder.proj.weight with 5 axes, got shape \(3,\)")
        self.damage(stdit, **{"x_embedder.proj.weight": torch.ones(9, 4, 1, 2, 2)})
        fails(stdit, "expected one width in several tensors, got {'x_embedder.proj.weight': 9, 'y_")

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_values_that_are_none(self, stdit: Path, value: float) -> None:
        self.damage(stdit, **{"final_layer.linear.bias": torch.full((32,), value)})
        fails(stdit, "expected final_layer.linear.bias of finite numbers, got NaN or infinity")

    @pytest.mark.parametrize("dtype", [torch.int64, torch.float8_e4m3fn])
    def test_other_dtypes(self, stdit: Path, dtype: torch.dtype) -> None:
        self.damage(stdit, **{"final_layer.linear.bias": torch.ones(32).to(dtype)})
        fails(stdit, f"expected final_layer.linear.bias in one of .*, got {dtype}")

    def test_position_tables_of_something_else(self, stdit: Path) -> None:
        self.damage(stdit, pos_embed=torch.ones(1, 12, 48))
        fails(stdit, "pos_embed: expected a sine-cosine table, got other values", InputError)
        settings = {"input_size": [4, 6, 8], "space_scale": 0.5, "time_scale": 1.0, **STDIT}
        convert("auto", stdit, stdit.parent / "out", settings=settings)

    def test_two_names_with_different_values(self, parity: Parity, tmp_path: Path) -> None:
        state = load_file(parity("dust3r_dpt") / "weights.safetensors")
        state["downstream_head2.dpt.scratch.layer_rn.1.weight"] += 1
        save_file(state, tmp_path / "weights.safetensors")
        settings = {"encoder_heads": 3, "decoder_heads": 2}
        says = "layer2_rn.weight and .*layer_rn.1.weight to be the same tensor, got different"
        fails(tmp_path / "weights.safetensors", says, settings=settings)

    @pytest.mark.parametrize("reference", REFERENCES, ids=lambda r: r.folder)
    def test_truncated_files(self, parity: Parity, tmp_path: Path, reference: Reference) -> None:
        content = (parity(reference.folder) / "weights.safetensors").read_bytes()
        (tmp_path / "weights.safetensors").write_bytes(content[:-100])
        fails(tmp_path / "weights.safetensors", "expected a safetensors file, got a truncated")


class TestKinds:
    @pytest.mark.parametrize("kind", KINDS)
    def test_another_kind_than_said(self, stdit: Path, kind: str) -> None:
        if kind != "opensora-1.0":
            says = f"expected a checkpoint of {kind}, got tensors of opensora-1.0"
            fails(stdit, says, kind=kind)

    def test_no_kind_at_all(self, tmp_path: Path) -> None:
        file = tmp_path / "weights.safetensors"
        save_file({"layer.weight": torch.ones(2)}, file)
        fails(file, r"of one of \['opensora-1.0', .*got others: \['layer.weight'\]")

    def test_two_kinds_in_one_file(
        self, stdit: Path, vae: dict[str, Tensor], tmp_path: Path
    ) -> None:
        both = torch.load(stdit, weights_only=True) | {
            f"vae.{name}": tensor for name, tensor in vae.items()
        }
        torch.save(both, stdit)
        fails(stdit, "got tensors of opensora-1.0 and sd-vae; give another file or kind")
        done = convert("sd-vae", stdit, tmp_path / "vae-out", settings=GROUPS)
        assert "blocks.0.attn.qkv.weight" in done.left_out

    def test_unknown_kind(self, stdit: Path) -> None:
        fails(stdit, r"kind: expected one of \['auto', 'opensora-1.0'", InputError, "opensora")


class TestSettings:
    def test_heads_have_to_be_told_where_nothing_tells_them(self, stdit: Path) -> None:
        fails(stdit, "add --set num_heads=NUMBER", InputError, settings={})
        (stdit.parent / "config.json").write_text('{"num_heads": 3}')
        convert("auto", stdit, stdit.parent / "out")

    def test_settings_of_the_model_and_of_the_part(self, stdit: Path) -> None:
        settings = {**STDIT, "gelu": "exact", "num_frames": 8, "fps": 12.0, "image_size": [32, 32]}
        convert("auto", stdit, stdit.parent / "out", settings=settings)
        config = JOG3R.from_pretrained(stdit.parent / "out").config
        assert (config.num_frames, config.fps, config.image_size) == (8, 12.0, (32, 32))
        made = json.loads((stdit.parent / "out" / "config.json").read_text())
        assert made["network"]["backbone_config"]["gelu"] == "exact"

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            (
                {"colour": "red"},
                r"settings: expected .* got {.*'colour': 'red'.*settings: expected keys of",
            ),
            ({"gelu": 3}, "settings.gelu: expected"),
            ({"num_heads": 5}, "multiple of each of .5, 4. for heads and positions, got 48"),
            ({"num_frames": -1}, "num_frames: expected finite numbers above 0"),
        ],
    )
    def test_impossible_settings(self, stdit: Path, settings: dict[str, Any], says: str) -> None:
        fails(stdit, says, InputError, settings={**STDIT, **settings})

    def test_long_settings_are_cut(self, stdit: Path) -> None:
        with pytest.raises(InputError) as caught:
            convert("auto", stdit, stdit.parent / "out", settings={"gelu": "x" * 9999})
        assert len(str(caught.value)) < 1000

    def test_groups_that_do_not_divide(self, vae_file: Path) -> None:
        says = "settings: expected values that fit .* no sd-vae .num_channels"
        fails(vae_file, says, InputError, settings={"norm_groups": 5})

    @pytest.mark.parametrize(
        ("hints", "says"),
        [
            (
                {"depth": 28},
                r"expected depth = 28 as told beside it \(depth\), got 2 by its shapes",
            ),
            ({"model_max_length": 300}, r"told beside it \(model_max_length\), got 12"),
            ({"patch_size": [1, 4, 4]}, r"expected patch_size = \(1, 4, 4\) as told"),
            ({"no_temporal_pos_emb": True}, "expected a network with no_temporal_pos_emb one of"),
        ],
    )
    def test_a_config_of_another_model(self, stdit: Path, hints: dict[str, Any], says: str) -> None:
        (stdit.parent / "config.json").write_text(json.dumps(hints))
        fails(stdit, says)

    @pytest.mark.parametrize(
        "hints",
        [
            {"depth_mode": ["exp", 0.1, 5.0]},
            {"depth_mode": ["cube", "-inf", "inf"]},
            {"depth_mode": "exp"},
            {"conf_mode": ["exp", 0, "inf"]},
            {"conf_mode": ["sigmoid", 0, 1]},
        ],
    )
    def test_output_modes_that_our_heads_do_not_make(
        self, parity: Parity, tmp_path: Path, hints: dict[str, Any]
    ) -> None:
        file = tmp_path / "weights.safetensors"
        file.write_bytes((parity("dust3r") / "weights.safetensors").read_bytes())
        (tmp_path / "config.json").write_text(json.dumps(hints))
        settings = {"encoder_heads": 3, "decoder_heads": 2}
        fails(file, "expected the output modes of public checkpoints", settings=settings)

    def test_a_guess_is_told(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        from jog3r.backbones.stdit import STDiT

        small = STDiT.Config(hidden_size=144, depth=1, num_heads=2, caption_channels=8)
        save_file(small.build().state_dict(), tmp_path / "w.safetensors")
        convert("auto", tmp_path / "w.safetensors", tmp_path / "out")
        assert "num_heads: 2, as in published networks with 72 channels per head" in caplog.text


class TestFolder:
    def test_what_is_in_it(self, stdit: Path) -> None:
        out = stdit.parent / "deep" / "out"
        convert("auto", stdit, out, settings=STDIT)
        assert sorted(file.name for file in out.iterdir()) == [
            "README.md",
            "config.json",
            "model.safetensors",
        ]
        with safe_open(out / "model.safetensors", "pt") as content:
            assert content.metadata() == {"format": "pt"}

    def test_shards(self, stdit: Path) -> None:
        out = stdit.parent / "out"
        convert("auto", stdit, out, settings=STDIT, max_shard_size=200_000)
        assert len(list(out.glob("model-*-of-*.safetensors"))) > 1
        JOG3R.from_pretrained(out)

    @pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16])
    def test_dtypes(self, stdit: Path, dtype: torch.dtype | None) -> None:
        out = stdit.parent / "out"
        convert("auto", stdit, out, settings=STDIT, dtype=dtype)
        assert {tensor.dtype for tensor in stored(out).values()} == {dtype or torch.float32}
        text = (out / "README.md").read_text()
        assert ("rounded to" in text) == (dtype is not None)

    def test_a_dtype_that_is_too_narrow(self, stdit: Path) -> None:
        state = torch.load(stdit, weights_only=True)
        state["final_layer.linear.bias"][0] = 1e5
        torch.save(state, stdit)
        says = "expected finite numbers in torch.float16, .* network.backbone.final_layer"
        fails(stdit, says, InputError, dtype=torch.float16)
        convert("auto", stdit, stdit.parent / "out", settings=STDIT, dtype=torch.bfloat16)

    def test_an_existing_folder(self, stdit: Path) -> None:
        out = stdit.parent / "out"
        convert("auto", stdit, out, settings=STDIT)
        with pytest.raises(InputError, match=r"out: expected a new folder, got .*add --over"):
            convert("auto", stdit, out, settings=STDIT)
        convert("auto", stdit, out, settings={**STDIT, "fps": 5}, overwrite=True)
        assert JOG3R.from_pretrained(out).config.fps == 5

    def test_what_is_no_model_is_never_replaced(self, stdit: Path) -> None:
        out = stdit.parent / "out"
        out.mkdir()
        (out / "thesis.tex").write_text("...")
        for place in (out, stdit.parent, out / "thesis.tex"):
            with pytest.raises(InputError, match="out: expected"):
                convert("auto", stdit, place, settings=STDIT, overwrite=True)
        assert (out / "thesis.tex").read_text() == "..."

    def test_a_failure_leaves_the_old_model(
        self, stdit: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import jog3r.conversion.convert

        out = stdit.parent / "out"
        convert("auto", stdit, out, settings=STDIT)
        before = {file.name: file.read_bytes() for file in out.iterdir()}

        def full(*args: object, **options: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(jog3r.conversion.convert, "write_weights", full)
        with pytest.raises(SaveError, match="No space left"):
            convert("auto", stdit, out, settings=STDIT, overwrite=True)
        assert {file.name: file.read_bytes() for file in out.iterdir()} == before
        assert sorted(item.name for item in stdit.parent.iterdir()) == ["out", "weights.pth"]


class TestLicence:
    def test_dust3r_is_not_for_commercial_use(self, parity: Parity, tmp_path: Path) -> None:
        reference = REFERENCES[4]
        file = parity(reference.folder) / "weights.safetensors"
        done = convert("auto", file, tmp_path / "out", settings=reference.settings)
        assert done.licence == "CC-BY-NC-SA-4.0"
        assert JOG3R.from_pretrained(tmp_path / "out").config.licence == "CC-BY-NC-SA-4.0"
        text = (tmp_path / "out" / "README.md").read_text()
        assert "license: cc-by-nc-sa-4.0" in text
        assert "**Not for commercial use.**" in text

    @pytest.mark.parametrize("licence", ["Apache-2.0", "CC-BY-NC-4.0"])
    def test_what_is_not_for_commercial_use_keeps_its_licence(
        self, parity: Parity, tmp_path: Path, licence: str
    ) -> None:
        file = tmp_path / "weights.safetensors"
        file.write_bytes((parity("dust3r") / "weights.safetensors").read_bytes())
        settings = REFERENCES[4].settings
        says = "settings.licence: expected CC-BY-NC-SA-4.0, which weights of dust3r are under"
        fails(file, says, InputError, settings={**settings, "licence": licence})
        settings = {**settings, "licence": "CC-BY-NC-SA-4.0"}
        assert (
            convert("auto", file, tmp_path / "out", settings=settings).licence == "CC-BY-NC-SA-4.0"
        )

    @pytest.mark.parametrize("licence", ["", " ", 3, None])
    def test_no_licence(self, stdit: Path, licence: Any) -> None:
        says = "settings.licence: expected the SPDX name of a licence, got"
        fails(stdit, says, InputError, settings={**STDIT, "licence": licence})

    def test_others_may_get_another(self, stdit: Path) -> None:
        settings = {**STDIT, "licence": "MIT"}
        done = convert("auto", stdit, stdit.parent / "out", settings=settings)
        assert done.licence == "MIT"

    def test_others_are(self, stdit: Path) -> None:
        convert("auto", stdit, stdit.parent / "out", settings=STDIT)
        text = (stdit.parent / "out" / "README.md").read_text()
        assert "license: apache-2.0" in text
        assert "Commercial use is allowed" in text
        assert "https://huggingface.co/hpcai-tech/Open-Sora" in text


class TestJoining:
    @pytest.fixture
    def vae_folder(self, vae_file: Path) -> Path:
        """Convert the small autoencoder."""
        convert("sd-vae", vae_file, vae_file.parent / "converted", settings=GROUPS)
        return vae_file.parent / "converted"

    def test_a_backbone_and_an_autoencoder(self, stdit: Path, vae_folder: Path) -> None:
        out = stdit.parent / "out"
        done = convert("auto", stdit, out, merge=[vae_folder], settings=STDIT, text_encoder="x/t5")
        assert done.licence == "Apache-2.0 AND MIT"
        model = JOG3R.from_pretrained(out)
        assert model.config.num_frames == 4
        assert model.config.schedule is not None
        assert model.autoencoder.config == SMALL_VAE
        assert model.config.text_encoder == PretrainedTextEncoder.Config(
            source="x/t5", width=32, max_tokens=12
        )
        both = stored(out)
        assert all(torch.equal(both[name], value) for name, value in stored(vae_folder).items())
        text = (out / "README.md").read_text()
        assert "license: other" in text
        assert "sd-vae-ft-ema" in text
        assert "hpcai-tech/Open-Sora" in text

    def test_the_other_way_round(self, stdit: Path, vae_file: Path) -> None:
        convert("auto", stdit, stdit.parent / "backbone", settings=STDIT)
        out = stdit.parent / "out"
        convert("sd-vae", vae_file, out, merge=[stdit.parent / "backbone"], settings=GROUPS)
        config = JOG3R.from_pretrained(out).config
        assert config.num_frames == 4
        assert config.guidance_scale == 7.0
        assert config.schedule is not None

    def test_three_of_them(self, stdit: Path, vae_folder: Path) -> None:
        convert("auto", stdit, stdit.parent / "one", merge=[vae_folder], settings=STDIT)
        says = r"merge .*: expected other parts than \['network', 'schedule'\], got another network"
        fails(stdit, says, InputError, merge=[stdit.parent / "one"])

    def test_parts_that_do_not_fit(self, stdit: Path, vae_file: Path) -> None:
        wide = randomised(replace(SMALL_VAE, latent_channels=5).build().vae)
        save_file(wide, vae_file)
        convert("sd-vae", vae_file, vae_file.parent / "wide", settings=GROUPS)
        says = "expected the backbone's in_channels to be 5 as in the other parts, got 4"
        fails(stdit, says, InputError, merge=[vae_file.parent / "wide"])

    def test_the_packaged_text_encoder_brings_its_tokenizer(
        self, tiny_model: JOG3R, stdit: Path, tmp_path: Path
    ) -> None:
        from jog3r.config import to_plain
        from jog3r.weights_file import write_weights

        folder = tmp_path / "words"
        tiny_model.save_pretrained(folder)
        plain = to_plain(tiny_model.config) | dict.fromkeys(["autoencoder", "network", "schedule"])
        (folder / "config.json").write_text(json.dumps(plain))
        weights = tiny_model.text_encoder.state_dict()
        write_weights({f"text_encoder.{k}": v.clone() for k, v in weights.items()}, folder)
        fails(stdit, "caption_channels to be 16 .*, got 32", InputError, merge=[folder])

    def test_a_folder_that_is_none(self, stdit: Path) -> None:
        fails(stdit, "expected a model folder with config.json, got no such", merge=[stdit.parent])
        (stdit.parent / "config.json").write_text('{"num_heads": 3}')
        fails(stdit, "config.json: expected a jog3r config", merge=[stdit.parent])

    def test_a_text_encoder_needs_a_network_that_takes_text(self, vae_file: Path) -> None:
        says = r"text_encoder .*: expected a model with a backbone"
        fails(vae_file, says, InputError, text_encoder="x/t5", settings=GROUPS)

    @pytest.mark.parametrize(
        "source", ["/nope", "", "a/b/c", "../x", "a b", "file", "folder", "\0", "x" * 300]
    )
    def test_a_text_encoder_that_is_neither_folder_nor_hub_id(
        self, stdit: Path, source: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(stdit.parent)
        Path("file").touch()
        Path("folder").mkdir()
        Path("config.json").write_text('{"model_type": "t5"}')
        says = r"text_encoder .*: expected a folder with config.json or a hub id 'owner/name', got "
        fails(stdit, says + re.escape(reprlib.repr(source)), InputError, text_encoder=source)

    @pytest.mark.parametrize(("kind", "family"), [("clip_text_model", "clip"), ("t5", "t5")])
    def test_a_text_encoder_of_a_folder(self, stdit: Path, kind: str, family: str) -> None:
        folder = stdit.parent / "text"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": kind}))
        out = stdit.parent / "out"
        convert("auto", stdit, out, settings=STDIT, text_encoder=str(folder))
        config = JOG3R.from_pretrained(out).config.text_encoder
        assert isinstance(config, PretrainedTextEncoder.Config)
        assert (config.family, config.source) == (family, str(folder.resolve()))
        (folder / "config.json").write_text("[]")
        fails_out = {"settings": STDIT, "text_encoder": str(folder), "overwrite": True}
        with pytest.raises(FileError, match="expected the config of a text encoder"):
            convert("auto", stdit, out, **fails_out)

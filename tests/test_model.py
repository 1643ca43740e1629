"""A model's folder: what is written comes back, and wrong files give one clear error."""

import dataclasses
import json
import os
import shutil
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from jog3r.codecs.pretrained_text import PretrainedTextEncoder
from jog3r.codecs.text import word_tokenizer
from jog3r.config import from_plain, to_plain
from jog3r.errors import FileError, InputError, MissingPartError, SaveError
from jog3r.model import JOG3R
from jog3r.weights_file import find_model

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tiny_model: Any, tmp_path: Path) -> Path:
    tiny_model.save_pretrained(tmp_path / "model", dtype=torch.float32)
    return tmp_path / "model"


def test_round_trip(tiny_model: Any, folder: Path) -> None:
    again = JOG3R.from_pretrained(folder)
    for name, tensor in tiny_model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=0, atol=0)
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_half_precision_on_disk_only(tiny_model: Any, folder: Path) -> None:
    tiny_model.save_pretrained(folder, dtype=torch.float16)
    stored = load_file(folder / WEIGHTS)
    assert {t.dtype for t in stored.values()} == {torch.float16}
    assert JOG3R.from_pretrained(folder).autoencoder.scale.dtype == torch.float32


def test_summary_counts_every_parameter(tiny_model: Any) -> None:
    count = sum(p.numel() for p in tiny_model.parameters())
    assert f"{count / 1e6:.2f} M parameters" in tiny_model.summary()
    assert "block 2 of 3" in tiny_model.summary()


def truncated(folder: Path) -> None:
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes()[:-100])


def foreign(folder: Path) -> None:
    (folder / WEIGHTS).write_text("<html>not found</html>")


def lacking(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    state.pop("network.tap_norm.weight")
    save_file(state, folder / WEIGHTS)


def surplus(folder: Path) -> None:
    save_file({**load_file(folder / WEIGHTS), "extra": torch.zeros(1)}, folder / WEIGHTS)


def misshapen(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    state["network.tap_norm.weight"] = torch.zeros(7)
    save_file(state, folder / WEIGHTS)


def absent(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def unknown_key(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "colour": 1}))


def nested(folder: Path) -> None:
    (folder / "config.json").write_text('{"network": ' + 100_000 * "[")


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncated, "truncated or foreign"),
        (foreign, "got a web page"),
        (lacking, r"1 missing \['network\.tap_norm\.weight'\]"),
        (surplus, r"1 unknown \['extra'\]"),
        (misshapen, r"of shape \(32,\), got \(7,\)"),
        (absent, "expected a weights file, got nothing"),
        (unknown_key, "colour"),
        (nested, "expected a jog3r config, got something else"),
        (no_config, "expected a model folder"),
        (no_tokenizer, "expected a tokenizer file"),
    ],
)
def test_wrong_files(folder: Path, spoil: Any, message: str) -> None:
    spoil(folder)
    with pytest.raises(FileError, match=message) as caught:
        JOG3R.from_pretrained(folder)
    assert str(folder) in str(caught.value) or "config" in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", WEIGHTS])
@pytest.mark.parametrize("cut", [0.0, 0.5])
def test_half_a_file(folder: Path, name: str, cut: float) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(cut * len(content))])
    with pytest.raises(
        FileError, match=rf"{name}: expected .* got (something else|a truncated|an empty)"
    ):
        JOG3R.from_pretrained(folder)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("network", {"backbone": "unet"}),
        ("network", {"backbone_config": {"num_heads": 5}}),
        ("network", {"backbone_config": {"hidden_size": "wide"}}),
        ("network", {"backbone_config": {"num_heads": -1}}),
        ("network", {"tap": 4}),
        ("autoencoder", {"norm_groups": 3}),
    ],
)
def test_values_that_make_no_model(folder: Path, part: str, value: Any, as_a_user: None) -> None:
    config = json.loads((folder / "config.json").read_text())
    config[part] |= value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(FileError, match=r"config\.json: expected values that make a model"):
        JOG3R.from_pretrained(folder)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("text_encoder", "layers", "x"),
        ("schedule", "steps", 10),
        ("network", "tap", "middle"),
        ("autoencoder", "block_out_channels", 8),
    ],
)
def test_values_that_make_no_config(
    folder: Path, part: str, key: str, value: Any, as_a_user: None
) -> None:
    config = json.loads((folder / "config.json").read_text())
    config[part][key] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(FileError, match=rf"config\.json: expected a jog3r config, .*{key}"):
        JOG3R.from_pretrained(folder)


@pytest.mark.parametrize(
    ("size", "changed", "message"),
    [
        ((18, 16), {}, r"image_size: expected multiples of network\.patch, 4 px"),
        ((16, 16), {"in_channels": 4}, "in_channels to be 3"),
        ((16, 16), {"caption_channels": 8}, "caption_channels to be 16"),
        ((16, 16), {"patch_size": (1, 1, 1)}, r"to be \(1, 4, 4\) .* got \(1, 2, 2\)"),
        ((16, 16), {"patch_size": (2, 2, 2)}, r"to be \(1, 4, 4\) .* got \(2, 4, 4\)"),
    ],
)
def test_parts_that_do_not_fit(
    tiny_model: Any, size: tuple[int, int], changed: dict[str, Any], message: str
) -> None:
    config = tiny_model.config
    backbone = config.network.backbone_config | changed
    network = dataclasses.replace(config.network, backbone_config=backbone)
    config = dataclasses.replace(config, image_size=size, network=network)
    with pytest.raises(InputError, match=message):
        JOG3R(config, tiny_model.text_encoder.tokenizer)


class TestHub:
    def test_what_is_pushed_is_a_whole_model(
        self, tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from huggingface_hub import HfApi

        def create(self: Any, repo_id: str, **_: Any) -> Any:
            return types.SimpleNamespace(repo_id=repo_id)

        def upload(self: Any, *, folder_path: Path, **options: Any) -> str:
            shutil.copytree(folder_path, tmp_path / "hub")
            return f"{options['repo_id']}: {options['commit_message']}"

        monkeypatch.setattr(HfApi, "create_repo", create)
        monkeypatch.setattr(HfApi, "upload_folder", upload)
        model = JOG3R(
            dataclasses.replace(tiny_model.config, licence="CC-BY-NC-SA-4.0"),
            tiny_model.text_encoder.tokenizer,
        )
        assert model.push_to_hub("someone/model", commit_message="first") == "someone/model: first"
        again = JOG3R.from_pretrained(tmp_path / "hub")
        for name, tensor in model.state_dict().items():
            assert torch.equal(again.state_dict()[name], tensor), name
        card = (tmp_path / "hub" / "README.md").read_text()
        assert "license: cc-by-nc-sa-4.0" in card
        assert "Not for commercial use" in card

    def test_downloads_take_the_hubs_options(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import huggingface_hub

        asked: dict[str, Any] = {}

        def download(hub_id: str, **options: Any) -> str:
            asked.update(options, hub_id=hub_id)
            return str(folder)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        JOG3R.from_pretrained("someone/model", revision="v1", local_files_only=True)
        assert asked["hub_id"] == "someone/model"
        assert (asked["revision"], asked["local_files_only"]) == ("v1", True)
        assert "model-*-of-*.safetensors" in asked["allow_patterns"]

    def test_a_card_that_is_there_stays(self, tiny_model: Any, tmp_path: Path) -> None:
        (tmp_path / "README.md").write_text("mine")
        tiny_model.save_pretrained(tmp_path)
        assert (tmp_path / "README.md").read_text() == "mine"

    @pytest.mark.parametrize("option", ["config", "model_card_kwargs"])
    def test_options_without_a_choice(self, tiny_model: Any, tmp_path: Path, option: str) -> None:
        with pytest.raises(InputError, match="config, model_card_kwargs: expected None"):
            tiny_model.save_pretrained(tmp_path, **{option: {"tap": 1}})


def test_weights_in_shards_come_back(tiny_model: Any, tmp_path: Path) -> None:
    tiny_model.save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 1
    again = JOG3R.from_pretrained(tmp_path)
    for name, tensor in tiny_model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    again.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("model-*-of-*.safetensors"))


def test_prompts_longer_than_the_null_text(tiny_model: Any) -> None:
    text = PretrainedTextEncoder.Config(width=16, max_tokens=200)
    config = dataclasses.replace(tiny_model.config, text_encoder=text)
    with pytest.raises(InputError, match=r"text_encoder\.max_tokens: expected at most 120"):
        JOG3R(config)


class TestMissingParts:
    @pytest.mark.parametrize("part", ["autoencoder", "text_encoder", "network", "schedule"])
    def test_what_is_there_loads_and_what_is_not_says_so(
        self, tiny_model: Any, tmp_path: Path, part: str
    ) -> None:
        config = dataclasses.replace(tiny_model.config, **{part: None})
        model = JOG3R(config, tiny_model.text_encoder.tokenizer)
        state = tiny_model.state_dict()
        model.load_state_dict({k: v for k, v in state.items() if not k.startswith(f"{part}.")})
        model.save_pretrained(tmp_path, dtype=torch.float32)
        again = JOG3R.from_pretrained(tmp_path)
        assert not hasattr(again, part)
        assert json.dumps(to_plain(again.config)) == json.dumps(to_plain(config))
        assert again.state_dict().keys() == model.state_dict().keys()
        for other in {"autoencoder", "text_encoder", "network", "schedule"} - {part}:
            assert getattr(again, other) is not None
        assert "M parameters" in again.summary()
        with pytest.raises(MissingPartError, match=f"^{part}: expected a model with this part"):
            getattr(again, part)
        if part != "text_encoder":
            with pytest.raises(InputError, match=f"^{part}: expected a"):
                again.generate("a red cube", progress=False)

    def test_other_attributes_are_missing_as_ever(self, tiny_model: Any) -> None:
        with pytest.raises(AttributeError, match="'JOG3R' object has no attribute 'colour'"):
            _ = tiny_model.colour


def missing_in(wanted: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Give what differs; the found may have more keys, of versions after the file was written."""
    return {
        key: value
        for key, value in wanted.items()
        if (missing_in(value, found[key]) if isinstance(value, dict) else found[key] != value)
    }


def test_the_config_that_ships_makes_a_model() -> None:
    plain = json.loads((find_model("tiny") / "config.json").read_text())
    config = from_plain(JOG3R.Config, plain)
    assert missing_in(plain, json.loads(json.dumps(to_plain(config)))) == {}
    JOG3R(config, word_tokenizer(["red"]))


def test_a_full_disk_leaves_no_new_folder(
    tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SaveError, match="No space left"):
        tiny_model.save_pretrained(tmp_path / "new" / "model")
    assert not list(tmp_path.iterdir())


def test_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="check the path"):
        JOG3R.from_pretrained(tmp_path / "nothing")


@pytest.mark.parametrize("device", ["abacus", "meta", torch.device("meta"), True, [1], 0])
def test_no_such_device(folder: Path, device: Any, as_a_user: None) -> None:
    with pytest.raises(InputError, match="device: expected one that torch can use"):
        JOG3R.from_pretrained(folder, device=device)


@pytest.mark.parametrize("name", [5, b"tiny", ["tiny"], True, None])
def test_no_name(name: Any, as_a_user: None) -> None:
    with pytest.raises(InputError, match="model: expected a name or a folder, got"):
        JOG3R.from_pretrained(name)


@pytest.mark.parametrize("dtype", ["float16", torch.int8, torch.float8_e4m3fn])
def test_dtypes_that_lose_the_weights(
    tiny_model: Any, tmp_path: Path, dtype: Any, as_a_user: None
) -> None:
    with pytest.raises(InputError, match=r"dtype: expected one of .*torch\.float16"):
        tiny_model.save_pretrained(tmp_path / "model", dtype=dtype)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_model(
    tiny_model: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import jog3r.model

    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def full(*_: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jog3r.model, "write_weights", full)
    with pytest.raises(SaveError, match="No space left"):
        tiny_model.save_pretrained(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before

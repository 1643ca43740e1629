"""`jog3r convert` and `jog3r info` on what it makes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from jog3r.cli import main
from jog3r.cli.convert import read_settings
from jog3r.errors import InputError
from tests.conversion.references import randomised

Parity = Callable[[str], Path]
HEADS = ["--set", "encoder_heads=3", "decoder_heads=2"]


@pytest.fixture
def dust3r(parity: Parity, tmp_path: Path) -> Path:
    """Write a checkpoint as DUSt3R's are published: weights next to options."""
    from argparse import Namespace

    weights = load_file(parity("dust3r") / "weights.safetensors")
    file = tmp_path / "dust3r.pth"
    torch.save({"model": weights, "args": Namespace(model="Net(img_size=(48, 64))")}, file)
    return file


def test_from_words_to_a_folder(
    dust3r: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["convert", "auto", str(dust3r), str(out), *HEADS, "--dtype", "float16"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{out}\n")
    assert "DUSt3R" in told
    assert "dust3r.pth, in it model" in told
    assert "CC-BY-NC-SA-4.0. Not for commercial use." in told

    assert main(["info", str(out)]) == 0
    told = capsys.readouterr().out
    rows = dict(line.split(maxsplit=1) for line in told.splitlines())
    assert rows["classes"] == "DUSt3R"
    assert rows["V2C"] == "yes: jog3r reconstruct"
    assert rows["T2V"] == rows["T2V+C"] == "no: lacks video backbone"
    assert "48x64 px" in told
    assert rows["weights"].endswith("0.6 MB: model.safetensors")
    assert "float16" in told
    assert rows["WARNING"].startswith("Not for commercial use.")


def test_parts_are_joined(
    parity: Parity, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vae, out = tmp_path / "vae", tmp_path / "out"
    codec, backbone = (parity(name) / "weights.safetensors" for name in ("opensora_vae", "stdit3"))
    groups = ["--set", "spatial.norm_groups=4", "temporal.groups=4"]
    assert main(["convert", "opensora-1.2-vae", str(codec), str(vae), *groups]) == 0
    words = ["--with", str(vae), "--text-encoder", "google/t5-v1_1-xxl"]
    size = ["--set", "image_size=[32,32]", "num_frames=17"]
    assert main(["convert", "opensora-1.2", str(backbone), str(out), *words, *size]) == 0
    capsys.readouterr()
    assert main(["info", str(out)]) == 0
    told = capsys.readouterr().out
    assert "classes        VideoAutoencoder, PretrainedTextEncoder, StitchedModel of STDiT3" in told
    assert "T2V            yes: jog3r generate" in told
    assert "V2C            no: lacks pointmap head" in told


def test_a_model_without_words(
    parity: Parity, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vae, out = tmp_path / "vae", tmp_path / "out"
    codec, backbone = (parity(name) / "weights.safetensors" for name in ("opensora_vae", "stdit3"))
    groups = ["--set", "spatial.norm_groups=4", "temporal.groups=4"]
    assert main(["convert", "opensora-1.2-vae", str(codec), str(vae), *groups]) == 0
    size = ["--set", "image_size=[32,32]", "num_frames=17"]
    words = ["convert", "opensora-1.2", str(backbone), str(out), *size]
    assert main([*words, "--with", str(vae)]) == 0
    assert main(["info", str(out)]) == 0
    told = capsys.readouterr().out
    assert "T2V            yes: with TextFeatures in Python; prompts of words lack a text" in told
    assert "V2C            no: lacks pointmap head" in told
    assert main([*words, "--overwrite"]) == 0
    assert main(["info", str(out)]) == 0
    assert "T2V            no: lacks autoencoder, text encoder" in capsys.readouterr().out


def test_what_is_left_out_is_told(
    dust3r: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from jog3r.codecs.autoencoder import FrameAutoencoder

    config = FrameAutoencoder.Config(block_out_channels=(32, 32), norm_groups=32)
    state = {f"vae.{name}": tensor for name, tensor in randomised(config.build().vae).items()}
    state |= {f"unet.{i}": torch.ones(1) for i in range(5)}
    save_file(state, tmp_path / "w.safetensors")
    out = tmp_path / "out"
    assert main(["convert", "sd-vae", str(tmp_path / "w.safetensors"), str(out)]) == 0
    told = capsys.readouterr().out
    assert "5 tensors of something else: unet.0, unet.1, unet.2, ..." in told
    assert main(["info", str(out)]) == 0
    told = capsys.readouterr().out
    assert "no: lacks text encoder, network, schedule" in told
    assert "WARNING" not in told


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<html>404</html>", "a web page saved under its name"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        (b"", "an empty file"),
        (b"PK\x03\x04", "a truncated or foreign one"),
    ],
)
def test_a_wrong_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, says: str
) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    assert main(["convert", "auto", str(file), str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"jog3r: error: {file}: expected a checkpoint, got {says}")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_heads_have_to_be_told(
    dust3r: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", "auto", str(dust3r), str(tmp_path / "out")]) == 2
    assert "add --set encoder_heads=NUMBER" in capsys.readouterr().err


class TestSettings:
    def test_values_are_json_or_text(self) -> None:
        words = ["a=3", "b=[1, 2]", "c.d=x", "c.e=true", "f=", "g=a=b", 'h="3"']
        assert read_settings(words) == {
            "a": 3,
            "b": [1, 2],
            "c": {"d": "x", "e": True},
            "f": "",
            "g": "a=b",
            "h": "3",
        }

    def test_long_words_are_cut(self) -> None:
        with pytest.raises(InputError) as caught:
            read_settings(["x" * 9999])
        assert len(str(caught.value)) < 200

    @pytest.mark.parametrize("words", [["a"], ["=3"], ["a.=3"], [".a=3"], ["a=3", "a.b=4"], [""]])
    def test_other_words_raise(self, words: list[str]) -> None:
        with pytest.raises(InputError, match="--set: expected KEY=VALUE, got"):
            read_settings(words)


class TestInfo:
    def test_a_model_is_not_loaded(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import jog3r.weights_file

        def refused(*args: object) -> None:
            raise AssertionError("values were read")

        monkeypatch.setattr(jog3r.weights_file, "tensors", refused)
        assert main(["info", "tiny"]) == 0
        rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
        assert rows["classes"] == "FrameAutoencoder, TextEncoder, StitchedModel of STDiT"
        assert all(rows[route].startswith("yes") for route in ("T2V", "V2C", "T2V+C"))
        assert "1 file, 19.7 MB: model.safetensors" in rows["weights"]

    def test_damaged_folders(
        self, dust3r: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out"
        main(["convert", "auto", str(dust3r), str(out), *HEADS])
        capsys.readouterr()
        weights, config = out / "model.safetensors", out / "config.json"
        content, plain = weights.read_bytes(), config.read_text()
        config.write_text(plain.replace('"decoder_depth": 4', '"decoder_depth": 3'))
        assert main(["info", str(out)]) == 1
        assert "unknown ['network.dec_blocks.3." in capsys.readouterr().err
        config.write_text(plain.replace('"patch": 16', '"patch": "x"'))
        assert main(["info", str(out)]) == 1
        config.write_text(plain)
        weights.write_bytes(content[:-1])
        assert main(["info", str(out)]) == 1
        assert "a truncated or foreign one" in capsys.readouterr().err
        weights.unlink()
        assert main(["info", str(out)]) == 1
        assert "expected a weights file, got nothing" in capsys.readouterr().err

    def test_a_config_that_makes_no_model(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from jog3r.weights_file import find_model

        plain = (find_model("tiny") / "config.json").read_text()
        (tmp_path / "config.json").write_text(plain.replace('"norm_groups": 1', '"norm_groups": 3'))
        (tmp_path / "tokenizer.json").write_bytes(
            (find_model("tiny") / "tokenizer.json").read_bytes()
        )
        assert main(["info", str(tmp_path)]) == 1
        assert "config.json: expected values that make a model" in capsys.readouterr().err

    def test_words_of_a_model_without(
        self, dust3r: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        main(["convert", "auto", str(dust3r), str(tmp_path / "out"), *HEADS])
        assert main(["info", str(tmp_path / "out"), "--words"]) == 2
        assert "--words: expected a model with a vocabulary" in capsys.readouterr().err

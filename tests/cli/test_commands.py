"""The commands on a small model with random weights: from words to files."""

from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from jog3r.cli import main
from jog3r.codecs.text import word_tokenizer
from jog3r.config import from_plain
from jog3r.data.world.captions import vocabulary
from jog3r.errors import AlignmentError
from jog3r.export.cameras import write_cameras
from jog3r.geometry.intrinsics import intrinsics_from_fov
from jog3r.model import JOG3R
from jog3r.results import Cameras, Generation, Reconstruction
from jog3r.routes import text_to_video_and_cameras

RECIPE = Path(__file__).parents[2] / "recipes" / "tiny.yaml"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Save the recipe's model with fewer blocks and return its folder."""
    recipe = yaml.safe_load(RECIPE.read_text())
    plain = recipe["stages"]["joint"]["model"]["init_args"]["model"]
    plain["network"] |= {"tap": 1, "decoder_depth": 1}
    plain["network"]["backbone_config"]["depth"] = 2
    torch.manual_seed(0)
    fresh = JOG3R(from_plain(JOG3R.Config, plain), word_tokenizer(vocabulary()))
    folder = tmp_path_factory.mktemp("model")
    fresh.save_pretrained(folder)
    return str(folder)


def test_generate_saves_one_folder_per_seed(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["generate", "a red zebra", "--steps", "2", "--frames", "3", "--no-progress"]
    out = tmp_path / "both"
    assert main([*line, "--model", model, "--seed", "1", "2", "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert "zebra" in told.err
    assert told.out.count("video.mp4") == 2
    assert sorted(folder.name for folder in out.iterdir()) == ["seed-1", "seed-2"]

    alone = tmp_path / "alone"
    assert main([*line, "--model", model, "--seed", "2", "--out", str(alone)]) == 0
    first, second, again = (
        Generation.load(folder) for folder in (out / "seed-1", out / "seed-2", alone)
    )
    assert len(second.video) == 3
    assert second.seed == 2
    assert torch.equal(second.video.frames, again.video.frames)
    assert not torch.equal(first.video.frames, second.video.frames)


def test_generate_saves_the_video_where_cameras_fail(
    model: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*args: object, **options: object) -> None:
        raise AlignmentError("video: expected a clip, got fog; try another")

    monkeypatch.setattr(text_to_video_and_cameras, "align_pointmaps", fails)
    line = ["generate", "a red cone", "--cameras", "--steps", "10", "--frames", "2"]
    out = tmp_path / "out"
    assert main([*line, "--model", model, "--no-progress", "--out", str(out)]) == 2
    told = capsys.readouterr()
    assert "video.mp4" in told.out
    assert "seed 0: video: expected a clip, got fog" in told.err
    assert Generation.load(out).reconstruction is None


def test_generate_names_its_folder_after_the_prompt(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["generate", "A red cone!", "--steps", "2", "--frames", "2", "--no-progress"]
    assert main([*line, "--model", model]) == 0
    assert Generation.load(tmp_path / "outputs" / "a-red-cone").prompt == "A red cone!"
    # Taken now, and free again with --overwrite.
    assert main([*line, "--model", model]) == 2
    assert main([*line, "--model", model, "--overwrite"]) == 0


def test_a_prompt_of_unknown_words_leaves_nothing(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["generate", "zebra crossing", "--model", model, "--out", str(out)]) == 2
    assert "zebra" in capsys.readouterr().err
    assert not out.exists()


def test_info_tells_parts_and_words(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", model]) == 0
    short = capsys.readouterr().out
    assert "backbone" in short
    assert "Apache-2.0" in short
    assert main(["info", model, "--words"]) == 0
    long = capsys.readouterr().out
    assert long.startswith(short)
    assert set(long.rpartition("words:")[2].split()) == set(vocabulary()) - {","}


def test_info_tells_what_a_recipe_trains(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = str(Path(__file__).resolve().parents[2] / "recipes" / "jog3r_opensora10.yaml")
    assert main(["info", recipe]) == 0
    table = capsys.readouterr().out
    assert "blocks.{4-27}.attn_temp.qkv" in table
    assert "trained 243.4 M of 959.2 M" in table
    assert main(["info", recipe, "--words"]) == 2
    assert main(["info", "nothing.yaml"]) == 1
    assert "recipe: expected a YAML file" in capsys.readouterr().err


def test_reconstruct_keeps_to_frames_and_camera(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    noise = torch.Generator().manual_seed(0)
    for index in range(6):
        pixels = torch.randint(0, 255, (48, 64, 3), dtype=torch.uint8, generator=noise)
        Image.fromarray(pixels.numpy()).save(photos / f"{index}.png")
    line = ["reconstruct", str(photos), "--model", model, "--no-progress"]
    known = ["--fov-deg", "60", "--stride", "2", "--max-frames", "2", "--static-camera", "0.1"]
    assert main([*line, *known, "--out", str(out)]) == 0
    assert "cameras.txt" in capsys.readouterr().out
    scene = Reconstruction.load(out)
    assert scene.video.frames.shape == (2, 48, 64, 3)
    torch.testing.assert_close(scene.cameras.K[1], intrinsics_from_fov(60.0, (48, 64)))


def test_reconstruct_takes_what_is_known(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = torch.Generator().manual_seed(0)
    for name, high in (("photos", 256), ("masks", 1)):
        (tmp_path / name).mkdir()
        for index in range(3):
            pixels = torch.randint(0, high, (48, 64, 3), dtype=torch.uint8, generator=noise)
            if name == "masks":
                pixels[:, 12:] = 255
            Image.fromarray(pixels.numpy()).save(tmp_path / name / f"{index}.png")
    cameras = torch.eye(4).repeat(3, 1, 1)
    cameras[:, 0, 3] = torch.arange(3.0)
    K = intrinsics_from_fov(60.0, (48, 64)).repeat(3, 1, 1)
    Cameras(cameras, K, (48, 64)).save(tmp_path / "cameras.txt", "realestate10k")
    line = ["reconstruct", str(tmp_path / "photos"), "--model", model, "--no-progress"]
    line += ["--cameras", str(tmp_path / "cameras.txt"), "--masks", str(tmp_path / "masks")]
    out = tmp_path / "out"
    assert main([*line, "--graph", "complete", "--refine", "none", "--out", str(out)]) == 0
    scene = Reconstruction.load(out)
    assert scene.scale == "given-poses"
    torch.testing.assert_close(scene.cameras.world_from_camera, cameras)
    assert scene.mask is not None
    assert not scene.mask[:, :, :12].any()
    assert scene.mask[:, :, 12:].all()
    told = capsys.readouterr().out
    assert all(f"note: {flag}" in told for flag in scene.flags)
    line += ["--out", str(tmp_path / "none")]
    assert main([*line, "--graph", "ring"]) == 2
    assert "graph: expected star" in capsys.readouterr().err
    assert main([*line, "--method", "sfm"]) == 2
    assert "method: expected" in capsys.readouterr().err


def test_one_single_photo_is_refused(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "only.png")
    out = tmp_path / "out"
    assert main(["reconstruct", str(tmp_path), "--model", model, "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith("jog3r: error: ")
    assert not out.exists()


@pytest.mark.parametrize("names", [None, "photos", "other"])
def test_reconstruct_pairs_known_cameras_with_the_frames_it_keeps(
    model: str, tmp_path: Path, names: str | None
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    noise = torch.Generator().manual_seed(0)
    for index in range(5):
        pixels = torch.randint(0, 255, (48, 64, 3), dtype=torch.uint8, generator=noise)
        Image.fromarray(pixels.numpy()).save(photos / f"{index}.png")
    path = torch.eye(4).repeat(5, 1, 1)
    path[:, 0, 3] = torch.arange(5.0)
    order = torch.arange(5)
    files = None
    if names == "photos":  # the file's order is its own
        order = torch.tensor([3, 0, 4, 1, 2])
        files = [f"elsewhere/{index}.png" for index in order.tolist()]
    elif names == "other":  # say nothing about these photos
        files = [f"frames/000{index}.png" for index in range(5)]
    K = intrinsics_from_fov(60.0, (48, 64)).repeat(5, 1, 1)
    write_cameras(tmp_path / "cameras", Cameras(path[order], K, (48, 64)), "json", files=files)
    line = ["reconstruct", str(photos), "--model", model, "--no-progress", "--refine", "none"]
    line += ["--cameras", str(tmp_path / "cameras"), "--stride", "2", "--max-frames", "2"]
    assert main([*line, "--out", str(tmp_path / "out")]) == 0
    found = Reconstruction.load(tmp_path / "out").cameras.world_from_camera
    torch.testing.assert_close(found, path[[0, 2]])


def test_reconstruct_wants_the_lens_of_known_cameras(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "photos" / "0.png")
    (tmp_path / "path.txt").write_text("0 0 0 0 0 0 0 1\n1 1 0 0 0 0 0 1\n")
    line = ["reconstruct", str(tmp_path / "photos"), "--model", model, "--no-progress"]
    line += ["--cameras", str(tmp_path / "path.txt"), "--out", str(tmp_path / "out")]
    assert main(line) == 2
    assert "--cameras: expected cameras with their lens, got tum" in capsys.readouterr().err


def test_reconstruct_wants_the_camera_of_every_photo(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    for index in range(3):
        pixels = Image.fromarray(torch.zeros(48, 64, 3, dtype=torch.uint8).numpy())
        pixels.save(tmp_path / "photos" / f"{index}.png")
    K = intrinsics_from_fov(60.0, (48, 64)).repeat(3, 1, 1)
    cameras = Cameras(torch.eye(4).repeat(3, 1, 1), K, (48, 64))
    write_cameras(tmp_path / "cameras", cameras, "json", files=["0.png", "1.png", "7.png"])
    line = ["reconstruct", str(tmp_path / "photos"), "--model", model, "--no-progress"]
    line += ["--cameras", str(tmp_path / "cameras"), "--out", str(tmp_path / "out")]
    assert main(line) == 2
    assert "--cameras: expected the camera of every image, got none of 2.png" in (
        capsys.readouterr().err
    )

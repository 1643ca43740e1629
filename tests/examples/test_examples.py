"""Every lesson runs as its first lines say, in a folder of its own, and leaves what it promises."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent
LESSONS = sorted((REPOSITORY / "examples").glob("*.py"))


def run(lesson: str, out: Path, *options: str) -> str:
    """Run a lesson and return what it printed."""
    done = subprocess.run(
        [sys.executable, REPOSITORY / "examples" / lesson, "--out", out, *options],
        cwd=out.parent,
        env=os.environ | {"GOMP_SPINCOUNT": "0"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_lesson_is_one_page(lesson: Path) -> None:
    text = lesson.read_text("utf-8")
    assert len(text.splitlines()) <= 80
    told = ast.get_docstring(ast.parse(text)) or ""
    assert f"python examples/{lesson.name}" in told
    assert "What to take home" in told


def test_lessons_are_numbered() -> None:
    assert [lesson.name[:3] for lesson in LESSONS] == ["01_", "02_", "03_", "04_"]


def test_generate(tmp_path: Path) -> None:
    out = tmp_path / "lesson"
    printed = run("01_generate.py", out, "--steps", "10", "--frames", "2")
    assert "step 9, timestep 99" in printed
    assert (out / "video.mp4").is_file()
    assert (out / "with_cameras" / "overview.png").is_file()


def test_reconstruct(tmp_path: Path) -> None:
    out = tmp_path / "lesson"
    printed = run("02_reconstruct.py", out, "--max-frames", "3")
    assert "with known K:" in printed
    assert (out / "scene" / "scene.glb").is_file()


def test_train_tiny(tmp_path: Path) -> None:
    out = tmp_path / "lesson"
    printed = run("03_train_tiny.py", out, "--steps", "1", "--batch", "16")
    assert "stage autoencoder" in printed
    assert "stage more_scenes" in printed
    assert (out / "model" / "model.safetensors").is_file()
    assert str(out / "more_scenes_samples") in printed.partition("open ")[2]


def test_export(tmp_path: Path) -> None:
    out = tmp_path / "lesson"
    printed = run("04_export.py", out, "--size", "32", "--frames", "2")
    assert "realestate10k: largest error 0.0e+00" in printed
    assert (out / "for_3dgs/sparse/0/points3D.ply").is_file()
    assert (out / "scene" / "overview.png").is_file()

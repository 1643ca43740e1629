"""The packaged model on the packaged photographs: what random weights cannot show."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import jog3r
from jog3r.alignment import Regularisers
from jog3r.cli import main
from jog3r.data.media import read_video
from jog3r.export.cameras_json import read_cameras_json
from jog3r.metrics import relative_pose_errors
from jog3r.model import JOG3R
from jog3r.results import Cameras, Reconstruction

PACKAGE = Path(jog3r.__file__).parent
pytestmark = pytest.mark.skipif(
    not (PACKAGE / "weights" / "tiny").is_dir(), reason="tiny: its weights are not in this checkout"
)


@pytest.fixture(scope="module")
def model() -> JOG3R:
    return JOG3R.from_pretrained("tiny")


@pytest.fixture(scope="module")
def clip() -> tuple[Tensor, Cameras]:
    """Return the frames and their true cameras."""
    folder = PACKAGE / "assets" / "real_clip"
    content = read_cameras_json(folder / "cameras.json")
    frames = [read_video(folder / file).frames for file in content.files if file]
    return torch.cat(frames), content.cameras


def test_bundle_adjustment_works_from_the_models_start(
    model: JOG3R, clip: tuple[Tensor, Cameras]
) -> None:
    frames, truth = clip

    def errors(refine: str | None) -> Any:
        scene = model.reconstruct(frames, K=truth.K[0], refine=refine, progress=False)
        return relative_pose_errors(scene.cameras.world_from_camera, truth.world_from_camera)

    start, bundled = errors(None), errors("bundle")
    assert float(start.rotation_deg.median()) > 3.0
    assert float(bundled.rotation_deg.median()) < 1.0
    assert bundled.rta(5) > 0.9


class TestFocalLengths:
    def focals(self, model: JOG3R, clip: tuple[Tensor, Cameras], **options: Any) -> Tensor:
        # Every frame has own pointmaps in a complete graph, so each can tell its focal length.
        options |= {"graph": "complete", "refine": None, "progress": False}
        return model.reconstruct(clip[0][:4], **options).cameras.K[:, 0, 0]

    def test_one_for_all_or_one_each(self, model: JOG3R, clip: tuple[Tensor, Cameras]) -> None:
        one = self.focals(model, clip)
        each = self.focals(model, clip, shared_focal=False, regularisers=Regularisers.off())
        assert len(one.unique()) == 1
        assert len(each.unique()) == 4

    def test_smoothness_brings_them_together(
        self, model: JOG3R, clip: tuple[Tensor, Cameras]
    ) -> None:
        free, even = (
            self.focals(
                model, clip, shared_focal=False, regularisers=Regularisers(focal_smoothness=weight)
            )
            for weight in (0.0, 1e5)
        )
        assert even.std() < 0.1 * free.std()

    def test_on_the_command_line(self, tmp_path: Path) -> None:
        line = ["reconstruct", str(PACKAGE / "assets" / "real_clip"), "--max-frames", "3"]
        line += ["--graph", "complete", "--refine", "none", "--no-progress", "--focal-per-frame"]
        assert main([*line, "--out", str(tmp_path / "out")]) == 0
        K = Reconstruction.load(tmp_path / "out").cameras.K
        assert len(K[:, 0, 0].unique()) == 3

    def test_windows_take_them_too(self, model: JOG3R, clip: tuple[Tensor, Cameras]) -> None:
        one = self.focals(model, clip, window=3)
        each = self.focals(model, clip, window=3, shared_focal=False)
        assert one.std() < 1e-3 * one.mean()
        assert each.std() > 1e-3 * each.mean()

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from jog3r.alignment import star
from jog3r.errors import FileError, InputError
from jog3r.geometry import intrinsics_from_fov
from jog3r.model import JOG3R
from jog3r.results import Video
from jog3r.routes.pointmaps import token_pointmaps, video_tokens

# Untrained weights give pointmaps that call for no focal length.
K = torch.tensor([[30.0, 0.0, 20.0], [0.0, 30.0, 12.0], [0.0, 0.0, 1.0]])


@pytest.fixture
def model(tiny_model: JOG3R) -> JOG3R:
    return tiny_model


@pytest.fixture
def frames(generator: torch.Generator) -> Tensor:
    """Three frames of 24x40 px: wider than the model's squares, and larger."""
    return torch.randint(0, 256, (3, 24, 40, 3), dtype=torch.uint8, generator=generator)


def reconstruct(model: JOG3R, source: Any, **options: Any) -> Any:
    return model.reconstruct(source, **{"K": K, "progress": False} | options)


class TestResult:
    def test_it_is_in_the_pixels_of_the_input(self, model: JOG3R, frames: Tensor) -> None:
        scene = reconstruct(model, frames)
        assert torch.equal(scene.video.frames, frames)
        assert scene.cameras.image_size == (24, 40)
        assert scene.depth.shape == scene.confidence.shape == (3, 24, 40)
        assert scene.scale == "relative"
        torch.testing.assert_close(scene.cameras.world_from_camera[0], torch.eye(4))
        # The centre crop has cut off eight columns at either side.
        assert (scene.depth[..., :8] == 0).all()
        assert (scene.depth[..., 32:] == 0).all()
        assert (scene.depth[..., 8:32] > 0).any()

    def test_known_intrinsics_come_back(self, model: JOG3R, frames: Tensor) -> None:
        known = intrinsics_from_fov(50.0, (24, 40))
        known[0, 2] += 1.5
        for given in (known, known.numpy(), known.expand(3, 3, 3)):
            scene = reconstruct(model, frames, K=given)
            expected = known.expand(3, 3, 3)
            torch.testing.assert_close(scene.cameras.K, expected, atol=1e-4, rtol=1e-5)

    def test_every_form_of_the_same_clip(
        self, model: JOG3R, frames: Tensor, tmp_path: Path
    ) -> None:
        for i, frame in enumerate(frames.numpy()):
            Image.fromarray(frame).save(tmp_path / f"{i}.png")
        scene = reconstruct(model, frames)
        clip = Video(frames, scene.video.fps)
        for source in (frames.numpy(), clip, clip.tensor(), tmp_path, str(tmp_path)):
            assert reconstruct(model, source) == scene

    def test_the_seed_decides_the_noise(self, model: JOG3R, frames: Tensor) -> None:
        first = reconstruct(model, frames, seed=1)
        assert first == reconstruct(model, frames, seed=1)
        assert first.depth.ne(reconstruct(model, frames, seed=2).depth).any()

    def test_stride_and_max_frames(self, model: JOG3R, frames: Tensor) -> None:
        long = torch.cat([frames, frames.flip(0)])
        scene = reconstruct(model, long, stride=2, max_frames=2)
        assert torch.equal(scene.video.frames, long[[0, 2]])

    def test_regularisers_matter(self, model: JOG3R, frames: Tensor) -> None:
        from jog3r.alignment import Regularisers

        free = reconstruct(model, frames, regularisers=Regularisers.off(), refine=None)
        stiff = reconstruct(
            model, frames, regularisers=Regularisers(static_camera=1e4), refine=None
        )
        lengths = [
            float(scene.cameras.world_from_camera[:, :3, 3].diff(dim=0).norm())
            / float(scene.depth[0, :, 8:32].median())
            for scene in (free, stiff)
        ]
        assert lengths[1] < lengths[0]

    def test_refinement_moves_cameras_only(self, model: JOG3R, frames: Tensor) -> None:
        plain, refined = reconstruct(model, frames, refine=None), reconstruct(model, frames)
        assert torch.equal(plain.depth, refined.depth)
        assert torch.equal(plain.cameras.K, refined.cameras.K)
        moved = plain.cameras.world_from_camera - refined.cameras.world_from_camera
        assert moved.abs().max() > 1e-4

    def test_an_unknown_refinement(self, model: JOG3R, frames: Tensor) -> None:
        with pytest.raises(InputError, match="refine: expected one of"):
            reconstruct(model, frames, refine="bundled")

    def test_the_progress_bar_can_be_switched_off(
        self, model: JOG3R, frames: Tensor, capsys: pytest.CaptureFixture[str]
    ) -> None:
        reconstruct(model, frames)
        assert not capsys.readouterr().err
        reconstruct(model, frames, progress=True)
        assert "reconstructing: 100%" in capsys.readouterr().err


class TestWhatIsKnown:
    def test_cameras_stay_and_give_the_unit(self, model: JOG3R, frames: Tensor) -> None:
        cameras = torch.eye(4).repeat(3, 1, 1)
        cameras[:, 0, 3] = torch.tensor([5.0, 6.0, 8.0])
        for given in (cameras, cameras.numpy(), dict(enumerate(cameras))):
            scene = reconstruct(model, frames, cameras=given)
            torch.testing.assert_close(scene.cameras.world_from_camera, cameras)
            assert scene.scale == "given-poses"

    def test_bundle_adjustment_would_move_them(self, model: JOG3R, frames: Tensor) -> None:
        with pytest.raises(InputError, match='beside known cameras, got "bundle"'):
            reconstruct(model, frames, cameras={0: torch.eye(4)}, refine="bundle")

    def test_some_cameras(self, model: JOG3R, frames: Tensor) -> None:
        first = torch.eye(4)
        first[:3, 3] = torch.tensor([1.0, 2.0, 3.0])
        scene = reconstruct(model, frames, cameras={0: first})
        torch.testing.assert_close(scene.cameras.world_from_camera[0], first)
        assert scene.scale == "relative"

    def test_masks(self, model: JOG3R, frames: Tensor) -> None:
        masks = torch.ones(3, 24, 40, dtype=torch.bool)
        masks[:, :12] = False
        scene, free = (reconstruct(model, frames, masks=m) for m in (masks, None))
        assert torch.equal(scene.mask, masks)
        assert free.mask is None
        assert 0 < len(scene.points) < len(free.points)
        moved = scene.cameras.world_from_camera - free.cameras.world_from_camera
        assert moved.abs().max() > 1e-6

    def test_everything_masked(self, model: JOG3R, frames: Tensor) -> None:
        with pytest.raises(InputError, match="frame"):
            reconstruct(model, frames, masks=torch.zeros(3, 24, 40, dtype=torch.bool))

    def test_another_graph(self, model: JOG3R, frames: Tensor) -> None:
        star, complete = (reconstruct(model, frames, graph=g) for g in ("star", "complete"))
        assert not torch.equal(star.cameras.world_from_camera, complete.cameras.world_from_camera)


class TestPlainStructureFromMotion:
    def test_it_is_told_apart(self, model: JOG3R, frames: Tensor) -> None:
        with pytest.raises(InputError, match="method: expected one of"):
            reconstruct(model, frames, method="slam")
        for more in ({"graph": "complete"}, {"refine": None}, {"cameras": torch.eye(4)}):
            with pytest.raises(InputError, match='method: expected "learned" beside'):
                reconstruct(model, frames, method="sfm", **more)


class TestTokens:
    def test_low_noise_and_the_empty_prompt(
        self, model: JOG3R, frames: Tensor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen, tokens = [], model.stitched.tokens

        def spy(*inputs: Tensor, **told: Any) -> Tensor:
            seen.append(inputs)
            return tokens(*inputs, **told)

        monkeypatch.setattr(model.stitched, "tokens", spy)
        video = Video(frames[:, :16, :16].contiguous(), 8.0).tensor()[None]
        found = video_tokens(model, video, [3])
        assert found.shape == (1, 3, 16, 32)
        ((latents, times, text, mask),) = seen
        assert times.tolist() == [20.0]
        assert mask.shape == (1, 1)
        torch.testing.assert_close(text, model.text_encoder([""])[0])
        clean = model.autoencoder.encode(video)
        assert 0.0 < (latents - clean).std() < 0.2

    def test_chunks_of_pairs_change_nothing(self, model: JOG3R, generator: torch.Generator) -> None:
        tokens = torch.randn(5, 16, 32, generator=generator)
        every, few = (token_pointmaps(model, tokens, star(5), chunk=n) for n in (16, 3))
        assert every.pairs.tolist() == few.pairs.tolist() == [[0, 1], [0, 2], [0, 3], [0, 4]]
        for name in ("points_i", "points_j", "confidence_i", "confidence_j"):
            torch.testing.assert_close(
                getattr(every, name), getattr(few, name), atol=1e-5, rtol=1e-4
            )


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda x: x.float() / 127.5 - 1.0, r"as \(T, 3, H, W\) in \[-1, 1\], got \(3, 24, 40"),
            (lambda x: x.permute(0, 3, 1, 2).float(), r"\[-1, 1\]"),
            (lambda x: x.permute(0, 3, 1, 2) * float("nan"), "NaN"),
            (lambda x: x.long(), r"got torch\.int64 \(3, 24, 40, 3\)"),
            (lambda x: x[..., :2], r"expected uint8 \(T, H, W, 3\)"),
            (lambda x: x[0], r"expected uint8 \(T, H, W, 3\), got \(24, 40, 3\)"),
            (lambda x: x[:1], "video: expected at least 2 frames, got 1"),
            (lambda x: x[:0], r"expected uint8 \(T, H, W, 3\), got \(0, 24, 40, 3\)"),
            (lambda x: x[:, :4, :4], "expected at least 8x8 px, got 4x4"),
            (lambda x: x.numpy().astype(object), "expected uint8 or floating point, got object"),
            (lambda x: list(x), "got list; stack frames"),
            (lambda x: None, "got NoneType"),
        ],
    )
    def test_arrays(
        self, model: JOG3R, frames: Tensor, change: Any, says: str, as_a_user: None
    ) -> None:
        with pytest.raises(InputError, match=says):
            reconstruct(model, change(frames))

    def test_files(self, model: JOG3R, tmp_path: Path) -> None:
        with pytest.raises(FileError, match=r"missing\.mp4"):
            reconstruct(model, tmp_path / "missing.mp4")
        with pytest.raises(FileError, match="got an empty folder"):
            reconstruct(model, tmp_path)
        (tmp_path / "clip.mp4").write_text("<html>")
        with pytest.raises(FileError, match=r"clip\.mp4"):
            reconstruct(model, tmp_path / "clip.mp4")
        for i, size in enumerate([(20, 16), (16, 20)]):
            Image.fromarray(np.zeros((*size, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
        with pytest.raises(FileError, match="expected images of one size"):
            reconstruct(model, tmp_path)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"K": torch.eye(3)}, "K: expected pixels of a 40x24 image"),
            ({"K": torch.eye(3)[:2]}, r"K: expected \(3, 3\) or \(3, 3, 3\)"),
            ({"K": "wide"}, "K: expected a matrix of numbers"),
            ({"shared_focal": False}, "shared_focal: expected True beside known K"),
            ({"stride": 0}, "stride: expected a number from 1"),
            ({"stride": 3}, "video: expected at least 2 frames, got 1"),
            ({"max_frames": 1}, "video: expected at least 2 frames, got 1"),
            ({"seed": -1}, "seed: expected a whole number"),
            ({"seed": 0.5}, "seed: expected a whole number"),
        ],
    )
    def test_options(
        self, model: JOG3R, frames: Tensor, options: dict[str, Any], says: str, as_a_user: None
    ) -> None:
        with pytest.raises(InputError, match=says):
            reconstruct(model, frames, **options)

    def test_pointmaps_without_a_camera(
        self, model: JOG3R, frames: Tensor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pointmaps = model.stitched.pointmaps

        def mirrored(*args: Any) -> Any:
            found = pointmaps(*args)
            x = torch.linspace(1.0, -1.0, 16).expand(16, 16)
            flat = torch.stack([x, x.T, torch.full_like(x, 2.0)], dim=-1)
            return replace(
                found,
                points_1=flat.expand_as(found.points_1),
                points_2=flat.expand_as(found.points_2),
                confidence_1=found.confidence_1 + 1.0,
                confidence_2=found.confidence_2 + 1.0,
            )

        monkeypatch.setattr(model.stitched, "pointmaps", mirrored)
        with pytest.raises(InputError, match="got pointmaps that no camera explains"):
            reconstruct(model, frames, K=None)

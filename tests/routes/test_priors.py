"""What the user knows beforehand: checked, and taken to the pixels of a model."""

from typing import Any

import pytest
import torch

from jog3r.data.fit import ResizeAndCrop
from jog3r.errors import InputError
from jog3r.geometry import intrinsics_from_fov
from jog3r.results import Cameras
from jog3r.routes.priors import Priors, known_cameras, known_intrinsics, known_masks


class TestIntrinsics:
    K = intrinsics_from_fov(60.0, (24, 32))

    @pytest.mark.parametrize("kind", [torch.Tensor.double, torch.Tensor.numpy, torch.Tensor.tolist])
    def test_any_kind_of_numbers(self, kind: Any) -> None:
        known = known_intrinsics(kind(self.K), (24, 32), 5)
        assert known is not None
        torch.testing.assert_close(known, self.K)

    def test_one_per_frame(self) -> None:
        known = known_intrinsics(self.K.expand(5, 3, 3), (24, 32), 5)
        assert known is not None
        assert known.shape == (5, 3, 3)

    @pytest.mark.parametrize(
        ("K", "says"),
        [
            (torch.eye(4), r"K: expected \(3, 3\) or \(5, 3, 3\) for 5 frames, got \(4, 4\)"),
            (K.expand(4, 3, 3), r"got \(4, 3, 3\); give one"),
            (torch.eye(3), "K: expected pixels of a 32x24 image"),
            (K * float("nan"), "K: expected finite values"),
            ("wide", "K: expected a matrix of numbers, got str"),
            ([[1.0], [2.0, 3.0]], "K: expected a matrix of numbers, got list"),
            ([[10**400] * 3] * 3, "K: expected a matrix of numbers, got list"),
            (K + torch.tensor([[0.0, 0.1, 0.0], [0.0] * 3, [0.0] * 3]), "K: expected no skew"),
        ],
    )
    def test_what_does_not_fit(self, K: Any, says: str) -> None:
        with pytest.raises(InputError, match=says):
            known_intrinsics(K, (24, 32), 5)


class TestCameras:
    EYE = torch.eye(4)

    @pytest.mark.parametrize("kind", [torch.Tensor.double, torch.Tensor.numpy, torch.Tensor.tolist])
    def test_one_per_frame(self, kind: Any) -> None:
        known = known_cameras(kind(self.EYE.repeat(3, 1, 1)), 3)
        assert known is not None
        assert list(known) == [0, 1, 2]
        assert all(torch.equal(camera, self.EYE) for camera in known.values())

    def test_some_of_them(self) -> None:
        known = known_cameras({2: self.EYE.numpy()}, 3)
        assert known is not None
        assert list(known) == [2]

    @pytest.mark.parametrize(
        ("cameras", "says"),
        [
            (EYE.repeat(4, 1, 1), r"cameras: expected \(3, 4, 4\) world_from_camera"),
            (EYE, r"got \(4, 4\); a dict"),
            ({3: EYE}, "expected numbers of frames from 0 to 2, got 3"),
            ({True: EYE}, "got True"),
            ({"0": EYE}, "got '0'"),
            ({}, "expected at least one, got none"),
            ({1: torch.eye(3)}, r"cameras\[1\]: expected"),
            ({1: EYE * float("nan")}, r"cameras\[1\]: expected finite values"),
            ({1: torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0]))}, "mirrored"),
            ({1: torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0]))}, r"R\^T R - I"),
            ("cameras.txt", "cameras: expected a matrix of numbers, got str"),
        ],
    )
    def test_what_does_not_fit(self, cameras: Any, says: str) -> None:
        with pytest.raises(InputError, match=says):
            known_cameras(cameras, 3)


class TestMasks:
    def test_arrays_and_tensors(self) -> None:
        masks = torch.rand(2, 4, 6) > 0.5
        for given in (masks, masks.numpy()):
            assert torch.equal(known_masks(given, (2, 4, 6)), masks)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("masks", "says"),
        [
            (torch.ones(2, 4, 6), "expected an array or tensor of bool .* with a threshold"),
            ("mask.png", "expected an array or tensor of bool"),
            (torch.ones(2, 4, 5, dtype=torch.bool), r"\(2, 4, 6\), one .* got \(2, 4, 5\); thin"),
        ],
    )
    def test_what_does_not_fit(self, masks: Any, says: str) -> None:
        with pytest.raises(InputError, match=f"masks: .*{says}"):
            known_masks(masks, (2, 4, 6))


class TestPriors:
    K = intrinsics_from_fov(60.0, (24, 32))

    def test_whole_cameras_bring_their_intrinsics(self) -> None:
        cameras = Cameras(torch.eye(4).repeat(2, 1, 1), self.K.repeat(2, 1, 1), (24, 32))
        priors = Priors.of(K=None, cameras=cameras, masks=None, size=(24, 32), frames=2)
        assert torch.equal(priors.K, cameras.K)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="K: expected None beside Cameras"):
            Priors.of(K=self.K, cameras=cameras, masks=None, size=(24, 32), frames=2)
        with pytest.raises(InputError, match=r"cameras: expected those of frames of \(48, 64\)"):
            Priors.of(K=None, cameras=cameras, masks=None, size=(48, 64), frames=2)

    def test_some_of_the_frames(self) -> None:
        cameras = {frame: torch.eye(4) * 1.0 for frame in (0, 2, 3)}
        K = self.K * torch.tensor([1.0, 1.0, 1.0])[:, None] + torch.zeros(5, 1, 1)
        masks = torch.arange(5)[:, None, None] > torch.zeros(24, 32)
        some = Priors(K=K, cameras=cameras, masks=masks).at([1, 3])
        assert list(some.cameras or ()) == [1]
        assert some.K is not None
        assert some.masks is not None
        assert some.K.shape == (2, 3, 3)
        assert some.masks.shape == (2, 24, 32)
        assert Priors(cameras=cameras).at([1, 4]).cameras is None

    def test_a_model_pixel_is_masked_with_any_of_its_pixels(self) -> None:
        masks = torch.ones(1, 24, 32, dtype=torch.bool)
        masks[0, 3, 4] = False  # the crop begins at column 4
        masks[0, 0, 0] = False  # which the crop leaves out
        mapping = ResizeAndCrop.fit((24, 32), (12, 12))
        found = Priors(K=self.K, masks=masks).to_target(mapping)
        assert found.masks is not None
        assert (~found.masks).nonzero().tolist() == [[0, 1, 0]]
        torch.testing.assert_close(found.K, mapping.intrinsics_to_target(self.K))

    def test_a_lens_that_the_crop_loses(self) -> None:
        K = self.K.clone()
        K[0, 2] = 1.0
        with pytest.raises(InputError, match="K, after crop and resizing"):
            Priors(K=K).to_target(ResizeAndCrop.fit((24, 32), (12, 12)))

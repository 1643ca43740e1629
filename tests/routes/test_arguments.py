from typing import Any

import numpy as np
import pytest
import torch

from jog3r.alignment import Regularisers
from jog3r.errors import InputError
from jog3r.geometry import intrinsics_from_fov
from jog3r.routes.arguments import (
    SamplingOptions,
    check_alignment,
    known_intrinsics,
    pair_up,
    whole_number,
)


def options(**changed: Any) -> SamplingOptions:
    usual: dict[str, Any] = {
        "negative_prompt": "",
        "guidance_scale": 4.0,
        "steps": 2,
        "frames": 4,
        "callback": None,
        "progress": False,
    }
    return SamplingOptions(**usual | changed)


class TestPairs:
    @pytest.mark.parametrize(
        ("prompt", "seed", "prompts", "seeds"),
        [
            ("a", 3, ["a"], [3]),
            ("a", [3, 5], ["a", "a"], [3, 5]),
            (["a", "b"], 3, ["a", "b"], [3, 4]),
            (("a", "b"), (5, 3), ["a", "b"], [5, 3]),
            (["a"], range(1), ["a"], [0]),
        ],
    )
    def test_one_of_each_per_sample(
        self, prompt: Any, seed: Any, prompts: list[str], seeds: list[int]
    ) -> None:
        assert pair_up(prompt, seed) == (prompts, seeds)

    @pytest.mark.parametrize(
        ("prompt", "seed", "says"),
        [
            (["a", "b"], [1, 2, 3], "got 2 prompts and 3 seeds"),
            (["a"], [1, 2], "got 1 prompts and 2 seeds"),
            ([], 0, "got 0 prompts"),
            ("a", [], "got 0 prompts and 0 seeds"),
            (None, 0, "prompt: expected a string, TextFeatures or a list of them, got None"),
            (["a", 3], 0, "prompt: expected a string, TextFeatures or a list of them"),
            ("a", -1, "seed: expected a whole number .*, got -1"),
            ("a", [1, 2.5], r"seed: expected a whole number .*, got 2\.5"),
            ("a", "7", "seed: expected a whole number"),
            ("a", True, "seed: expected a whole number .*, got True"),
            ("a", 1 << 64, "seed: expected a whole number"),
            (["a", "b"], (1 << 63) - 1, "seed: expected a whole number"),
        ],
    )
    def test_what_does_not_pair(self, prompt: Any, seed: Any, says: str, as_a_user: None) -> None:
        with pytest.raises(InputError, match=says):
            pair_up(prompt, seed)

    def test_numbers_of_numpy_become_plain(self) -> None:
        number = whole_number("seed", np.int64(3))
        assert (number, type(number)) == (3, int)


class TestSamplingOptions:
    def test_ends_of_the_ranges(self) -> None:
        options(steps=1, frames=1, guidance_scale=1.0)
        options(steps=1000, frames=256, guidance_scale=100)

    @pytest.mark.parametrize(
        ("changed", "says"),
        [
            ({"steps": 0}, "num_inference_steps: expected 1 to 1000, got 0"),
            ({"steps": 1001}, "num_inference_steps: expected 1 to 1000, got 1001"),
            ({"steps": 2.5}, "num_inference_steps: expected a whole number"),
            ({"frames": 0}, "num_frames: expected 1 to 256, got 0"),
            ({"frames": 257}, "num_frames: expected 1 to 256, got 257"),
            ({"frames": "many"}, "num_frames: expected a whole number"),
            ({"guidance_scale": 0.5}, r"guidance_scale: expected 1 to 100, got 0\.5"),
            ({"guidance_scale": float("nan")}, "guidance_scale: expected 1 to 100, got nan"),
            ({"guidance_scale": True}, "guidance_scale: expected 1 to 100, got True"),
            ({"guidance_scale": "high"}, "guidance_scale: expected 1 to 100, got 'high'"),
            ({"callback": 3}, "callback: expected a function or None, got int"),
            (
                {"negative_prompt": None},
                "negative_prompt: expected a string or TextFeatures, got NoneType",
            ),
            (
                {"negative_prompt": "red", "guidance_scale": 1},
                "negative_prompt: expected an empty one with guidance_scale=1, got 'red'",
            ),
        ],
    )
    def test_out_of_range_or_of_the_wrong_type(
        self, changed: dict[str, Any], says: str, as_a_user: None
    ) -> None:
        with pytest.raises(InputError, match=says):
            options(**changed)


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


class TestAlignmentOptions:
    @pytest.mark.parametrize("refine", [None, "photometric"])
    @pytest.mark.parametrize("regularisers", [None, Regularisers.off()])
    def test_what_is_known_passes(self, regularisers: Any, refine: Any) -> None:
        check_alignment(regularisers, refine)

    @pytest.mark.parametrize(
        ("regularisers", "refine", "says"),
        [
            (
                "smooth",
                None,
                "regularisers: expected jog3r.alignment.Regularisers or None, got str",
            ),
            (None, "bundle", "refine: expected one of .* got 'bundle'"),
            (None, np.zeros(2), "refine: expected one of"),
        ],
    )
    def test_what_is_not(self, regularisers: Any, refine: Any, says: str) -> None:
        with pytest.raises(InputError, match=says):
            check_alignment(regularisers, refine)

    def test_a_weight_that_is_no_number(self, as_a_user: None) -> None:
        with pytest.raises(InputError, match="focal_smoothness: expected a finite weight"):
            Regularisers(focal_smoothness="strong")  # type: ignore[arg-type]
